"""Parsing the output of LiteRT's profiler, from the host or a phone."""

import dataclasses
import re

_TITLE = re.compile(r"=+ *Summary by node type *=+")
_ROW = re.compile(
    r"(?P<name>\S.*?)\s+(?P<nodes>\d+)\s+(?P<ms>[\d.]+)\s+(?P<percent>[\d.]+)%\s+[\d.]+%"
    r"\s+[\d.]+\s+(?P<calls>\d+)"
)


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
