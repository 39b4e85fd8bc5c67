"""What lies in a folder of runs: the run folders and the evaluations of given networks, and all that is known of each."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advarch.cli.status import ASKED, ATTACKED, attacked
from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.reports.candidate_table import FOLDER
from advarch.runs.folder import RunFolder

OTHER = {"transfer.csv": "transfer between networks", "binarization.json": "test of the attacks"}
"""What else `advarch attack` leaves, where no suite was asked for."""

Place = tuple[Path, bool]
"""A folder that holds others: of runs, or (True) of evaluations by `advarch attack`."""


def folders(root: Path) -> dict[Place, list[Path]]:
    """The folders below a folder, by the one that holds them. A search's candidates belong to its run (`candidates`)."""
    found: dict[Place, list[Path]] = {}
    for path, below, files in os.walk(root):
        below.sort()
        run = "config.yaml" in files
        if run or (set(ATTACKED) & set(files) and Path(path) != root):
            found.setdefault((Path(path).parent, not run), []).append(Path(path))
        if run:
            below.clear()
    return dict(sorted(found.items()))


def candidates(folder: Path) -> list[Path]:
    """The run folders of a search's candidates."""
    return sorted(path.parent for path in (folder / FOLDER).glob("*/config.yaml"))


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


def given(folder: Path) -> tuple[RunRecord, str, str]:
    """What is known of an evaluation by `advarch attack`, the network that was given to it, and its checkpoint."""
    state, error = attacked(RunFolder(folder))
    asked: dict[str, Any] = {}
    evaluations = {}
    try:
        if (folder / ASKED).is_file():
            asked = dict(json.loads((folder / ASKED).read_text()))
        evaluation = RunFolder(folder).evaluation()
        evaluations = evaluation.checkpoints if evaluation else {}
    except Exception as damage:
        state, error = "failed", _damage(damage)
    config = asked.get("config")
    run = RunRecord(folder.name, str(folder), config if isinstance(config, dict) else {}, state, error)
    return (
        RunRecord(**{**vars(run), "evaluations": evaluations}),
        str(asked.get("model", next((say for name, say in OTHER.items() if (folder / name).exists()), ""))),
        str(asked.get("weights", "")),
    )


def changed(folder: Path) -> float:
    """When what lies there last changed, by the files that each stage writes."""
    names = ("config.yaml", "status.json", "evaluation.json", "analysis.json", "metrics.csv", *ATTACKED)
    return max(file.stat().st_mtime for name in names if (file := folder / name).exists())


def runs_of(weights: Sequence[str], root: Path) -> dict[str, str]:
    """Of the checkpoints that lie in a run folder below `root`, that folder's path from there."""
    found = {}
    for name in weights:
        folder = Path(name).absolute().parent
        if (folder / "config.yaml").is_file() and folder.is_relative_to(root.absolute()):
            found[name] = str(folder.relative_to(root.absolute()))
    return found


def _damage(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"damaged: {type(error).__name__}: {error}"
