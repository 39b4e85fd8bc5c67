"""The page of one run, run.html in its folder: its numbers, its pictures, what each attack fooled, config, provenance, last words.

All of it is read from files that a stranger may have written: text is escaped, images are shown as images, nothing else is read.
A file that is damaged says so in its place.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from advarch.evaluation.outcomes import RIGHT, load_verdicts
from advarch.records import RunRecord
from advarch.reports import candidate_table
from advarch.reports.page_frame import document
from advarch.reports.page_runs import analysis, curves, evaluation, facts_of, lines, pairs
from advarch.reports.pictures import png_size
from advarch.reports.rows import printable

PICTURES = {
    "curves.png": "Accuracy and learning rate per epoch; the line is at the best one.",
    "genotype.png": "The cells that the search found.",
    "cells.png": "What each edge of the derived cells carries, per epoch of the search.",
    "search.png": "The search, per epoch.",
    "gallery.png": "Test images, clean and adversarial.",
}
"""What stages draw into a run's folder, and what it shows."""

MORE = ("candidates_*.png", "analysis/*/*.png")

LONGEST = 200_000
"""Characters of a file that the page shows; a stranger's may have any length."""

LAST_LINES = 60
TAIL = 32_768
"""Bytes at the end of job.log in which the last lines are looked for."""

IMAGES = "'self' file: data:"

Verdict = tuple[np.ndarray, np.ndarray]
"""Of one column: the images' indices, and whether each kept its label."""


def page(
    run: RunRecord,
    folder: Path,
    above: tuple[tuple[str, str], ...],
    candidates: Sequence[RunRecord] = (),
) -> str:
    """The page as HTML.

    Args:
        run: what is known of it.
        folder: where its files lie, and the page beside them.
        above: title and relative path of the pages that lead here.
        candidates: of its search.
    """
    way = " · ".join(
        f'<a href="{escape(quote(path))}">{escape(printable(title))}</a>' for title, path in above
    )
    shown = printable(run.name)
    body = [
        f'<header><p class="eyebrow">{way}</p><h1 class="name">{escape(shown)}</h1>'
        f'<p class="is-{run.state}"><span class="badge">{run.state}</span></p>{facts_of(run)}</header>',
        f'<h3>Error</h3><pre class="error">{escape(lines(run.error))}</pre>' if run.error.strip() else "",
        _section("Evaluation", "".join(map(evaluation, run.evaluations.values())) + _read(folder, "outcomes.npz", _outcomes)),
        candidate_table.section(folder, candidates),
        _section("Transfer", _read(folder, "transfer.md", lambda path: f"<pre>{escape(_text(path))}</pre>")),
        _section("Test of its attacks", _read(folder, "binarization.json", _binarization)),
        _section("Pictures", "".join(_pictures(folder))),
        _section("Analysis", "".join(analysis(name, record) for name, record in run.analyses.items())),
        _section("Training", curves(run, None) if run.curves else ""),
        _section("Provenance", _read(folder, "provenance.json", _provenance)),
        _section("Config", _read(folder, "config.yaml", lambda path: f"<pre>{escape(_text(path))}</pre>")),
        _section("Asked for", _read(folder, "attack.json", lambda path: f"<pre>{escape(_text(path))}</pre>")),
        _section("Last words of its log", _read(folder, "job.log", _log)),
    ]  # fmt: skip
    return document(shown, body, images=IMAGES)


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{title}</h2>{inside}</section>" if inside else ""


def _read(folder: Path, name: str, show: Callable[[Path], str]) -> str:
    """What a file shows; nothing where it is not there, and why where it can't be read."""
    path = folder / name
    if not path.is_file():
        return ""
    try:
        return show(path)
    except Exception as error:  # Whatever a damaged file raises, the page says so and goes on.
        why = escape(printable(f"{name} is damaged: {type(error).__name__}: {error}"[:300]))
        return f'<p class="mark">{why}</p>'


