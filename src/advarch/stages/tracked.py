"""What a stage leaves for the tracker at its end: pictures, costs, the table of attacks, and files where the config asks for them."""

from collections.abc import Mapping
from typing import Any

from advarch.errors import said
from advarch.evaluation.sanity import TABLE_WIDE
from advarch.genotype.stored import FILE
from advarch.records import RunRecord
from advarch.reports.published import Printed, read_published
from advarch.reports.rows import gather
from advarch.reports.shape import read_shape
from advarch.runs.steps import closing_step
from advarch.runs.tracking import NoTracker
from advarch.runs.weights import FILES
from advarch.stages.job import Job

PICTURES = {
    "search": ("genotype.png", "cells.png", "search.png"),
    "train": ("curves.png",),
    "evaluate": ("gallery.png",),
    "analyse": ("analysis/*/*.png",),
}
"""The pictures that each stage draws, as it names them in the run folder."""

ARTIFACTS = {("search", "genotype"): (FILE,), ("train", "model"): (FILES["best"], "model.json")}
"""The files of each word of `logger.artifacts`, by the stage that writes them."""


def tell(job: Job, stage: str) -> None:
    """Tell the tracker what the stage has left in the folder. It reads files only, and what goes wrong is said, no more."""
    if isinstance(job.tracker, NoTracker):
        return
    try:
        run = job.folder.record(job.config)
        path = job.folder.path
        found = sorted(file for pattern in PICTURES[stage] for file in path.glob(pattern))
        pictures = {str(file.relative_to(path).with_suffix("")): file for file in found}
        tables = {"attacks": attacks(run)} if stage == "evaluate" else {}
        step = closing_step(job.folder, job.config, stage)
        job.tracker.show(numbers(run), pictures, tables, step)
        for word in job.config["logger"].get("artifacts", []):
            if files := ARTIFACTS.get((stage, word)):
                job.tracker.keep(word, [path / name for name in files])
    except Exception as error:
        job.say(f"not told to the tracker: {said(error)}")


def numbers(run: RunRecord) -> dict[str, float]:
    """What the run costs (parameters, multiply-adds, seconds) and its accuracies in [0, 1], as far as they are known."""
    found: dict[str, float] = {
        f"{checkpoint}/{result.name}": result.accuracy
        for checkpoint, record in run.evaluations.items()
        for result in record.results
    }
    if run.search:
        found |= {"cost/search_seconds": run.search.seconds}
    if run.size:
        found |= {"cost/parameters": run.size.parameters, "cost/macs": run.size.macs}
    if run.train:
        found |= {"cost/seconds": run.train.seconds, "best_epoch": run.train.best_epoch}
    return found


def attacks(run: RunRecord) -> list[dict[str, Any]]:
    """A row for each checkpoint and attack: accuracies in percent, the own with its interval (Wilson, 95 %), the printed beside.

    A difference stands at the paper's scale only, as in a report.

    Raises:
        InputError: the run's sweep is not as reports want it.
    """
    printed = _printed(run)
    alike = (run.config.get("choices") or {}).get("scale", "paper") == "paper"
    rows = []
    for checkpoint, record in run.evaluations.items():
        for result in record.results:
            own, number = 100 * result.accuracy, printed.get((checkpoint, result.name))
            flags = (*record.flags, *result.flags)
            rows.append(
                {
                    "checkpoint": checkpoint,
                    "attack": result.name,
                    "accuracy": own,
                    "low": 100 * result.low,
                    "high": 100 * result.high,
                    "published": number.value if number else None,
                    "difference": own - number.value if number and alike else None,
                    "images": result.total,
                    "flags": ", ".join(dict.fromkeys(flag for flag in flags if flag not in TABLE_WIDE)),
                }
            )
    return rows


def _printed(run: RunRecord) -> Mapping[tuple[str, str], Printed]:
    """The numbers that the paper prints in this run's row, by checkpoint and column."""
    sweep = run.config.get("sweep")
    if not sweep or not sweep.get("published"):
        return {}
    shape = read_shape(sweep)
    (row,) = gather(shape.rows, [run])
    lines = [line for line in read_published(sweep, shape) if line.labels == row.labels]
    return {(line.checkpoint, column): number for line in lines for column, number in line.numbers.items()}
