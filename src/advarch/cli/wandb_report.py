"""`advarch report +sweep=X wandb=true`: the sweep's table and panels as a report and a workspace of W&B."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from advarch.cli.compose import planned_jobs
from advarch.errors import InputError, said
from advarch.reports.shape import Shape, read_shape
from advarch.reports.table import Table, build
from advarch.reports.text import markdown
from advarch.runs.tracking import has_login

WORDS = {"wandb": "true", "dry_run": "true"}
"""The words of this report that are no overrides, and the one value of each."""

LONGEST_TITLE = 128
COSTS = {"cost/parameters": "parameters", "cost/macs": "multiply-adds", "cost/seconds": "training (s)"}
CURVES = ("val_clean", "val_robust", "train_loss")
PICTURES = ("curves", "gallery", "genotype", "cells")


def wandb_report(arguments: Sequence[str]) -> int:
    """Make the report and the workspace and print where they are; `dry_run=true` prints what would be sent, as JSON.

    Raises:
        InputError: bad input, no login, or the package wandb-workspaces is not there.
    """
    given = dict(word.split("=", 1) for word in arguments if word.partition("=")[0] in WORDS)
    for word, value in given.items():
        if value != WORDS[word]:
            raise InputError(f"{word}: expected {WORDS[word]}, came {value!r}")
    rest = [word for word in arguments if word.partition("=")[0] not in WORDS]
    jobs = planned_jobs(rest if any(word.startswith("logger=") for word in rest) else ["logger=wandb", *rest])
    logger, sweep = jobs[0].config["logger"], jobs[0].config["sweep"]
    if logger["kind"] != "wandb":
        raise InputError(f"logger: expected one of W&B for wandb=true, came {logger['kind']}; leave it out")
    table = build(sweep, [job.folder.record(job.config) for job in jobs])
    place = {"project": logger["project"], "entity": logger["entity"] or ""}
    if "dry_run" in given:
        made = views(table, read_shape(sweep), len(jobs), place)
        print(json.dumps({name: spec(view) for name, view in made.items()}, indent=2, ensure_ascii=False))
        return 0
    if not has_login():
        raise InputError(
            "wandb=true: expected a login to W&B, came none; type wandb login, or set WANDB_API_KEY, or see what "
            "would be sent with dry_run=true"
        )
    try:
        import wandb

        place["entity"] = place["entity"] or str(wandb.Api().default_entity)
        for view in views(table, read_shape(sweep), len(jobs), place).values():
            print(view.save().url)
    except InputError:
        raise
    except Exception as error:
        print(
            f"advarch: error: W&B: {said(error)}; without wandb=true the report needs no W&B", file=sys.stderr
        )
        return 1
    return 0


def views(table: Table, shape: Shape, runs: int, place: dict[str, str]) -> dict[str, Any]:
    """The report and the workspace, made but not sent.

    Args:
        runs: how many the sweep has; all of them are shown.
        place: entity and project.

    Raises:
        InputError: the package wandb-workspaces is not there.
    """
    try:
        from wandb_workspaces import expr, workspaces
        from wandb_workspaces.reports import v2 as reports
    except ImportError:
        raise InputError(
            "wandb=true: expected the package wandb-workspaces, which is not there; type pip install 'advarch[wandb]'"
        ) from None
    sections = panels(reports, table, shape, runs)
    filters = [expr.Metric("Group") == shape.name]
    blocks: list[Any] = [
        reports.MarkdownBlock(text=markdown(replace(table, question="")).partition("\n\n")[2])
    ]
    for name, content in sections.items():
        runset = reports.Runset(name=shape.name, filters=filters)
        blocks += [reports.H2(name), reports.PanelGrid(runsets=[runset], panels=content)]
    return {
        "report": reports.Report(
            **place,
            title=shape.title[:LONGEST_TITLE],
            description=shape.question,
            width="fluid",
            blocks=blocks,
        ),
        "workspace": workspaces.Workspace(
            **place,
            name=shape.name,
            sections=[
                workspaces.Section(name=name, panels=content, is_open=True)
                for name, content in panels(reports, table, shape, runs).items()
            ],
            settings=workspaces.WorkspaceSettings(max_runs=runs),
            runset_settings=workspaces.RunsetSettings(filters=filters),
        ),
    }


def panels(reports: Any, table: Table, shape: Shape, runs: int) -> dict[str, list[Any]]:
    """The panels by section, over the names that a run logs: best/pgd20, cost/macs, val_robust."""
    accuracies = [header.id for header in table.headers if header.accuracy]
    attacks = [name for name in accuracies if name != "clean"]
    drawn = [figure.y for figure in shape.figures if figure.y in accuracies]
    ordinate = [*drawn, *reversed(attacks), "clean"][0]

    def bars(name: str) -> list[Any]:
        return [
            reports.BarPlot(
                title=f"{name}, {checkpoint} epoch",
                metrics=[f"{checkpoint}/{name}"],
                max_runs_to_show=runs,
                max_bars_to_show=runs,
            )
            for checkpoint in shape.checkpoints
        ]

    return {
        "Clean": bars("clean"),
        "Robust": [panel for name in attacks for panel in bars(name)],
        "Cost": [
            reports.ScatterPlot(
                title=f"{ordinate} against {words}",
                x=reports.SummaryMetric(key),
                y=reports.SummaryMetric(f"{shape.checkpoints[0]}/{ordinate}"),
                log_x=True,
            )
            for key, words in COSTS.items()
        ],
        "Training": [
            reports.LinePlot(title=name, x="epoch", y=[name], max_runs_to_show=runs) for name in CURVES
        ],
        "Runs": [
            reports.WeavePanelSummaryTable(table_name="attacks"),
            *(reports.MediaBrowser(title=name, media_keys=[name]) for name in PICTURES),
        ],
    }


def spec(view: Any) -> Any:
    """What is sent of a report or workspace, as plain data."""
    return json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))
