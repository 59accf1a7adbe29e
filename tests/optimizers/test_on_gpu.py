"""What is compiled for a GPU: another program than for a CPU, and the same training."""

import contextlib
import re
from unittest import mock

import keras
import numpy as np
import pytest

from .matrix import MASKED, OPTIMIZERS, compile_model, fit, make_model, thorough

UPDATING = [name for name in MASKED if name != "StaticSparse"]
SEARCHING = ["target", "target by channel"]
LOOPS = {"while", "scan", "While", "StatelessWhile"}


@contextlib.contextmanager
def compiled_for_gpu():
    with contextlib.ExitStack() as stack:
        for module in ("masks.selection", "optimizers.threshold_search"):
            name = f"keras_sparse.{module}.compiles_for_gpu"
            stack.enter_context(mock.patch(name, return_value=True))
        yield


def operations(optimizer, variables):
    """The names of what a step of an optimizer is compiled from, in its branches too."""
    gradients = [keras.ops.ones(v.shape) for v in variables]
    if keras.backend.backend() == "jax":
        import jax

        values = [v.value for v in variables], [v.value for v in optimizer.variables]
        traced = jax.make_jaxpr(optimizer.stateless_apply)(values[1], gradients, values[0])
        return set(re.findall(r"\b(\w+)\[", str(traced)))
    import tensorflow as tf

    step = tf.function(lambda: optimizer.apply(gradients, variables), autograph=False)
    graph = step.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return {node.op for node in nodes}


@pytest.mark.parametrize("name", [*UPDATING, *SEARCHING])
def test_no_loop_is_in_the_conditional(name):
    """With one, XLA makes no CUDA graph of the conditional, and the host waits in every step."""
    optimizer, variables = OPTIMIZERS[name](), make_model().trainable_variables
    optimizer.build(variables)
    with compiled_for_gpu():
        found = operations(optimizer, variables)
    assert not found & LOOPS
    assert found & {"cond", "If", "StatelessIf"}


def test_a_loop_would_be_seen():
    optimizer, variables = OPTIMIZERS["SET"](), make_model().trainable_variables
    optimizer.build(variables)
    assert operations(optimizer, variables) & LOOPS


@pytest.mark.parametrize("name", thorough(["SparseMomentum", *SEARCHING], "SparseMomentum"))
def test_trains_to_the_same_weights_as_on_a_cpu(name):
    weights = []
    for device in (contextlib.nullcontext(), compiled_for_gpu()):
        model = compile_model(make_model(), OPTIMIZERS[name]())
        with device:
            fit(model)
        weights.append(model.get_weights())
    for on_cpu, on_gpu in zip(*weights, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(on_gpu == 0, on_cpu == 0)
