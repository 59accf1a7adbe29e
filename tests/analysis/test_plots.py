import pytest

from keras_sparse.analysis import plot_history


def test_draws_what_is_there():
    figure = plot_history({"accuracy": [0.1, 0.9], "sparsity": [0.0, 0.5], "loss": [2.0, 1.0]})
    (axes,) = figure.axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {
        "training accuracy": [0.1, 0.9],
        "sparsity: zeros among prunable weights": [0.0, 0.5],
    }
    assert list(axes.lines[0].get_xdata()) == [1, 2]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="Received: loss"):
        plot_history({"loss": [1.0]})
