"""The verb `report`: the table, the figure and the page of a sweep's runs."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from advarch.cli.compose import PlannedJob, planned_jobs, sweep_name
from advarch.cli.draw import draw
from advarch.cli.wandb_report import wandb_report
from advarch.errors import InputError
from advarch.reports.jobs import of_other_scales, scale_of
from advarch.runs.folder import RunFolder


def report(arguments: Sequence[str]) -> int:
    """Print the table of a sweep and write report.md, .tex, .csv, .png and .html beside its runs.

    `--all` writes a page for a whole folder, `wandb=true` makes a report of W&B; `draw=` draws cells or candidates.

    Raises:
        InputError: no sweep named, or bad input.
    """
    if any(argument.startswith("draw=") for argument in arguments):
        return draw(arguments)
    if {"--all", "all=true"} & set(arguments):
        from advarch.cli.report_all import report_all

        return report_all(arguments)
    if sweep_name(arguments) is None:
        raise InputError(
            f"report: expected a sweep, came {' '.join(arguments) or 'none'}; try advarch report +sweep=demo, "
            "advarch report --all for all that lies in outputs/, or advarch report draw=genotype genotype=darts_v2 for a drawing"
        )
    if any(argument.startswith("wandb=") for argument in arguments):
        return wandb_report(arguments)
    jobs = planned_jobs(arguments)
    sweep: dict[str, Any] = jobs[0].config["sweep"]
    runs = [job.folder.record(job.config) for job in jobs]
    folder = Path(jobs[0].config["outputs"]) / str(sweep["name"])
    left_out = beside(folder, jobs)
    from advarch.reports.table import build
    from advarch.reports.text import console
    from advarch.reports.write import write

    console(build(sweep, runs, beside=left_out))
    for path in write(sweep, runs, folder, beside=left_out):
        print(path)
    return 0


def beside(folder: Path, jobs: Sequence[PlannedJob]) -> str:
    """What there is to say of runs in the sweep's folder that are of another scale than these jobs."""
    mine = {job.folder.path.name for job in jobs}
    scales = []
    for path in sorted(folder.glob("*/config.yaml")):
        if path.parent.name not in mine:
            with suppress(InputError):  # What is damaged is of no scale that is known.
                scales.append(scale_of(RunFolder(path.parent).config()))
    return of_other_scales(scale_of(jobs[0].config), scales)
