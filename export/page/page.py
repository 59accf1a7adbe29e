"""The page of a report: what stands on it, and how it becomes HTML."""

import dataclasses
import functools
import importlib.util


@dataclasses.dataclass(frozen=True)
class Card:
    """A large number before and after.

    Attributes:
        label: what it is, with its unit.
        before, after: as text.
        ratio: after / before as text; "" where that says nothing.
    """

    label: str
    before: str
    after: str
    ratio: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with words.

    Attributes:
        title: what it shows.
        caption: how it is read.
        svg: what `export.page.svg` returns.
    """

    title: str
    caption: str
    svg: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: of the section.
        header: texts of the columns; the first is of the rows' names.
        rows: lists of texts.
        about: how it is read.
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
        about: how it is read.
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
    """What stands on a page, in this order; what is empty is left out.

    Attributes:
        title: the headline.
        warnings: sentences that must not be missed.
        cards: `Card`s.
        summary: sentences.
        sections: `Table`s, `Bars`, `Links` and lists of `Picture`s.
        settings: `{name: value}` of the run.
        command: how to do it again.
        machine: processor, threads and versions, a sentence.
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
    """Whether the package is there that makes pages; no run shall fail for want of it."""
    return importlib.util.find_spec("jinja2") is not None


def render(page):
    """A page as HTML.

    Args:
        page: a `Page`.

    Returns:
        Text: one file, which loads nothing and has no script. It is light or dark as the reader's
        system is.
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
