import pytest

from keras_sparse.analysis import plot_history


def drawn(axes):
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines}


def test_draws_what_is_there():
    history = {
        "accuracy": [0.1, 0.9],
        "val_accuracy": [0.1, 0.7],
        "sparsity": [0.0, 0.5],
        "loss": [2.0, 1.0],
    }
    above, below = plot_history(history, dense={"val_accuracy": [0.2, 0.8]}).axes
    assert drawn(above) == {
        "training accuracy": [0.1, 0.9],
        "held-out accuracy": [0.1, 0.7],
        "held-out accuracy, dense network": [0.2, 0.8],
    }
    assert drawn(below) == {"sparsity: zeros among prunable weights": [0.0, 0.5]}
    assert list(above.lines[0].get_xdata()) == [1, 2]


def test_the_axis_tells_98_from_99():
    accuracy = [0.1, 0.6, 0.9, *[0.98] * 6, 0.99]
    (axes,) = plot_history({"val_accuracy": accuracy}).axes
    low, high = axes.get_ylim()
    assert 0.9 < low < 0.98
    assert 0.99 < high < 1


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="Received: loss"):
        plot_history({"loss": [1.0]})
