"""Small pieces of HTML; everything that is not a piece of HTML is escaped on its way in."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(content: object) -> Markup:
    """Text as HTML: what is HTML already stays, all else is escaped, quotes included."""
    return content if isinstance(content, Markup) else Markup(html.escape(str(content), quote=True))


def element(tag: str, *content: object, **attributes: object) -> Markup:
    """An element; attributes whose value is null are left out, `class_` is written `class`, `aria_label` `aria-label`.

    Example:
        >>> element("p", "1 < 2", class_="note")
        '<p class="note">1 &lt; 2</p>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{join(content)}</{tag}>")


def join(parts: Iterable[object]) -> Markup:
    """Pieces one after another."""
    return Markup("".join(escape(part) for part in parts))


def with_code(text: str) -> Markup:
    """Text with what stands between backticks as code.

    Example:
        >>> with_code("run `equipoise verify`")
        'run <code>equipoise verify</code>'
    """
    return join(element("code", part) if index % 2 else part for index, part in enumerate(text.split("`")))


def breakable(text: str) -> Markup:
    """Text whose lines may break where a name opens a parenthesis or gives a parameter its value.

    Example:
        >>> breakable("int8(preset=mixed)")
        'int8(<wbr>preset=<wbr>mixed)'
    """
    return Markup(escape(text).replace("(", "(<wbr>").replace("=", "=<wbr>"))


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    class_: str | None = None,
    row_headings: bool = True,
) -> Markup:
    """A table that a screen reader can walk, in a box that scrolls by itself where the page is narrow.

    Args:
        caption: What it holds.
        columns: Headings.
        rows: Cells, the first of each row its heading.
        class_: CSS class of the table.
        row_headings: Whether the first cell of a row is its heading.
    """
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in columns)))
    body = []
    for row in rows:
        first, *rest = row
        heading = element("th", first, scope="row") if row_headings else element("td", first)
        body.append(element("tr", heading, *(element("td", cell) for cell in rest)))
    whole = element("table", element("caption", caption), head, element("tbody", *body), class_=class_)
    return element("div", whole, class_="scroll", role="region", tabindex="0", aria_label=caption)
