"""The report of a sweep on disk: report.md, report.tex, report.csv, the figures, report.html."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from advarch.files import write_atomic
from advarch.records import RunRecord
from advarch.reports import (
    attention,
    curves,
    figure,
    genotype_drawing,
    genotype_strip,
    measures,
    run_curves,
    run_tables,
    search_curves,
)
from advarch.reports.page import html
from advarch.reports.pictures import Picture
from advarch.reports.rows import gather, lookup
from advarch.reports.shape import Shape, read_shape
from advarch.reports.table import build
from advarch.reports.tex import tex
from advarch.reports.text import csv_text, markdown

MOST_DRAWN = 40
"""Runs whose curves are drawn; of a larger sweep the others have the table alone."""

MOST_LOOKED_INTO = 6
"""Runs whose analyses are drawn, some ten pictures each; those of the others lie in their folders."""


def write(
    sweep: Mapping[str, Any],
    runs: Sequence[RunRecord],
    folder: Path,
    *,
    above: str = "",
    beside: str = "",
) -> list[Path]:
    """Write every part of a sweep's report into `folder`, each file whole or not at all; equal input, equal bytes.

    Args:
        sweep: its resolved mapping.
        runs: one record per job.
        folder: the sweep's.
        above: the way from there to the page of all sweeps (`advarch report --all`). Each run then has a page of its own, which
            has its curves and analyses, and the report draws neither.
        beside: what lies in the folder and is left out.

    Returns:
        The paths written: report.md, report.tex and report.csv, report.png (then report_2.png, ...) where the sweep has figures, report_curves.png where a run
        has curves, report_attention_<row>.png where several runs of a row have attention, and report.html.

    Raises:
        InputError: the sweep lacks a key, or names a column or a config key that is not there.
    """
    shape = read_shape(sweep)
    table = build(sweep, runs, beside=beside)
    pictures = _pictures(shape, sweep, runs, alone=not above)
    names = [(picture.caption, name) for name, picture in pictures.items()]
    here = [replace(run, folder=_from(run.folder, folder)) if run.folder else run for run in runs]
    contents: dict[str, str | bytes] = {
        "report.md": markdown(table, names),
        "report.tex": tex(table),
        "report.csv": csv_text(table),
    }
    contents |= {name: picture.light for name, picture in pictures.items()}
    drawn, looked = ({}, {}) if above else (_drawn(here), _looked(here))
    contents["report.html"] = html(sweep, table, list(pictures.values()), here, drawn, looked, above=above)
    return [write_atomic(folder / name, content) for name, content in contents.items()]


def _pictures(
    shape: Shape, sweep: Mapping[str, Any], runs: Sequence[RunRecord], *, alone: bool
) -> dict[str, Picture]:
    """The figures by file name; the runs' curves where the report stands alone."""
    pictures = {}
    drawn = [
        picture
        for number, plot in enumerate(shape.figures)
        for picture in (
            _cells(shape, runs) if plot.kind == "cells" else [_figure(shape, sweep, runs, number)]
        )
    ]
    for number, picture in enumerate(drawn):
        pictures[f"report_{number + 1}.png" if number else "report.png"] = picture
    if alone and curves.drawable(runs):
        titles = _titles(shape, runs)
        light, dark = (curves.render(runs, titles=titles, dark=dark) for dark in (False, True))
        caption = "Clean and robust accuracy on the validation part, per epoch of training."
        pictures["report_curves.png"] = Picture(caption, light, dark, wide=True)
    return pictures | _attention(shape, runs)


def _figure(shape: Shape, sweep: Mapping[str, Any], runs: Sequence[RunRecord], number: int) -> Picture:
    plot = shape.figures[number]
    light, dark = (figure.render(sweep, runs, number=number, dark=dark) for dark in (False, True))
    return Picture(figure.caption(shape, plot, runs), light, dark, wide=plot.kind in ("grid", "surfaces"))


