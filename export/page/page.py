"""The page of a report: its contents, and rendering as HTML."""

import dataclasses
import functools
import importlib.util


@dataclasses.dataclass(frozen=True)
class Card:
    """A large number before and after.

    Attributes:
        label: the name of the number, with its unit.
        before, after: as text.
        ratio: after / before as text; "" if it is not meaningful.
    """

    label: str
    before: str
    after: str
    ratio: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with a title and a caption.

    Attributes:
        title: what it shows.
        caption: how to read it.
        svg: the result of `export.page.svg`.
    """

    title: str
    caption: str
    svg: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: of the section.
        header: texts of the columns; the first is the heading of the rows' names.
        rows: lists of texts.
        about: how to read it.
    """

    title: str
    header: list
    rows: list
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Bars:
    """Rows with a bar for each of a few networks.

    Attributes:
        title: of the section.
        series: names of the networks.
        rows: list of `(name, [(share, text), ...])`, a pair for each network; the share of the
            longest bar is 1.
        about: how to read it.
    """

    title: str
    series: list
    rows: list
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Links:
    """Links to other pages.

    Attributes:
        title: of the section.
        links: list of `(text, address)`; addresses are relative to the page.
    """

    title: str
    links: list


@dataclasses.dataclass(frozen=True)
class Page:
    """The contents of a page, in this order; empty parts are omitted.

    Attributes:
        title: the headline.
        warnings: sentences that readers must not miss.
        cards: `Card`s.
        summary: sentences.
        sections: `Table`s, `Bars`, `Links` and lists of `Picture`s.
        settings: `{name: value}` of the run.
        command: the command that repeats the run.
        machine: a sentence with processor, threads and versions.
    """

    title: str
    warnings: list = ()
    cards: list = ()
    summary: list = ()
    sections: list = ()
    settings: dict = dataclasses.field(default_factory=dict)
    command: str = ""
    machine: str = ""


def available():
    """Whether the package for pages is installed; no run may fail without it."""
    return importlib.util.find_spec("jinja2") is not None


def render(page):
    """A page as HTML.

    Args:
        page: a `Page`.

    Returns:
        Text: one file that loads nothing and has no script. It is light or dark like the reader's
        system.
    """
    return _template().render(page=page, kind=lambda part: type(part).__name__)


@functools.cache
def _template():
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("export.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