def _pictures(folder: Path) -> Iterator[str]:
    """Every picture in the folder, by a path relative to the page."""
    named = [(folder / name, caption) for name, caption in PICTURES.items()]
    found = sorted(path for pattern in MORE for path in folder.glob(pattern))
    named += [
        (path, " ".join((*path.relative_to(folder).parts[1:-1], path.stem.replace("_", " "))))
        for path in found
    ]
    for path, caption in named:
        if path.is_file():
            yield _read(path.parent, path.name, lambda path, c=caption: _image(path, folder, c))  # type: ignore[misc]


def _image(path: Path, folder: Path, caption: str) -> str:
    data = path.read_bytes()
    width, height = png_size(data)
    if not data.startswith(b"\x89PNG") or b"IEND" not in data[-12:] or not 0 < width * height < 10**9:
        raise ValueError("expected a whole PNG")
    source = escape(quote(path.relative_to(folder).as_posix()))
    words = escape(printable(caption))
    image = f'<img src="{source}" alt="{words}" width="{width}" height="{height}">'
    frame = f'<div class="frame white" tabindex="0" role="region" aria-label="Figure">{image}</div>'
    return f"<figure>{frame}<figcaption>{words}</figcaption></figure>"


def _outcomes(path: Path) -> str:
    """Of each checkpoint: how many images stand against all attacks, and what each attack alone fooled."""
    found: dict[str, dict[str, Verdict]] = {}
    for key, verdict in load_verdicts(path).items():
        checkpoint, _, column = key.partition("/")
        found.setdefault(checkpoint, {})[column] = verdict
    return "".join(_against(checkpoint, columns) for checkpoint, columns in found.items())


def _against(checkpoint: str, columns: Mapping[str, Verdict]) -> str:
    clean = columns.get("clean")
    attacks = {
        name: correct != RIGHT
        for name, (index, correct) in columns.items()
        if name not in ("clean", "worst") and clean is not None and np.array_equal(index, clean[0])
    }
    if clean is None or len(attacks) < 2:
        return ""
    right = clean[1] == RIGHT
    fooled = np.stack([right & wrong for wrong in attacks.values()])
    stand, by_all = int((right & ~fooled.any(0)).sum()), int(fooled.all(0).sum())
    alone = fooled & (fooled.sum(0) == 1)
    said = f"{stand:,} of {len(right):,} images keep their label against all {len(attacks)} attacks, {by_all:,} fall to each."
    rows = "".join(
        f'<tr><th scope="row">{escape(printable(name))}</th><td class="num">{int(some.sum()):,}</td>'
        f'<td class="num">{int(only.sum()):,}</td></tr>'
        for name, some, only in zip(attacks, fooled, alone, strict=True)
    )
    head = '<th>attack</th><th class="num">fooled</th><th class="num">fooled by it alone</th>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h3>Image by image, {escape(printable(checkpoint))} checkpoint</h3><p>{said}</p><div class="scroll">{table}</div>'


def _binarization(path: Path) -> str:
    """How many of the adversarial points planted for it each attack finds."""
    found = [
        f"{printable(str(one['attack']))}: found {one['found']} of {one['images']} planted points "
        f"(100 random points: {one['found_at_random']})"
        for one in json.loads(path.read_text()[:LONGEST])
    ]
    return f'<ul class="notes">{"".join(f"<li>{escape(text)}</li>" for text in found)}</ul>'


def _provenance(path: Path) -> str:
    """What each attempt ran with."""
    value: dict[str, Any] = json.loads(path.read_text()[:LONGEST])
    return "".join(pairs([*_facts(attempt)]) for attempt in value["attempts"][-5:])


def _facts(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        name = printable(f"{before}{key}")
        if isinstance(item, dict):
            yield from _facts(item, f"{name} ")
        elif item is not None:
            words = " ".join(map(str, item)) if isinstance(item, list) else str(item)
            yield name, escape(printable(words))


def _log(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        text = file.read().decode(errors="replace")
    # A progress bar overwrites its line, and colours are for terminals.
    plain = [
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rpartition("\r")[2])
        for line in text.replace("\r\n", "\n").split("\n")
    ]
    return f"<pre>{escape(lines(chr(10).join(plain[-LAST_LINES:])))}</pre>"


def _text(path: Path) -> str:
    with path.open(errors="replace") as file:
        return lines(file.read(LONGEST))
