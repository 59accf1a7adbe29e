"""The report on what surgery did, layer by layer."""

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sparse import _renamed
from keras_sparse._types import Path
from keras_sparse.files import replacing
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.groups import GroupReport, find_groups
from keras_sparse.surgery.macs import found_macs, graph_macs
from keras_sparse.surgery.notes import notes
from keras_sparse.surgery.slices import VariableSlice

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """One layer with weights, before and after.

    Args:
        name: the layer's name; inside a nested model its path, `"block/conv"`.
        kind: the layer's class.
        channels: output channels, `(before, after)`; 0 after if the layer was removed.
        parameters: `(before, after)`.
        macs: multiply-accumulates for one sample, `(before, after)`.
        kept: indices of the kept output channels.
        dead: `{channel: (constant, reason)}` for the output channels that do not depend on the
            input but had to stay; the constant is None if it depends on the position.
    """

    name: str
    kind: str
    channels: tuple[int, int]
    parameters: tuple[int, int]
    macs: tuple[int, int]
    kept: np.ndarray
    dead: dict


@dataclasses.dataclass(frozen=True)
class DeadKept:
    """Channels that do not depend on the input but had to stay, for one kind of reason.

    Args:
        reason: the reason; without layer names, if these differ between the channels.
        layers: names of the layers that compute the channels.
        channels: number of channels.
        parameters, macs: the share of the channels in the parameters and multiply-accumulates of
            these layers, as absolute numbers.
    """

    reason: str
    layers: tuple[str, ...]
    channels: int
    parameters: int
    macs: int


@dataclasses.dataclass
class Report:
    """What `remove_dead_channels` did.

    Attributes:
        layers: `{name: LayerReport}` for the layers with weights, in the order in which they run.
        slices: `{path of a variable of the compact model: VariableSlice}`: the part of a variable
            of the large model that it was taken from.
        groups: list of `GroupReport`: coupled channels of several layers.
        order: names of all layers and operations, in the order in which they run.
        parameters: of the whole model, `(before, after)`.
        macs: of the whole model, `(before, after)`; see `count_macs`.
        notes: `{layer name: list of sentences}` on layers without a rule: dead channels inside,
            multiply-accumulates that are not counted, weights shared with the large model.
        max_error: largest difference between the outputs of the two models, relative to the
            outputs' scale; None if this was not verified.
        trained: paths of the trained variables of the large model, as in `slices`, whether a part
            of them is left or not.
    """

    layers: dict[str, LayerReport]
    slices: dict[str, VariableSlice]
    groups: list[GroupReport]
    order: tuple[str, ...]
    parameters: tuple[int, int]
    macs: tuple[int, int]
    notes: dict[str, list[str]]
    max_error: float | None = None
    trained: tuple[str, ...] = ()

    cuts = _renamed.attribute("cuts", "slices")

    @property
    def channels(self) -> dict[str, tuple[int, int]]:
        """`{layer name: (before, after)}`."""
        return {name: layer.channels for name, layer in self.layers.items()}

    @property
    def reasons(self) -> dict[str, dict[str, int]]:
        """`{layer name: {reason: number of dead channels kept}}` for layers that keep any."""
        found = {}
        for name, layer in self.layers.items():
            counts = {}
            for _, reason in layer.dead.values():
                counts[reason] = counts.get(reason, 0) + 1
            if counts:
                found[name] = counts
        return found

    @property
    def dead_kept(self) -> list[DeadKept]:
        """List of `DeadKept`: the reasons of all layers by kind, most parameters first."""
        groups, names = {}, {*self.order}
        for name, reasons in self.reasons.items():
            layer = self.layers[name]
            for reason, count in reasons.items():
                share = count / layer.channels[1]
                part = (count, share * layer.parameters[1], share * layer.macs[1])
                groups.setdefault(_kind(reason, names), []).append((reason, name, *part))
        found = []
        for kind, parts in groups.items():
            reasons, layers, *columns = zip(*parts, strict=True)
            alike = reasons[0] if len({*reasons}) == 1 else kind
            weights = [round(sum(column)) for column in columns]
            found.append(DeadKept(alike, tuple(dict.fromkeys(layers)), *weights))
        return sorted(found, key=lambda group: group.parameters, reverse=True)

    def to_dict(self) -> dict[str, Any]:
        """Everything but `slices` and `trained`, as a JSON-serializable dict."""
        return {
            "parameters": list(self.parameters),
            "macs": list(self.macs),
            "max_error": self.max_error,
            "notes": self.notes,
            "layers": {
                name: {
                    "kind": layer.kind,
                    "channels": list(layer.channels),
                    "parameters": list(layer.parameters),
                    "macs": list(layer.macs),
                    "kept": layer.kept.tolist(),
                    "dead": [
                        {"channel": channel, "constant": constant, "reason": reason}
                        for channel, (constant, reason) in layer.dead.items()
                    ],
                }
                for name, layer in self.layers.items()
            },
            "dead_kept": [
                {**dataclasses.asdict(group), "layers": list(group.layers)}
                for group in self.dead_kept
            ],
            "groups": [
                {
                    "layers": list(group.layers),
                    "joined_by": list(group.joined_by),
                    "channels": list(group.channels),
                }
                for group in self.groups
            ],
        }

    def to_json(self, path: Path | None = None) -> str:
        """The report as JSON text, which is also written to `path` if given."""
        text = json.dumps(self.to_dict(), indent=1)
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return text

    def __rich__(self):
        from rich.console import Group
        from rich.text import Text

        parts = [self._layers_table()]
        if self.dead_kept:
            parts.append(self._dead_kept_table())
        for name, remarks in self.notes.items():
            parts += [Text(f"{name}: {remark}") for remark in remarks]
        return Group(*parts)

    def _dead_kept_table(self):
        table = _table(
            "Dead channels that stay",
            ("reason", "layers"),
            ("channels", "parameters", "MACs"),
        )
        for group in self.dead_kept:
            first, *others = group.layers
            table.add_row(
                group.reason,
                f"{first} and {len(others):,} more" if others else first,
                *(f"{n:,}" for n in (group.channels, group.parameters, group.macs)),
            )
        return table

    def _layers_table(self):
        table = _table(
            "Channels removed",
            ("layer", "kind"),
            ("channels", "parameters", "MACs", "dead, kept"),
        )
        for name, layer in self.layers.items():
            table.add_row(
                name,
                layer.kind,
                _arrow(layer.channels),
                _arrow(layer.parameters),
                _arrow(layer.macs),
                str(len(layer.dead) or ""),
            )
        table.add_section()
        table.add_row("all", "", "", _arrow(self.parameters), _arrow(self.macs), "")
        return table

    def __str__(self):
        from rich.console import Console

        console = Console(file=io.StringIO(), width=120)
        console.print(self)
        return console.file.getvalue()

    def plot(self, path: Path | None = None) -> "Figure":
        """Draws the kept and the removed channels of each layer.

        Args:
            path: file to write the picture to, or None.

        Returns:
            The `matplotlib.figure.Figure`.
        """
        from keras_sparse.surgery.drawing import draw_channels

        return _written(draw_channels(self.layers.values()), path)

    def plot_groups(self, path: Path | None = None) -> "Figure":
        """Draws which layers have coupled channels: a row for each layer, a line for each group.

        Args:
            path: file to write the picture to, or None.

        Returns:
            The `matplotlib.figure.Figure`.
        """
        from keras_sparse.surgery.drawing import draw_groups

        return _written(draw_groups(self.groups, self.order), path)


