"""What all pages share: one HTML file that needs nothing but itself, its sections and its pictures."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from string import Template

from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, element, escape, join, table


def page(title: str, answer: Markup, sections: list[Markup], footer: str) -> str:
    """One HTML page that holds all it needs.

    Args:
        title: Of the browser's tab.
        answer: What stands above all else.
        sections: Made by `section`, the first of them with the key `key-figures`, which the keyboard skips to.
        footer: Its last line.
    """
    from plotly.offline import get_plotlyjs

    assets = files("equipoise.report")
    return Template(assets.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=assets.joinpath("page.css").read_text(encoding="utf-8"),
        script=assets.joinpath("page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        answer=answer,
        sections=join(sections),
        footer=escape(footer),
    )


def write_page(content: str, path: Path) -> None:
    """Write a page; it appears at `path` when it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)


def section(key: str, title: str, *content: object) -> Markup:
    """A part of a page with a heading that one can link to."""
    return element("section", element("h2", title, id=f"{key}-title"), *content, id=key, aria_labelledby=f"{key}-title")


def drawn(picture: Picture) -> Markup:
    """A picture with its caption, and its figures as a table."""
    caption = element("p", picture.caption)
    if picture.plot is None:
        return caption
    data = (
        json.dumps(picture.plot, allow_nan=False).replace("<", "\\u003c").replace("\u2028", " ").replace("\u2029", " ")
    )
    summary = element("summary", "The same as a table")
    return element(
        "figure",
        element("figcaption", caption),
        element(
            "div", role="img", aria_label=f"{picture.title}. {picture.caption}", class_="plot", data_figure=picture.key
        ),
        element("script", Markup(data), type="application/json", id=f"data-{picture.key}"),
        element("details", summary, table(picture.title, picture.columns, picture.rows)),
    )
