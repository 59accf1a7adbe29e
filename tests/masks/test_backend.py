import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse.masks.backend import compiled, compiles_for_gpu


def double(tensors):
    return [2 * tensor for tensor in tensors]


def test_compiled_computes_the_same():
    (result,) = compiled(double)([ops.arange(3)])
    np.testing.assert_array_equal(result, [0, 2, 4])


@pytest.mark.tensorflow
def test_compiled_is_compiled_by_xla():
    function = compiled(double)
    assert "HloModule" in function.experimental_get_compiler_ir([ops.arange(3)])("hlo")


@pytest.mark.tensorflow
def test_not_compiled_for_the_gpu_of_a_mac(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert not compiles_for_gpu()
    function = compiled(double)
    np.testing.assert_array_equal(function([ops.arange(3)])[0], [0, 2, 4])
    with pytest.raises(ValueError, match="jit_compile"):
        function.experimental_get_compiler_ir([ops.arange(3)])


def test_compiles_for_a_gpu_where_there_is_one(monkeypatch):
    assert not compiles_for_gpu()
    if keras.backend.backend() == "jax":
        monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    else:
        monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [kind])
        monkeypatch.setattr(sys, "platform", "linux")
    assert compiles_for_gpu()
