"""`advarch report --all`: one page for a whole folder, index.html, a report for each of its sweeps, and a page for each run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.launch import grid
from advarch.records import RunRecord
from advarch.reports import index, run_page
from advarch.reports.closing import coverage
from advarch.reports.index import Entry
from advarch.reports.jobs import assigned
from advarch.reports.page_runs import PAGE
from advarch.reports.shape import read_shape
from advarch.reports.write import write
from advarch.runs.folder import RunFolder

SCALES = ("paper", "small", "smoke")
"""Which runs a sweep's report is of, where runs of several scales lie in its folder: the first of these that is there."""


def report_all(arguments: Sequence[str]) -> int:
    """Write index.html into `outputs=FOLDER`, report.* into each sweep's folder and run.html into each run's.

    Raises:
        InputError: no such folder, no run in it, or another word.
    """
    given = [argument for argument in arguments if argument not in ("--all", "all=true")]
    other = next((argument for argument in given if not argument.startswith("outputs=")), None)
    if other is not None:
        raise InputError(
            f"report --all: expected outputs=FOLDER, came '{other}'; it reports all that lies there"
        )
    root = Path(given[-1].removeprefix("outputs=") if given else "outputs")
    if not root.is_dir():
        raise InputError(f"report --all: expected a folder of runs, came {str(root)!r}, which is not there")
    found = folders(root)
    if not found:
        raise InputError(f"report --all: expected a folder with runs, came {str(root)!r}, which has none")
    entries = [_entry(parent, runs, root) for parent, runs in found.items()]
    name = root.resolve().name
    print(write_atomic(root / "index.html", index.html(name, entries)))
    return 0


def folders(root: Path) -> dict[Path, list[Path]]:
    """The run folders below a folder, by the folder that holds them."""
    found: dict[Path, list[Path]] = {}
    for path, below, files in os.walk(root):
        below.sort()
        if "config.yaml" in files:
            found.setdefault(Path(path).parent, []).append(Path(path))
            below[:] = [name for name in below if name == "candidates"]
    return dict(sorted(found.items()))


def record(folder: Path) -> RunRecord:
    """All that is known of a run; what is damaged makes it a failed one, with the reason."""
    path = str(folder)
    try:
        config = RunFolder(folder).config()
    except Exception as error:  # A half-written or foreign folder stops no page.
        return RunRecord(folder.name, path, {}, "failed", _damage(error))
    try:
        return RunFolder(folder).record(config)
    except Exception as error:
        return RunRecord(folder.name, path, config, "failed", _damage(error))


def _damage(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"damaged: {type(error).__name__}: {error}"


def _entry(parent: Path, paths: Sequence[Path], root: Path) -> Entry:
    """Write the report of a folder's sweep and the pages of its runs."""
    runs = [replace(record(path), name=path.name, folder=str(path)) for path in paths]
    sweep = _sweep(parent, runs)
    jobs, others, note = _jobs(sweep, runs)
    title, written = str(sweep.get("title") or sweep["name"]) if sweep else "", False
    if sweep:
        try:
            write(sweep, jobs, parent, above=os.path.relpath(root / "index.html", parent))
            written = True
        except InputError as error:
            note = f"no report: {error}"
    above = os.path.relpath(root / "index.html", paths[0])
    ways = (("all sweeps", above), *([(title, "../report.html")] if written else []))
    for run, path in zip(runs, paths, strict=True):
        write_atomic(path / PAGE, run_page.page(replace(run, folder="./"), path, ways))
    names = dict.fromkeys(name for run in runs for name in run.evaluations) or ("best",)
    shape = read_shape({"name": "all", "rows": ["seed"], "columns": ["clean"], "checkpoints": list(names)})
    changed = {path.name: _changed(path) for path in paths}
    together = (*jobs, *others)
    return Entry(
        os.path.relpath(parent, root), title, together, coverage(shape, together), changed, written, note
    )


def _sweep(parent: Path, runs: Sequence[RunRecord]) -> Mapping[str, Any] | None:
    """The sweep that a folder is of, as its newest run holds it; none of single runs and of a search's candidates."""
    newest = sorted(runs, key=lambda run: os.path.getmtime(Path(run.folder) / "config.yaml"), reverse=True)
    sweeps = (run.config.get("sweep") for run in newest)
    return next((s for s in sweeps if isinstance(s, dict) and s.get("name") == parent.name), None)


def _jobs(
    sweep: Mapping[str, Any] | None, runs: Sequence[RunRecord]
) -> tuple[list[RunRecord], list[RunRecord], str]:
    """The jobs that a report is of, missing ones too; the other runs that lie there; and a word about these."""
    whole = [run for run in runs if run.config]
    if not sweep or not whole:
        return [], list(runs), ""
    scales = [str((run.config.get("choices") or {}).get("scale", "paper")) for run in whole]
    scale = next((scale for scale in SCALES if scale in scales), scales[0])
    mine = [run for run, its in zip(whole, scales, strict=True) if its == scale]
    others = [run for run in runs if not any(run is each for each in mine)]
    try:
        jobs, strange = assigned(grid.points(sweep), mine)
    except InputError:
        jobs, strange = mine, []
    others += strange
    note = f"{len(others)} more: damaged, of another scale or other settings" if others else ""
    return jobs, others, note


def _changed(path: Path) -> float:
    """When a run last changed, by the files that each stage writes."""
    names = ("config.yaml", "status.json", "evaluation.json", "analysis.json", "metrics.csv")
    return max(file.stat().st_mtime for name in names if (file := path / name).exists())
