import numpy as np
import pytest

from keras_sparse.analysis import plot_by_layer, plot_channel_scores, plot_dead_channels
from keras_sparse.channels import EpochRecord, IncomingNorm, gap


def record(*epochs):
    """An epoch for each dict of scores."""
    found = []
    for epoch, scores in enumerate(epochs):
        values = {name: np.asarray(v, "float64") for name, v in scores.items()}
        dead = IncomingNorm().dead(values)
        found.append(EpochRecord(epoch, values, dead, gap(values, dead), 1e-6))
    return found


TWO = record({"a": [1, 1, 1, 0], "b": [1e-3, 1]}, {"a": [1, 1e-20, 0, 0], "b": [1, 1]})


def test_scores_are_counted_by_epoch_and_layer():
    figure = plot_channel_scores(TWO)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == ["a", "b"]
    counts = np.ma.filled(panels["a"].collections[0].get_array(), 0)
    assert counts.shape[1] == 2  # epochs
    np.testing.assert_array_equal(counts.sum(axis=0), [4, 4])
    assert counts[0].tolist() == [1, 2]  # zeros, in the lowest bin
    assert counts[-1].tolist() == [3, 1]  # ones, in the highest
    (line,) = panels["b"].lines
    assert set(line.get_ydata()) == {-6}


def test_dead_channels_by_epoch_and_layer():
    above, below, _ = plot_dead_channels(TWO).axes
    assert list(above.lines[0].get_ydata()) == [1, 3]
    shares = np.asarray(below.collections[0].get_array())
    np.testing.assert_array_equal(shares, [[0.25, 0.75], [0, 0]])
    assert [label.get_text() for label in below.get_yticklabels()] == ["a, 3 of 4", "b, 0 of 2"]


def test_layers_that_shrink_or_go_are_drawn():
    epochs = record({"a": [1, 0], "b": [0, 0]}, {"a": [1]})
    _, below, _ = plot_dead_channels(epochs).axes
    shares = np.ma.filled(below.collections[0].get_array(), np.nan)
    np.testing.assert_array_equal(shares, [[0.5, 0], [1, np.nan]])
    assert below.get_yticklabels()[1].get_text() == "b, gone"
    assert len(plot_channel_scores(epochs).axes) == 3


def test_by_layer():
    values = {"a": np.array([0.5, np.nan, 1.0]), "b": np.array([np.nan])}
    (axes,) = plot_by_layer(values, "share").axes
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "."]
    bars = [list(line.get_xdata()) for line in axes.lines if line.get_marker() != "."]
    assert dots == [[0.5, 1.0], []]
    assert bars == [[0.75, 0.75]]


@pytest.mark.parametrize("plot", [plot_channel_scores, plot_dead_channels])
def test_nothing_to_draw_is_an_error(plot):
    with pytest.raises(ValueError, match="no epochs"):
        plot([])
