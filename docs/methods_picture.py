"""Draws docs/images/methods.png: which method for what.

python docs/methods_picture.py
"""

import pathlib

from matplotlib.figure import Figure

# Blue, orange and green of Okabe and Ito, which colour-blind people can tell apart.
QUESTION = {"facecolor": "#e1eef7", "edgecolor": "#0072b2"}
CHANNELS = {"facecolor": "#fbeedd", "edgecolor": "#d55e00"}
WEIGHTS = {"facecolor": "#ddf2ea", "edgecolor": "#009e73"}
ANSWERS = (
    (8.2, "compress(model, data, target=…)", "removes channels down to a budget", CHANNELS),
    (5.7, 'RDA(groups="channel"), then surgery', "or train as usual, then compress", CHANNELS),
    (3.2, "RigL, MagnitudePruning", "zeros scattered over the kernels", WEIGHTS),
    (0.9, "any method, as in its paper", "the tables say with what settings", WEIGHTS),
)


def figure():
    """The picture."""
    drawn = Figure(figsize=(11, 6), layout="constrained")
    axes = drawn.add_subplot(xlim=(0, 21), ylim=(-0.4, 9.4))
    axes.axis("off")
    _box(axes, 3.1, 8.2, "Is there a trained\nnetwork already?", QUESTION)
    _box(axes, 3.1, 3.2, "What will run\nthe network?", QUESTION)
    _arrow(axes, (3.1, 7.4), (3.1, 4.0))
    axes.text(3.4, 5.8, "no", size=15)
    for height, method, what, colours in ANSWERS:
        _box(axes, 16.3, height, f"{method}\n{what}", colours)
    _arrow(axes, (5.3, 8.2), (11.9, 8.2), "yes")
    _arrow(axes, (4.8, 3.8), (11.7, 5.7), "a phone, a CPU,\na microcontroller", 1.25)
    _arrow(axes, (4.8, 3.2), (12.3, 3.2), "a runtime that is\nfast with zeros", 0.0)
    _arrow(axes, (4.8, 2.6), (12.2, 0.9), "nothing: I compare\nmethods", -1.3)
    return drawn


def _box(axes, x, y, text, colours):
    style = {"boxstyle": "round,pad=0.55", "linewidth": 2, **colours}
    axes.text(x, y, text, ha="center", va="center", size=15, linespacing=1.35, bbox=style)


def _arrow(axes, start, end, text="", shift=0.0):
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "linewidth": 2, "color": "#555555"}
    )
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + shift
    mask = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    axes.text(*middle, text, ha="center", va="center", size=14, bbox=mask if text else None)


if __name__ == "__main__":
    figure().savefig(pathlib.Path(__file__).parent / "images" / "methods.png", dpi=110)
