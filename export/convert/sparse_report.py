"""A report on whether a phone's runtime would use sparse kernels for a TFLite file."""

import dataclasses
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from export.convert.graph import FileGraph

if TYPE_CHECKING:
    import keras

_LEAST_SPARSITY = 2 / 3
_ENDS = ("MEAN", "DEPTH_TO_SPACE")
_ELEMENTWISE = {
    *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "ABS", "CEIL", "ELU", "FLOOR", "HARD_SWISH"),
    *("LEAKY_RELU", "NEG", "LOGISTIC", "SQUARE", "ROUND", "RESIZE_BILINEAR", "ADD", "MUL"),
}


@dataclasses.dataclass(frozen=True)
class Condition:
    """One of the runtime's conditions.

    Args:
        name: a short name.
        holds: bool.
        reason: the property of the file that decides the condition.
    """

    name: str
    holds: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Connected operators that the runtime runs with sparse kernels together or not at all.

    Args:
        operators: number of operators.
        weights: number of weights of its 1x1 convolutions.
        sparsity: share of them that is zero.
        conditions: tuple of `Condition`.
    """

    operators: int
    weights: int
    sparsity: float
    conditions: tuple[Condition, ...]

    @property
    def holds(self):
        """True if all conditions hold."""
        return all(condition.holds for condition in self.conditions)


@dataclasses.dataclass(frozen=True)
class SparseRuntimeReport:
    """The result of `sparse_runtime_report`; `print` shows it.

    Args:
        conditions: tuple of `Condition` of the whole file.
        clusters: tuple of `Cluster`, the one with the most weights first.
    """

    conditions: tuple
    clusters: tuple

    @property
    def engaged(self) -> bool:
        """True if a phone would run at least one cluster with sparse kernels."""
        file = all(condition.holds for condition in self.conditions)
        return file and any(cluster.holds for cluster in self.clusters)

    def to_dict(self) -> dict[str, Any]:
        return {"engaged": self.engaged, **dataclasses.asdict(self)}

    def __str__(self):
        answer = "would" if self.engaged else "would not"
        lines = [f"XNNPACK on a phone {answer} use sparse kernels for this file."]
        lines += [_line(condition) for condition in self.conditions]
        for number, cluster in enumerate(self.clusters, 1):
            lines.append(
                f"Cluster {number}: {cluster.operators} operators, {cluster.weights:,} weights of "
                f"1x1 convolutions, {cluster.sparsity:.1%} of them zero"
            )
            lines += [_line(condition) for condition in cluster.conditions]
        return "\n".join(lines)


def sparse_runtime_report(model: "keras.Model | str | os.PathLike") -> SparseRuntimeReport:
    """Checks the conditions under which a phone would use XNNPACK's sparse kernels.

    The runtime uses sparse kernels for 1x1 convolutions only if a whole cluster of operators allows
    it. Otherwise a sparse file is smaller, but not faster. The conditions are checked on the file.
    Nothing is run, because processors with AVX never use these kernels.

    Args:
        model: a `.tflite` file, or a built `keras.Model`, which is first converted with
            `sparse_encoding=True`.

    Returns:
        A `SparseRuntimeReport`: `engaged`, `conditions` of the file, `clusters` with their
        conditions.

    Raises:
        ValueError: neither a model nor a file.
        ExportError: the file is damaged, or the model cannot be converted.

    Example:

    >>> report = sparse_runtime_report("model.tflite")
    >>> print(report.engaged)
    False

    Reference:
        Elsen et al., 2020, Fast Sparse ConvNets; the conditions are from XNNPACK's
        `xnn_subgraph_rewrite_for_nchw`.
    """
    import keras

    if isinstance(model, keras.Model):
        from export.convert.litert import convert

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "sparse.tflite"
            convert(model, path, sparse_encoding=True)
            return _report(FileGraph(path))
    if not pathlib.Path(model).is_file():
        raise ValueError(f"`model` is neither a model nor a file. Received: model={model}")
    return _report(FileGraph(model))


def _report(graph):
    clusters = [_cluster(graph, members) for members in _components(graph)]
    clusters = [cluster for cluster in clusters if cluster.weights]
    conditions = (
        Condition(
            "1x1 convolutions",
            bool(clusters),
            f"float 1x1 convolutions in {len(clusters)} cluster(s); only they have sparse kernels",
        ),
        Condition(
            "sparse encoding",
            graph.sparse,
            "kernels are stored without their zeros"
            if graph.sparse
            else "no kernel is stored without its zeros: convert with sparse_encoding=True a model "
            "in which at least 30% of a kernel is zero",
        ),
        Condition(
            "processor", True, "phones have ARM processors; on x86 with AVX dense kernels are used"
        ),
    )
    return SparseRuntimeReport(
        conditions, tuple(sorted(clusters, key=lambda cluster: -cluster.weights))
    )


def _line(condition):
    return f"  [{'x' if condition.holds else ' '}] {condition.name}: {condition.reason}"


def _components(graph):
    """Groups of connected operators that sparse kernels allow."""
    group = {id(op): [op] for op in graph.operators if _refused(graph, op) is None}
    for operator in graph.operators:
        if id(operator) not in group or _is_stem(graph, operator):
            continue
        for index in _sources(graph, operator):
            producer = graph.producers.get(index)
            if id(producer) not in group or group[id(producer)] is group[id(operator)]:
                continue
            joined = group[id(producer)] + group[id(operator)]
            group.update({id(member): joined for member in joined})
    return list({id(members): members for members in group.values()}.values())


def _cluster(graph, members):
    inside = set(map(id, members))
    pointwise = [op for op in members if op.kind == "CONV_2D" and not _is_stem(graph, op)]
    weights = sum(_size(graph, op) for op in pointwise)
    zeros = sum(graph.tensors[op.inputs[1]].zeros for op in pointwise)
    sparsity = zeros / weights if weights else 0.0
    entries, exits, broken = [], [], []
    for operator in members:
        if not _is_stem(graph, operator):
            for index in _sources(graph, operator):
                producer = graph.producers.get(index)
                if id(producer) not in inside:
                    entries.append(_described(graph, producer))
        if operator.kind in _ENDS:
            continue
        for index in operator.outputs:
            consumers = [op for op in _consumers(graph, index) if id(op) not in inside]
            within = len(_consumers(graph, index)) > len(consumers)
            left = [_described(graph, op) for op in consumers]
            left += ["an output of the model"] * (index in graph.outputs)
            (broken if within else exits).extend(left)
    return Cluster(
        len(members),
        weights,
        sparsity,
        (
            Condition(
                "zeros",
                sparsity > _LEAST_SPARSITY,
                f"{sparsity:.1%} of the weights of its 1x1 convolutions; more than 2/3 are needed",
            ),
            _condition("start", "3x3 convolution, stride 2, 3 channels, padding 1", entries),
            _condition("end", "global average pooling, mean or depth to space", exits),
            _condition("inside", "no result goes to another operator as well", broken),
        ),
    )


def _condition(name, wanted, offenders):
    found = "; ".join(sorted(set(offenders)))
    return Condition(name, not offenders, f"{wanted}. Found: {found}" if found else wanted)


def _described(graph, operator):
    if operator is None:
        return "an input of the model"
    name = graph.tensors[operator.outputs[0]].name.split(";")[-1]
    return f"{operator.kind} {name!r} ({_refused(graph, operator) or 'another cluster'})"


def _refused(graph, operator):
    """Why sparse kernels do not allow an operator; None if they do."""
    tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    if operator.kind == "CONV_2D":
        return _convolution_refused(graph, operator)
    if operator.kind == "DEPTHWISE_CONV_2D":
        return _depthwise_refused(graph, operator)
    if operator.kind in _ENDS:
        return None if len(tensors[0].shape) == 4 else "not of 4 dimensions"
    if operator.kind in _ELEMENTWISE:
        flat = [t for t in tensors if len(t.shape) != 4]
        return "not of 4 dimensions" if flat and operator.kind != "RESIZE_BILINEAR" else None
    return "no sparse kernel"


def _convolution_refused(graph, operator):
    if not _is_float(graph, operator):
        return "not in floats"
    kernel = graph.tensors[operator.inputs[1]].shape
    channels = graph.tensors[operator.inputs[0]].shape[-1]
    strides, padding = operator.options["strides"], _padding(graph, operator)
    if operator.options["dilation"] != (1, 1) or kernel[3] != channels:
        return "dilated or grouped"
    if kernel[1:3] == (1, 1):
        if strides != (1, 1):
            return f"1x1 with strides {strides}"
        return None if padding == (0, 0, 0, 0) else "1x1 with padding"
    if kernel[1:3] == (3, 3) and strides == (2, 2) and channels == 3:
        return None if padding == (1, 1, 1, 1) else _padding_reason(padding)
    return f"{kernel[1]}x{kernel[2]}, strides {strides}, {channels} channels"


def _depthwise_refused(graph, operator):
    if not _is_float(graph, operator):
        return "not in floats"
    _, height, width, _ = graph.tensors[operator.inputs[1]].shape
    strides, padding = operator.options["strides"], _padding(graph, operator)
    if operator.options["dilation"] != (1, 1) or operator.options["depth_multiplier"] != 1:
        return "dilated or with a depth multiplier"
    if height != width or height not in (3, 5) or strides not in ((1, 1), (2, 2)):
        return f"{height}x{width}, strides {strides}"
    return None if padding == (height // 2,) * 4 else _padding_reason(padding)


def _padding_reason(padding):
    if padding is None:
        return "padding 'same' with a stride: use ZeroPadding2D and 'valid'"
    return f"padding {padding}, not the same on all sides"


def _padding(graph, operator):
    """(top, bottom, left, right), with a padding operator before; None if the runtime decides."""
    _, height, width, _ = graph.tensors[operator.inputs[1]].shape
    before = _pad_before(graph, operator)
    if before is not None:
        (top, bottom), (left, right) = graph.tensors[before.inputs[1]].data[1:3].tolist()
        return top, bottom, left, right
    if not operator.options["same"] or (height, width) == (1, 1):
        return 0, 0, 0, 0
    if operator.options["strides"] != (1, 1):
        return None
    return (height - 1) // 2, height // 2, (width - 1) // 2, width // 2


def _pad_before(graph, operator):
    """The padding operator that the runtime fuses with a convolution."""
    pad = graph.producers.get(operator.inputs[0])
    if pad is None or pad.kind != "PAD" or operator.options["same"]:
        return None
    return pad if len(graph.consumers[operator.inputs[0]]) == 1 else None


def _sources(graph, operator):
    """The computed inputs of an operator; a padding operator before it is skipped."""
    indices = graph.variable_inputs(operator)
    if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        pad = _pad_before(graph, operator)
        indices = [pad.inputs[0] if pad else indices[0]]
    return indices


def _consumers(graph, index):
    """The operators that read a tensor, without paddings."""
    found = []
    for operator in graph.consumers.get(index, []):
        after = graph.consumers.get(operator.outputs[0], [])
        alone = operator.kind == "PAD" and len(after) == 1 and "same" in after[0].options
        found.append(after[0] if alone and not after[0].options["same"] else operator)
    return found


def _is_stem(graph, operator):
    return operator.kind == "CONV_2D" and graph.tensors[operator.inputs[1]].shape[1:3] == (3, 3)


def _is_float(graph, operator):
    return all(graph.tensors[index].float for index in operator.inputs[:2])


def _size(graph, operator):
    size = 1
    for length in graph.tensors[operator.inputs[1]].shape:
        size *= length
    return size
