"""What ends every table: how much of the sweep is there, how sure its numbers are, and what they do not say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from advarch.evaluation.sanity import TABLE_WIDE
from advarch.records import EvalRecord, RunRecord
from advarch.reports.estimate import Estimate
from advarch.reports.rows import Group, differing, norm_word, pixels, printable
from advarch.reports.shape import Shape

FEW_IMAGES = 1000
"""Below this an interval is so wide (about +-3 points) that a reader must be told."""


@dataclass(frozen=True)
class Coverage:
    """How many jobs are in which state, and how many evaluations (one a job and checkpoint) raised a flag.

    `few` counts those of fewer than 1,000 images, a flag that `flagged` leaves out: it marks no cell and is said once.
    """

    total: int
    done: int
    running: int
    interrupted: int
    failed: int
    missing: int
    evaluations: int
    flagged: int
    few: int


def coverage(shape: Shape, runs: Sequence[RunRecord]) -> Coverage:
    """Count the jobs and the flagged evaluations of a sweep."""
    states = [run.state for run in runs]
    records = [record for run in runs for record in _records(shape, run)]
    return Coverage(
        total=len(runs),
        done=states.count("done"),
        running=states.count("running"),
        interrupted=states.count("interrupted"),
        failed=states.count("failed"),
        missing=states.count("missing"),
        evaluations=len(records),
        flagged=sum(bool(set(_flags_of(record)) - TABLE_WIDE) for record in records),
        few=sum(bool(set(record.flags) & TABLE_WIDE) for record in records),
    )


def flags(shape: Shape, runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """The flags that a table of those runs points out: of the evaluation, and of the attacks among its columns."""
    found: dict[str, None] = {}
    for run in runs:
        for record in _records(shape, run):
            shown = [result for result in record.results if result.name in shape.columns]
            found |= dict.fromkeys((*record.flags, *(flag for result in shown for flag in result.flags)))
    return tuple(flag for flag in found if flag not in TABLE_WIDE)


def settings(shape: Shape, runs: Sequence[RunRecord]) -> dict[str, tuple[str, ...]]:
    """What was attacked and how far, each distinct answer once: dataset, threat, test images, seeds."""
    records = [record for run in runs for record in _records(shape, run)]
    return {
        "dataset": _distinct(record.dataset for record in records),
        "threat": _distinct(threat(record) for record in records),
        "test images": _distinct(f"{result.total:,}" for record in records for result in record.results),
        "seeds": _distinct(str(run.config.get("seed", "none")) for run in runs),
    }


def table_wide(runs: Sequence[RunRecord], checkpoint: str) -> tuple[str, ...]:
    """The flags of those runs that mark no cell and are said once below the table."""
    records = [run.evaluations[checkpoint] for run in runs if checkpoint in run.evaluations]
    return tuple(dict.fromkeys(flag for record in records for flag in record.flags if flag in TABLE_WIDE))


def threat(record: EvalRecord) -> str:
    """The ball an evaluation attacked in, as papers write it."""
    return f"{norm_word(str(record.norm))}, ε = {pixels(record.eps)}"


def sentences(
    shape: Shape, groups: Sequence[Group], estimates: Sequence[tuple[str, Estimate]]
) -> tuple[str, ...]:
    """The closing lines: coverage, flags, images, seeds, the choice of `best`, and rows that mix what they should not.

    `estimates` are the cells', each with its column.
    """
    runs = [run for group in groups for run in group.runs]
    count = coverage(shape, runs)
    lines = [_jobs(count), _flagged(count), *_images(estimates), *_seeds(groups, estimates)]
    if "best" in shape.checkpoints:
        last = "; last is the final epoch" if "last" in shape.checkpoints else ""
        lines.append(
            f"best is the epoch of highest robust validation accuracy, never chosen on test images{last}."
        )
    lines += _unlike(shape, groups, runs)
    return tuple(line for line in lines if line)


def _jobs(count: Coverage) -> str:
    states = ("missing", "running", "interrupted", "failed")
    rest = [f"{getattr(count, state)} {state}" for state in states if getattr(count, state)]
    return f"{count.done} of {count.total} jobs done" + (f": {', '.join(rest)}." if rest else ".")


def _flagged(count: Coverage) -> str:
    if not count.evaluations:
        return "Nothing is evaluated yet."
    if count.few:
        few = f"all {count.few}" if count.few == count.evaluations else f"{count.few} of {count.evaluations}"
        others = f"{count.flagged} of {count.evaluations} evaluations" if count.flagged else "none"
        return f"Flagged for fewer than 1,000 images: {few} evaluations. Other flags: {others}."
    if count.flagged:
        return f"{count.flagged} of {count.evaluations} evaluations flagged."
    return f"None of the {count.evaluations} evaluations is flagged."


def _images(estimates: Sequence[tuple[str, Estimate]]) -> list[str]:
    lines = []
    counts = sorted({e.images for _, e in estimates if e.images is not None})
    for images in counts:
        there = [(column, e) for column, e in estimates if e.images == images]
        widths = [(e.high - e.low) / 2 for _, e in there if e.low is not None and e.high is not None]
        # An attack may be asked on a share of the images only.
        where = f" ({', '.join(dict.fromkeys(column for column, _ in there))})" if len(counts) > 1 else ""
        said = f"n = {images:,} images{where}"
        if images < FEW_IMAGES and widths:
            lines.append(f"{said}: 95 % interval about ±{max(widths):.1f} points at the widest (Wilson).")
        elif images < FEW_IMAGES:
            lines.append(f"{said}: 95 % interval of one seed up to ±{98 / images**0.5:.1f} points.")
        elif widths:
            lines.append(f"{said}; ranges are 95 % Wilson intervals.")
    return lines


def _seeds(groups: Sequence[Group], estimates: Sequence[tuple[str, Estimate]]) -> list[str]:
    counts = sorted({len(group.runs) for group in groups})
    if not counts:
        return []
    if counts[-1] == 1:
        return ["One seed per row: no spread over seeds is known."]
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    line = f"{number} seeds per row; ± is the sample standard deviation over seeds (all share one test set)."
    alone = any(e.images is not None and e.seeds == 1 for _, e in estimates)
    return [line, *(["Where only one seed is done, the range is its 95 % Wilson interval."] if alone else [])]


def _unlike(shape: Shape, groups: Sequence[Group], runs: Sequence[RunRecord]) -> list[str]:
    """Doubts about what is set side by side: a row that averages different experiments, columns of different attacks."""
    lines = []
    for group in groups:
        keys = differing(group)
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            named = ", ".join(printable(key) for key in keys[:3])
            lines.append(
                f"Doubtful: row {group.label} averages runs that differ in {named}{more}; add it to sweep.rows."
            )
    for name, answers in settings(shape, runs).items():
        labelled = any(key.split(".")[0] in ("dataset", "threat") for key in shape.rows)
        if len(answers) > 1 and name in ("dataset", "threat") and not labelled:
            lines.append(f"Doubtful: rows differ in {name} ({'; '.join(answers)}) and no label says so.")
    return lines


def _records(shape: Shape, run: RunRecord) -> list[EvalRecord]:
    return [run.evaluations[name] for name in shape.checkpoints if name in run.evaluations]


def _flags_of(record: EvalRecord) -> tuple[str, ...]:
    return (*record.flags, *(flag for result in record.results for flag in result.flags))


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(printable(word) for word in words))
