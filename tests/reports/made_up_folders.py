"""Made-up run folders on a disk: a sweep of four points, whole, failed, damaged and missing, and a run that means harm."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np

from advarch import records
from advarch.evaluation.outcomes import Outcome, save_outcomes
from advarch.records import RunRecord
from advarch.runs.columns import plan
from advarch.runs.config import dump
from advarch.runs.folder import Analysis, Evaluation, RunFolder
from tests.reports import made_up_runs as made

HOSTILE = "<script>alert(1)<"
"""As a folder's name it may hold no slash."""

POINTS = [{"backbone.depths": list(depths)} for depths in made.DEPTHS[:4]]


def sweep(**changes: object) -> dict[str, object]:
    """The demo's words over four points."""
    return {**made.SWEEP, "points": POINTS, "axes": None, "seeds": [0], **changes}


def lay(run: RunRecord, folder: Path, **changes: object) -> Path:
    """A finished run as files; `changes` of its config."""
    config = {
        **run.config,
        "stages": ["evaluate"],
        "sweep": sweep(),
        "choices": {"scale": "paper"},
        **changes,
    }
    config["evaluation"] = {
        "attacks": {"fgsm": {}, "pgd20": {}},
        "checkpoints": ["best", "last"],
        "limit": None,
    }
    settings = {name: column.settings for name, column in plan(config).items()}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump(config))
    evaluations = {}
    for name, record in run.evaluations.items():
        results = [*record.results, replace(record.results[-1], name="worst")]
        evaluations[name] = replace(
            record, results=tuple(replace(r, settings=settings[r.name]) for r in results)
        )
    (folder / "evaluation.json").write_text(records.dump(Evaluation(evaluations)))
    (folder / "analysis.json").write_text(records.dump(Analysis({})))
    (folder / "size.json").write_text(records.dump(run.size))
    (folder / "train.json").write_text(records.dump(run.train))
    (folder / "metrics.csv").write_text("epoch,val_clean,val_robust\n1,0.5,0.25\n2,0.75,0.5\n")
    (folder / "provenance.json").write_text(
        json.dumps({"attempts": [{"host": "node7", "git": {"sha": "abc"}}]})
    )
    (folder / "job.log").write_text("epoch 1\repoch 2\n\x1b[31mlast words\x1b[0m\n")
    RunFolder(folder).begin("evaluate")
    RunFolder(folder).end("evaluate", "done")
    for name in ("curves.png", "gallery.png", "analysis/best/lipschitz.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(folder / name, np.full((8, 12), 0.5))
    with (folder / "outcomes.npz").open("wb") as file:
        save_outcomes(outcomes(), dict.fromkeys(outcomes(), ""), file)
    return folder


def outcomes() -> dict[str, Outcome]:
    """Six images: the last is wrong anyway; FGSM fools 0, PGD-20 fools 0, 1 and 2; 3 and 4 stand."""
    correct = {"clean": [1, 1, 1, 1, 1, 0], "fgsm": [0, 1, 1, 1, 1, 0], "pgd20": [0, 0, 0, 1, 1, 0]}
    return {
        f"best/{name}": Outcome(np.arange(6), np.array(c, np.int8), np.full(6, np.nan, np.float32))
        for name, c in correct.items()
    }


def lay_all(root: Path) -> Path:
    """A folder as people leave them: one point done, one failed, one damaged, one missing; a run of no sweep that means harm."""
    done, failed, damaged, _ = (made.run(depths) for depths in made.DEPTHS[:4])
    lay(done, root / "demo" / done.name)
    folder = RunFolder(lay(failed, root / "demo" / failed.name))
    folder.end("evaluate", "failed", "RuntimeError: out of memory")
    path = lay(damaged, root / "demo" / damaged.name)
    (path / "metrics.csv").write_text("epoch,val_clean\n1,0.5\n2,0.\x00,,half")
    for name in ("provenance.json", "outcomes.npz", "gallery.png"):
        (path / name).write_bytes((path / name).read_bytes()[:20])
    bad = lay(replace(done, config={**done.config, HOSTILE: HOSTILE}), root / "single" / HOSTILE, sweep=None)
    (bad / "job.log").write_text(f"</pre>{HOSTILE}/script>")
    (bad / "provenance.json").write_text(json.dumps({"attempts": [{HOSTILE: HOSTILE}]}))
    shutil.copy(bad / "curves.png", bad / "analysis" / "best" / f"{HOSTILE}.png")
    half = root / "single" / "half"
    half.mkdir()
    (half / "config.yaml").write_text("seed: [0")
    return root
