"""`advarch report --all`: one page for a whole folder, index.html, a report for each of its sweeps, and a page for each run."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from advarch import records
from advarch.cli import found
from advarch.cli.stamps import code, stamp, written
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.launch import grid
from advarch.records import RunRecord
from advarch.reports import index, listed, run_page
from advarch.reports.closing import coverage
from advarch.reports.jobs import assigned, of_other_scales, scale_of
from advarch.reports.listed import Entry, Line
from advarch.reports.page_runs import PAGE
from advarch.reports.shape import Shape, read_shape
from advarch.reports.write import write
from advarch.runs.config import digest
from advarch.runs.folder import RunFolder

SCALES = ("paper", "small", "smoke")
"""Which runs a sweep's report is of, where runs of several scales lie in its folder: the first of these that is there."""

KEPT = ".index.json"
"""Beside index.html: what it says, and what every page was written from."""


@dataclass(frozen=True)
class Reported:
    """A folder that is reported: the stamp of all that went into it and came out, its entry, its pages' stamps by path."""

    stamp: str
    entry: Entry
    pages: dict[str, str]


@dataclass(frozen=True)
class Kept:
    """.index.json: what was reported, and by which advarch."""

    code: str
    folders: dict[str, Reported] = field(default_factory=dict)
    schema: int = records.SCHEMA


def report_all(arguments: Sequence[str]) -> int:
    """Write index.html into `outputs=FOLDER`, report.* into each sweep's folder and run.html into each run's, where they are new.

    Raises:
        InputError: no such folder, no run in it, or another word.
    """
    root = _root([argument for argument in arguments if argument not in ("--all", "all=true")])
    if not root.is_dir():
        raise InputError(f"report --all: expected a folder of runs, came {str(root)!r}, which is not there")
    places = found.folders(root)
    if not places:
        raise InputError(f"report --all: expected a folder with runs, came {str(root)!r}, which has none")
    before, now = _kept(root), Kept(code())
    if before.code != now.code:
        before = Kept("")
    for place, paths in places.items():
        name = f"{os.path.relpath(place[0], root)}{' by attack' if place[1] else ''}"
        now.folders[name] = _reported(place, paths, root, before.folders.get(name))
    _forget(root, before, now)
    entries = [folder.entry for folder in now.folders.values()]
    weights = [line.weights for entry in entries for line in entry.lines if line.weights]
    page = index.html(root.resolve().name, entries, found.runs_of(weights, root))
    print(write_atomic(root / "index.html", page))
    write_atomic(root / KEPT, records.dump(now))
    return 0


def _root(typed: Sequence[str]) -> Path:
    """The folder that `outputs=` names, in Hydra's grammar as everywhere: outputs='my runs'."""
    other = next((argument for argument in typed if not argument.startswith("outputs=")), None)
    if other is not None:
        raise InputError(
            f"report --all: expected outputs=FOLDER, came '{other}'; it reports all that lies there"
        )
    parsed = OverridesParser.create().parse_overrides(list(typed) or ["outputs=outputs"])[-1]
    if parsed.is_sweep_override() or not isinstance(value := parsed.value(), str | int | float):
        raise InputError(f"report --all: expected one folder, came {parsed.input_line}")
    return Path(str(value))


def _kept(root: Path) -> Kept:
    """What was reported before; nothing where the file is none of ours."""
    try:
        return records.read(Kept, root / KEPT) or Kept("")
    except (InputError, TypeError, AttributeError, OSError):
        return Kept("")


def _forget(root: Path, before: Kept, now: Kept) -> None:
    """Remove the pages of runs that are no runs any more."""
    pages = {path for folder in now.folders.values() for path in folder.pages}
    for path in {path for folder in before.folders.values() for path in folder.pages} - pages:
        page = root / path / PAGE
        if page.resolve().is_relative_to(root.resolve()):
            page.unlink(missing_ok=True)


def _reported(place: found.Place, paths: Sequence[Path], root: Path, before: Reported | None) -> Reported:
    """Write the report of a folder's sweep and the pages of its runs, unless all are there and nothing has changed."""
    parent, given = place
    trials = {} if given else {path: found.candidates(path) for path in paths}
    # Taken before anything is read: what changes meanwhile is read again next time.
    stamps = {path: stamp(path) for path in [*paths, *(one for ones in trials.values() for one in ones)]}
    if before and before.stamp == _stamp(parent, stamps):
        return before
    pages = _Pages(root, stamps, before.pages if before else {})
    entry = _given(paths, pages, root) if given else _sweep_of(parent, paths, trials, pages)
    return Reported(_stamp(parent, stamps), entry, pages.written)


def _stamp(parent: Path, stamps: Mapping[Path, str]) -> str:
    """Of what the runs of a folder hold, the pages made of it, and the reports."""
    out = [*(path / PAGE for path in stamps), *sorted(parent.glob("report*"))]
    return digest([sorted((str(path), value) for path, value in stamps.items()), list(written(out))])