def _cells(shape: Shape, runs: Sequence[RunRecord]) -> list[Picture]:
    """The cells of every network that has some: those its config names, or its search has found."""
    titles, pictures = _titles(shape, runs), []
    for run in runs:
        genotype = run_tables.cells(run)
        if genotype is not None:
            shown = genotype_drawing.render(genotype, title=titles[run.name])
            pictures.append(Picture(f"The cells of {titles[run.name]}.", shown))
    return pictures


def _attention(shape: Shape, runs: Sequence[RunRecord]) -> dict[str, Picture]:
    """DS-Net's attention weights with their spread (Fig. 8): of every row with several networks of the same blocks."""
    found = {}
    for number, group in enumerate(gather(shape.rows, runs), 1):
        tables = [
            {key: [value for value in column if value is not None] for key, column in result.table.items()}
            for run in group.runs
            for record in list(run.analyses.values())[:1]
            for result in record.results.values()
            if result.kind == "attention" and not result.skipped
        ]
        if len(tables) > 1 and all(
            t["module"] == tables[0]["module"] and t["block"] == tables[0]["block"] for t in tables
        ):
            together = attention.spread(tables)
            light, dark = (attention.render({}, together, dark=dark) for dark in (False, True))
            caption = f"Attention weights by depth, {group.label}: mean and standard deviation over {len(tables)} seeds."
            found[f"report_attention_{number}.png"] = Picture(caption, light, dark)
    return found


def _drawn(runs: Sequence[RunRecord]) -> dict[str, Picture]:
    """The curves of single runs, by name; of a large sweep its first ones."""
    found = {}
    for run in [run for run in runs if run_curves.drawable(run.curves)][:MOST_DRAWN]:
        best = run.train.best_epoch if run.train else None
        light, dark = (run_curves.render(run.curves, best, dark=dark) for dark in (False, True))
        found[run.name] = Picture(
            "Accuracy and learning rate per epoch; the line is at the best one.", light, dark
        )
    return found


def _looked(runs: Sequence[RunRecord]) -> dict[str, list[Picture]]:
    """The pictures of searches and analyses, by run; of a large sweep those of its first runs."""
    found: dict[str, list[Picture]] = {}
    for run in [run for run in runs if run.analyses or run.searched][:MOST_LOOKED_INTO]:
        if run.searched:
            found[run.name] = _searched(run)
        for checkpoint, record in run.analyses.items():
            for name, result in record.results.items():
                if not result.skipped:
                    light, dark = (measures.render(result, dark=dark) for dark in (False, True))
                    found.setdefault(run.name, []).append(
                        Picture(f"{name}, {checkpoint} checkpoint.", light, dark)
                    )
    return found


def _searched(run: RunRecord) -> list[Picture]:
    """The cells that a search last derived, how they came about, and its curves."""
    rows, pictures = run.searched, []
    cells = genotype_strip.cells_by_epoch(rows)
    if cells:
        last = genotype_drawing.render(cells[-1][1])
        pictures.append(Picture(f"The cells after epoch {cells[-1][0]:.0f} of the search.", last))
        light, dark = (genotype_strip.render(rows, dark=dark) for dark in (False, True))
        pictures.append(
            Picture("What each edge of the derived cells carries, per epoch of the search.", light, dark)
        )
    found = lookup(run.config, "search.supernet.space.operations")
    count = len(found) if isinstance(found, list) else None
    light, dark = (search_curves.render(rows, operations=count, dark=dark) for dark in (False, True))
    return [*pictures, Picture("The search, per epoch.", light, dark)]


def _titles(shape: Shape, runs: Sequence[RunRecord]) -> dict[str, str]:
    """A panel's title by run name: the row's label, and the seed where a row has several runs."""
    titles = {}
    for group in gather(shape.rows, runs):
        for run in group.runs:
            seed = f", seed {run.config.get('seed')}" if len(group.runs) > 1 else ""
            titles[run.name] = group.label + seed
    return titles


def _from(path: str, folder: Path) -> str:
    """A run's folder as seen from the report's, so that the page's links survive a move of both."""
    relative = os.path.relpath(path, folder)
    return relative if relative.startswith("..") else f"./{relative}"