def _table(title, texts, numbers):
    from rich.table import Table

    table = Table(title=title)
    for column in texts:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _kind(reason, names):
    """A reason without the names of layers."""
    words = []
    for word in reason.split(" "):
        subject = word.endswith(":") and (not words or words[-1].endswith(":"))
        if word.rstrip(":") not in names:
            words.append(word)
        elif not subject:
            words += ["another", "layer:" if word.endswith(":") else "layer"]
    return " ".join(words)


def _written(figure, path):
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary)
    return figure


def make_report(findings, rebuild):
    """The report of an analysed graph and its compact model."""
    after = Graph(rebuild.model)
    macs = found_macs(findings), graph_macs(after)
    counts = {id(unit.operation): macs[1].get(unit.name, 0) for unit in after.units}
    layers = {}
    for unit in findings.units:
        if isinstance(unit.operation, keras.Layer) and unit.operation.weights:
            layers[unit.name] = _layer_report(unit, rebuild.layers.get(unit), macs[0], counts)
    return Report(
        layers=layers,
        slices=rebuild.slices,
        groups=find_groups(findings),
        order=tuple(dict.fromkeys(unit.name for unit in findings.units)),
        parameters=(findings.graph.model.count_params(), rebuild.model.count_params()),
        macs=(sum(macs[0].values()), sum(macs[1].values())),
        notes=notes(findings, rebuild),
    )


def _layer_report(unit, layer, macs_before, counts_after):
    port = unit.outputs[0]
    kept = port.kept if layer is not None else np.zeros(0, int)
    uniform = port.constants.uniform
    dead = {
        int(k): (None if np.isnan(uniform[k]) else float(uniform[k]), str(port.why[k]))
        for k in kept
        if port.constants.known[k]
    }
    return LayerReport(
        name=unit.name,
        kind=type(unit.operation).__name__,
        channels=(port.size, len(kept)),
        parameters=(unit.operation.count_params(), layer.count_params() if layer else 0),
        macs=(macs_before.get(unit.name, 0), counts_after.get(id(layer), 0)),
        kept=kept,
        dead=dead,
    )


def _arrow(pair):
    return f"{pair[0]:,} → {pair[1]:,}" if pair[0] != pair[1] else f"{pair[0]:,}"
