"""Tables: rows to train, and columns to measure."""

import collections
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from apps.reproduction import pictures, training
from apps.training.config import TrainConfig

# Subfolder for the files to keep, in the folder of an experiment.
FILES = "files"
# Settings of every row, unless the table overrides them.
_USUAL = {
    "baseline": False,
    "resume": True,
    "stop_when_dead": False,
    # With fewer calls from Python, small networks train almost twice as fast.
    "steps_per_execution": 20,
}


@dataclasses.dataclass(frozen=True)
class Column:
    """A figure that is measured.

    Attributes:
        title: its heading, with the unit.
        format: format of its numbers in the Markdown table.
    """

    title: str
    format: str = ".2f"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: its changes of the table's settings, and the published figures.

    Attributes:
        labels: `{heading: text}`, unique among the rows.
        changes: `{setting: value}` of a `TrainConfig`.
        published: `{column: number or text}`, shown next to the measured figures.
    """

    labels: Mapping[str, str]
    changes: Mapping = dataclasses.field(default_factory=dict)
    published: Mapping[str, float | str] = dataclasses.field(default_factory=dict)

    @property
    def key(self):
        """The labels as a file name."""
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
        rows: the `Row`s, with different keys.
        columns: `{name: Column}` for the results of `measure`; `seconds_per_epoch` always exists.
        measure: function of a trained model and its data set that returns `{column: number}`; None
            if the experiment measures.
        has_data: whether it trains on images.
        experiment: function that runs a row with a seed; see `training.train`, the default. Of its
            files, only the folder `FILES` is kept, in `OUT/files/RUN`.
        together: function of `{run: folder of its files}` that returns `{run: {column: number}}`,
            for figures that can be compared only if all runs are measured side by side; or None.
        picture: function that draws the summary into a `matplotlib.figure.Figure`.
        backend: the Keras backend that `measure` or `experiment` needs, or None for any. On another
            backend the runs are only trained, by `training.trained_model`; an experiment of such a
            table must begin with it.
        notes: text that is needed to compare the figures.

    Raises:
        ValueError: two rows with the same key; settings of a row that do not fit.
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
