"""Candidates in real worker processes: one is killed, the other is chosen; the next time the killed one goes on where it was."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from advarch.cli.compose import planned_jobs
from advarch.genotype import candidates as table
from advarch.records import Progress
from advarch.runs.folder import RunFolder
from advarch.runs.lock import holder
from advarch.runs.tracking import NoTracker
from advarch.stages.candidates import best_candidate
from advarch.stages.job import Job

EPOCHS = 12
"""Enough that a candidate is met at work once it has a checkpoint."""

SMALL = [
    "search=random", "search.space.nodes=1", "search.space.layout=shared", "search.candidates.sampler.count=2",
    "search.candidates.workers=2", f"search.candidates.epochs={EPOCHS}", "search.candidates.attack.steps=2",
    "backbone=searched", "backbone.cells=3", "backbone.channels=2", "stages=[search]",
    "dataset.limit=200", "dataset.batch_size=20", "attack.steps=1", "trainer.accelerator=cpu",
]  # fmt: skip


@pytest.mark.slow
def test_a_killed_candidate_is_left_out_and_resumes(tmp_path: Path) -> None:
    (planned,) = planned_jobs([*SMALL, f"outputs={tmp_path}"], check=True)
    killed, said = list[Path](), list[str]()

    def kill_one(progress: Progress) -> None:
        """The first that has a checkpoint to go on from."""
        del progress
        for path in planned.folder.path.glob("candidates/*"):
            held = holder(path) or ""
            if not killed and held and (path / "checkpoints" / "last.ckpt").exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(held.rpartition(":")[2]), signal.SIGKILL)
                    killed.append(path)

    def job() -> Job:
        return Job(planned.folder, planned.config, NoTracker(), kill_one, said.append)

    best = best_candidate(job())
    (row,) = table.read(planned.folder.path / table.FILE)
    assert row.genotype.cells == best.cells and best.digest not in killed[0].name
    assert any(killed[0].name in line and "without a word" in line for line in said)

    best_candidate(job())
    rows = table.read(planned.folder.path / table.FILE)
    assert len(rows) == 2 and rows[0].robust >= rows[1].robust
    attempts = {
        p: RunFolder(p).status().stages["train"].attempts for p in planned.folder.path.glob("candidates/*")
    }
    assert attempts.pop(killed[0]) == 2 and list(attempts.values()) == [1]
    assert [row["epoch"] for row in RunFolder(killed[0]).curves()] == list(range(1, EPOCHS + 1))
