"""Parsing the output of LiteRT's profiler, from the host or a phone, and what it can resolve."""

import dataclasses
import re

_TITLE = re.compile(r"=+ *Summary by node type *=+")
_ROW = re.compile(
    r"(?P<name>\S.*?)\s+(?P<nodes>\d+)\s+(?P<ms>[\d.]+)\s+(?P<percent>[\d.]+)%\s+[\d.]+%"
    r"\s+[\d.]+\s+(?P<calls>\d+)"
)
# LiteRT's profiler rounds the time of each node down to whole microseconds.
PROFILER_MS = 0.001
# The largest share of an inference that this rounding may lose.
_LOST = 0.5


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """The time of all nodes of one kind.

    Attributes:
        name: as the runtime names it, `"Delegate/Convolution (NHWC, F32) IGEMM"`.
        nodes: their number in the graph.
        share: their share of the profiled time, 0 to 1.
    """

    name: str
    nodes: int
    share: float


def parse_summary(text):
    """Reads the table "Summary by node type".

    Its milliseconds are not used: some versions count them by call, others by inference.

    Args:
        text: the output, which may contain the table.

    Returns:
        A list of `OperatorTime`, in the order of the table, the longest first; empty without such a
        table. If there are several tables (one for the warm-up), the last is read.

    Example:

    >>> parse_summary(output)[0].name
    'Delegate/Convolution (NHWC, F32) IGEMM'
    """
    tables = _TITLE.split(text)[1:]
    if not tables:
        return []
    rows = []
    for line in tables[-1].splitlines()[1:]:
        row = _ROW.search(line)
        if row:
            rows.append(OperatorTime(row["name"], int(row["nodes"]), float(row["percent"]) / 100))
        elif rows:  # the table has ended
            break
    return rows


def why_too_short(operators, milliseconds):
    """Why an inference is too short to divide its time by operator.

    The profiler rounds the time of each node down to whole microseconds. In a small network it
    records most operators as 0, and gives the others all of the time.

    Args:
        operators: list of `OperatorTime`.
        milliseconds: measured time of an inference.

    Returns:
        Text; None if at most half of the time may be lost by rounding.
    """
    nodes = sum(operator.nodes for operator in operators)
    if nodes * PROFILER_MS <= _LOST * milliseconds:
        return None
    return (
        "the network is too short to divide its time by operator: LiteRT's profiler counts whole "
        f"microseconds, and {nodes} operator{'s' * (nodes > 1)} "
        f"take{'s' * (nodes == 1)} {1000 * milliseconds:.2g} us"
    )
