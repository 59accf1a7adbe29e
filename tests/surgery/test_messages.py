import keras
import numpy as np
import pytest

from keras_sparse.surgery.messages import one_line, short


class Failing(keras.layers.Layer):
    def call(self, inputs):
        raise ArithmeticError("no\n  numbers")


@pytest.mark.parametrize("inputs", [np.zeros((1, 2), "float32"), keras.Input((2,))])
def test_only_the_cause_is_left_of_what_keras_reports(inputs):
    with pytest.raises(ArithmeticError) as caught:
        Failing()(inputs)
    assert "Exception encountered when calling" in str(caught.value)
    assert one_line(caught.value) == "no numbers"
    assert short(caught.value) == "ArithmeticError: no numbers"


def test_lines_are_joined_and_long_ones_cut():
    assert short(ValueError("a\n b" + "c" * 200)) == "ValueError: a b" + "c" * 85
