"""Counting multiply-accumulates."""

import dataclasses
import warnings

import keras

from keras_sparse.surgery.findings import Findings
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.messages import short


@dataclasses.dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of a model at batch size 1.

    Args:
        layers: `{layer name: count}` over all calls of each layer, without layers that count as 0.
            Layers of nested models are named by their path, `"block/conv"`.
    """

    layers: dict[str, int]

    @property
    def total(self) -> int:
        """The sum over all layers."""
        return sum(self.layers.values())


def count_macs(model: keras.Model) -> Macs:
    """Counts the multiply-accumulates of the layers that multiply by kernels.

    It counts products with weights and, in attention, the products of queries, keys and values.
    It does not count biases, normalisations, activations and pooling. A layer without a rule counts
    as 0.

    Args:
        model: a built `keras.Model`. An unknown size (height, time steps) counts as 1.

    Returns:
        A `Macs`: `total`, and `layers` by name.

    Raises:
        ValueError: the model is not built or cannot be traced.

    Example:

    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> count_macs(model).total
    32
    """
    return Macs(graph_macs(Graph(model)))


def graph_macs(graph):
    """`{layer name: count}` of a graph, without the layers that count as 0."""
    return found_macs(Findings(graph))


def found_macs(findings):
    """As `graph_macs`, with the rules of existing `Findings`."""
    counts = {}
    for unit in findings.units:
        count = unit_macs(unit)
        if count:
            counts[unit.name] = counts.get(unit.name, 0) + count
    return counts


def unit_macs(unit):
    """Multiply-accumulates of all calls of a unit; 0, with a warning, if the rule fails."""
    try:
        return sum(unit.rule.macs(call) for call in unit.calls)
    except Exception as error:
        warnings.warn(
            f"The multiply-accumulates of {unit.name} are not counted: its rule raised "
            + short(error, 300),
            stacklevel=2,
        )
        return 0
