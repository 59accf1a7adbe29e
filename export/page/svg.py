"""Figures as SVG for a page, with the page's light or dark colours."""

import io
import re

# Colours of `matplotlib`, and the page's colours that replace them.
_COLOURS = {
    "#000000": "currentColor",
    "#0072b2": "var(--blue)",
    "#d55e00": "var(--orange)",
    "#009e73": "var(--green)",
    "#cc79a7": "var(--pink)",
}


def svg(figure, label):
    """A figure as text for HTML.

    Args:
        figure: a `matplotlib.figure.Figure`.
        label: what it shows, for people who cannot see it.

    Returns:
        A `markupsafe.Markup`: an `<svg>` without a fixed size, so that it fills the available
        width. Its text stays text.
    """
    from markupsafe import Markup, escape
    from matplotlib import rc_context

    for axes in figure.axes:
        if axes.get_legend():
            axes.get_legend().set(frame_on=False)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', text).group()
    inner = text[text.index(">") + 1 :]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.S)
    inner = re.sub(r'<g id="[^"]*"', "<g", inner)  # the same in every figure
    for colour, variable in _COLOURS.items():
        inner = inner.replace(colour, variable)
    opening = f'<svg {box} role="img" aria-label="{escape(label)}" font-size="10">'
    return Markup(opening + inner)
