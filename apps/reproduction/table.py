"""Tables: rows to train, and columns to measure."""

import collections
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from apps.reproduction import pictures, training
from apps.training.config import TrainConfig

# Subfolder of an experiment's folder with the files to keep.
FILES = "files"
# Settings of every row, unless the table has others.
_USUAL = {
    "baseline": False,
    "resume": True,
    "stop_when_dead": False,
    # Fewer calls from Python: small networks train almost twice as fast.
    "steps_per_execution": 20,
}


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
    """One row: its changes of the table's settings, and the published figures.

    Attributes:
        labels: `{heading: text}`, unique among the rows.
        changes: `{setting: value}` of a `TrainConfig`.
        published: `{column: number or text}`, beside which the measured figures are written.
    """

    labels: Mapping[str, str]
    changes: Mapping = dataclasses.field(default_factory=dict)
    published: Mapping[str, float | str] = dataclasses.field(default_factory=dict)

    @property
    def key(self):
        """The labels as the name of a file."""
        text = "-".join(self.labels.values()).lower()
        return re.sub(r"[^a-z0-9.+]+", "-", text).strip("-")

    @property
    def is_training(self):
        """Whether `apps.train` can train it, because the settings describe it completely."""
        return True

    def first_training(self, config):
        """The `TrainConfig` of the training from new weights that the row begins with, or None."""
        return config if self.is_training else None


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of one kind.

    Attributes:
        title: what the table shows.
        reference: the paper, and its table or section.
        settings: `{setting: value}` of a `TrainConfig`, common to all rows; the names are those of
            the flags of `apps.train`.
        rows: the `Row`s, no two of the same key.
        columns: `{name: Column}` of what `measure` gives; `seconds_per_epoch` is always there.
        measure: function of a trained model and its data set that gives `{column: number}`; None in
            its own experiment.
        has_data: whether it trains on images; False for an experiment without.
        experiment: what is done for a row and a seed; see `training.train`, the default. Of what it
            writes to its folder, only `FILES` is kept, in `OUT/files/RUN`.
        together: function of `{run: folder of its files}` that gives `{run: {column: number}}`, for
            figures that compare only when all runs are measured side by side, or None.
        picture: function that draws the summary into a `matplotlib.figure.Figure`.
        backend: the Keras backend that `measure` or `experiment` needs, or None for any. On another
            one the runs are only trained, by `training.trained_model`, with which an experiment of
            such a table begins too.
        notes: text that is needed to compare the figures.

    Raises:
        ValueError: two rows of one key; settings of a row that do not fit.
    """

    title: str
    reference: str
    settings: Mapping
    rows: Sequence[Row]
    columns: Mapping[str, Column]
    measure: Callable | None
    has_data: bool = True
    experiment: Callable = training.train
    together: Callable | None = None
    picture: Callable = pictures.bars
    backend: str | None = None
    notes: str = ""

    def __post_init__(self):
        twice = [key for key, n in collections.Counter(r.key for r in self.rows).items() if n > 1]
        if twice:
            raise ValueError(f"Rows must have different labels. Received twice: {twice}")
        for row in self.rows:
            try:
                self.config(row)
            except ValueError as error:
                raise ValueError(f"Row {row.key}: {error}") from error

    @property
    def dataset(self):
        """Name of the data set; None for a table without."""
        return self.settings["dataset"] if self.has_data else None

    def config(self, row):
        """The `TrainConfig` of a row."""
        return TrainConfig.of({**_USUAL, **self.settings, **row.changes})