class _Pages:
    """The pages of runs, each written where what it shows has changed, or itself."""

    def __init__(self, root: Path, stamps: Mapping[Path, str], before: Mapping[str, str]) -> None:
        self.root, self.stamps, self.before = root, stamps, before
        self.written: dict[str, str] = {}

    def above(self, path: Path) -> tuple[str, str]:
        """The way from a folder to the page of all."""
        return "all sweeps", os.path.relpath(self.root / "index.html", path)

    def put(
        self,
        run: RunRecord,
        path: Path,
        ways: Sequence[tuple[str, str]],
        candidates: Sequence[RunRecord] = (),
    ) -> None:
        """Write run.html into the folder `path`."""
        seen = [self.stamps[path], *(self.stamps[Path(one.folder)] for one in candidates)]
        ways = (self.above(path), *ways)
        name = os.path.relpath(path, self.root)
        if self.before.get(name) != self._stamp(path, seen, ways):
            shown = run_page.page(replace(run, folder="./"), path, ways, candidates)
            # Lost in a crash it has another size, and is written again.
            write_atomic(path / PAGE, shown, flush=False)
        self.written[name] = self._stamp(path, seen, ways)

    def _stamp(self, path: Path, seen: Sequence[str], ways: Sequence[tuple[str, str]]) -> str:
        return digest([seen, ways, list(written([path / PAGE]))])


def _given(paths: Sequence[Path], pages: _Pages, root: Path) -> Entry:
    """The evaluations of given networks in a folder."""
    lines = []
    for path in paths:
        run, network, weights = found.given(path)
        pages.put(run, path, ())
        lines.append(listed.line(run, found.changed(path), network, weights))
    return Entry(os.path.relpath(paths[0].parent, root), "", tuple(lines), coverage(ALL, []), given=True)


def _sweep_of(
    parent: Path, paths: Sequence[Path], trials: Mapping[Path, Sequence[Path]], pages: _Pages
) -> Entry:
    """A sweep, or a folder of single runs."""
    runs = [replace(found.record(path), name=path.name, folder=str(path)) for path in paths]
    sweep = _sweep(parent, runs)
    jobs, others, beside, note = _jobs(sweep, runs)
    title, reported, shape = str(sweep.get("title") or sweep["name"]) if sweep else "", False, None
    if sweep:
        try:
            shape = read_shape(sweep)
            write(sweep, jobs, parent, above=pages.above(parent)[1], beside=beside)
            reported = True
        except InputError as error:
            note = f"no report: {error}"
    ways = [(title, "../report.html")] if reported else []
    states: Counter[str] = Counter()
    for run, path in zip(runs, paths, strict=True):
        tried = [replace(found.record(one), folder=str(one)) for one in trials[path]]
        states.update(one.state for one in tried)
        for one in tried:
            pages.put(one, Path(one.folder), [(run.name, f"../../{PAGE}")])
        pages.put(run, path, ways, tried)
    together = [*jobs, *others]
    names = dict.fromkeys(name for run in runs for name in run.evaluations) or ("best",)
    return Entry(
        os.path.relpath(parent, pages.root),
        title,
        _lines(together, {path.name: found.changed(path) for path in paths}, shape),
        coverage(replace(ALL, checkpoints=tuple(names)), together),
        dict(states),
        reported,
        note,
    )


def _lines(runs: Sequence[RunRecord], changed: Mapping[str, float], shape: Shape | None) -> tuple[Line, ...]:
    labels = listed.labels(shape, runs)
    return tuple(listed.line(run, changed.get(run.name), labels.get(id(run), "")) for run in runs)


ALL = read_shape({"name": "all", "rows": ["seed"], "columns": ["clean"], "checkpoints": ["best"]})
"""Of no sweep in particular: what counts jobs and flags."""


def _sweep(parent: Path, runs: Sequence[RunRecord]) -> Mapping[str, Any] | None:
    """The sweep that a folder is of, as its newest run holds it; none of single runs."""
    newest = sorted(runs, key=lambda run: os.path.getmtime(RunFolder(Path(run.folder)).config_path))
    sweeps = (run.config.get("sweep") for run in reversed(newest))
    return next((s for s in sweeps if isinstance(s, dict) and s.get("name") == parent.name), None)


def _jobs(
    sweep: Mapping[str, Any] | None, runs: Sequence[RunRecord]
) -> tuple[list[RunRecord], list[RunRecord], str, str]:
    """The jobs that a report is of, missing ones too; the other runs there; a word about those of other scales, and about all."""
    whole = [run for run in runs if run.config]
    if not sweep or not whole:
        return [], list(runs), "", ""
    scales = [scale_of(run.config) for run in whole]
    scale = next((scale for scale in SCALES if scale in scales), scales[0])
    mine = [run for run, its in zip(whole, scales, strict=True) if its == scale]
    others = [run for run in runs if not any(run is each for each in mine)]
    try:
        jobs, strange = assigned(grid.points(sweep), mine)
    except InputError:
        jobs, strange = mine, []
    beside, rest = of_other_scales(scale, scales), len(strange) + len(runs) - len(whole)
    more = f"{rest} more: damaged, or of other settings" if rest else ""
    return jobs, [*others, *strange], beside, " ".join(filter(None, [beside, more]))
