"""A table of a page that can be sorted by every column and filtered."""

import json
from collections.abc import Sequence
from html import escape

from advarch.reports.page_frame import controls

Cell = tuple[str, float | str | None]
"""A cell as HTML, and what it sorts by; None comes last."""

NUM = ' class="num"'


def listing(
    title: str, example: str, heads: Sequence[str], words: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> str:
    """The section; nothing without rows.

    Args:
        title: its head, as HTML.
        example: what might be typed to filter.
        heads: of the columns.
        words: those of them that hold no numbers.
        rows: of as many cells as there are heads.
    """
    if not rows:
        return ""
    head = "".join(f'<th scope="col"{"" if name in words else NUM}>{name}</th>' for name in heads)
    body = "\n".join(_row(heads, words, row) for row in rows)
    table = f'<table class="rows long"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">{table}</div>'
    return f'<section class="listing"><h2>{title}</h2>{controls(example)}{box}</section>'


def _row(heads: Sequence[str], words: Sequence[str], row: Sequence[Cell]) -> str:
    keys = escape(json.dumps([key for _, key in row]))
    first, *rest = (cell for cell, _ in row)
    cells = "".join(
        f"<td{'' if name in words else NUM}>{cell}</td>" for name, cell in zip(heads[1:], rest, strict=True)
    )
    return f'<tr data-keys="{keys}"><th scope="row">{first}</th>{cells}</tr>'


def percent(accuracy: float | None, way: str = "") -> Cell:
    """An accuracy in [0, 1], a link where `way` leads somewhere."""
    if accuracy is None:
        return "–", None
    number = 100 * accuracy
    return (f'<a href="{way}">{number:.2f}</a>' if way else f"{number:.2f}"), number


def badge(state: str) -> str:
    """A run's state."""
    return f'<span class="badge is-{escape(state)}">{escape(state)}</span>'


def note(text: str, kind: str = "note") -> str:
    """A line below what a cell says; nothing without a text."""
    return f'<span class="{kind}">{escape(text)}</span>' if text else ""
