"""What a table is: rows to train, and columns to write down."""

import collections
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from apps.tables import pictures, training

# The folder of what an experiment leaves behind, inside the one that it is given.
FILES = "files"


@dataclasses.dataclass(frozen=True)
class Column:
    """A figure that is measured.

    Attributes:
        title: its heading, with the unit.
        format: how its numbers are written in the Markdown table.
    """

    title: str
    format: str = ".2f"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: what is trained, and what was published for it.

    Attributes:
        labels: `{heading: text}`, what tells the row from the others.
        model: function of a `keras_sparse.data.Dataset` that gives a new `keras.Model`; None in an
            experiment of its own.
        optimizer: function of a `training.Run` that gives a new optimizer.
        batch_size: images a step.
        callbacks: function of a `training.Run` that gives a list of Keras callbacks.
        published: `{column: number or text}`, beside which the measured figures are written.
    """

    labels: Mapping[str, str]
    model: Callable | None
    optimizer: Callable
    batch_size: int
    callbacks: Callable = lambda run: []
    published: Mapping[str, float | str] = dataclasses.field(default_factory=dict)

    @property
    def key(self):
        """The labels as the name of a file."""
        text = "-".join(self.labels.values()).lower()
        return re.sub(r"[^a-z0-9.+]+", "-", text).strip("-")


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of one kind.

    Attributes:
        title: what the table shows.
        reference: the paper, and its table or section.
        rows: the `Row`s, no two of the same key.
        columns: `{name: Column}` of what `measure` gives; `seconds_per_epoch` is always there.
        measure: function of a trained model and its data set that gives `{column: number}`; None in
            an experiment of its own.
        epochs: passes over the data, unless --epochs shortens them.
        dataset: a name of `keras_sparse.data.DATASETS`, or None for an experiment without data.
        unit_pixels: pixels from 0 to 1, instead of mean 0 and standard deviation 1.
        held_out: share of the training images, the last ones, that is left away.
        augment: function of images and a `numpy.random.Generator` that varies the training images,
            or None.
        jit_compile: as `model.compile` takes it, under TensorFlow; JAX compiles always.
        experiment: what is done for a row and a seed; see `training.train`, the default. Of what it
            writes to its folder, only `FILES` is kept, in `OUT/files/RUN`.
        together: function of `{run: folder of its files}` that gives `{run: {column: number}}`, for
            figures that compare only when all runs are measured side by side, or None.
        picture: function that draws the summary into a `matplotlib.figure.Figure`.
        backend: the Keras backend that `measure` or `experiment` needs, or None for any. On another
            one the runs are only trained, by `training.trained_model`, with which an experiment of
            such a table begins too.
        notes: what a reader must know to compare the figures.
    """

    title: str
    reference: str
    rows: Sequence[Row]
    columns: Mapping[str, Column]
    measure: Callable | None
    epochs: int
    dataset: str | None = "mnist"
    unit_pixels: bool = False
    held_out: float = 0.0
    augment: Callable | None = None
    jit_compile: bool | str = "auto"
    experiment: Callable = training.train
    together: Callable | None = None
    picture: Callable = pictures.bars
    backend: str | None = None
    notes: str = ""

    def __post_init__(self):
        twice = [key for key, n in collections.Counter(r.key for r in self.rows).items() if n > 1]
        if twice:
            raise ValueError(f"Rows must have labels of their own. Received twice: {twice}")
