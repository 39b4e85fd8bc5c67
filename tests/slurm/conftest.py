"""The throw-away cluster, and sweeps of stand-in jobs on it."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from advarch.cli.compose import PlannedJob
from advarch.cli.slurm import submit
from advarch.launch.queue import queued
from advarch.launch.slurm import settings
from advarch.launch.submission import Standing, places, standing
from advarch.runs.folder import RunFolder
from tests.slurm.cluster import cluster, release, wait_for


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    if not Path("/usr/sbin/slurmctld").exists():
        pytest.fail("needs Debian's slurmctld, slurmd and slurm-client; make slurm-test installs them")
    with cluster(tmp_path_factory.mktemp("cluster")):
        yield


class Sweep:
    """Stand-in jobs in one folder."""

    def __init__(self, root: Path, count: int, trouble: Mapping[int, str] = {}, **config: Any) -> None:
        self.path = root / "outputs" / "sweep"
        self.interpreter = root / "python"
        self.interpreter.write_text(
            f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parent}/stand_in.py "$@"\n'
        )
        self.interpreter.chmod(0o755)
        plain = {
            "stages": ["train"],
            "evaluation": {},
            "choices": {},
            "defense": {},
            "search": {"name": "none"},
            "logger": {"kind": "csv"},
            "steps": 4,
            "seconds": 0.1,
        }
        plain |= {"trainer": {"accelerator": "cpu", "devices": 1, "num_nodes": 1}, **config}
        self.jobs = [
            PlannedJob({**plain, "seed": n, "trouble": trouble.get(n)}, RunFolder(self.path / f"job-{n:03d}"))
            for n in range(count)
        ]

    def submit(self, **values: Any) -> None:
        defaults = {"python": str(self.interpreter), "gpus": 1, "cpus": 1, "time": "1:00:00"}
        submit(self.jobs, settings({**defaults, **values}), f"{len(self.jobs)} jobs")

    def standings(self) -> dict[str, Standing]:
        known = places(self.path, queued())
        return {
            job.folder.path.name: standing(job.folder, job.config, known.get(job.folder.path.name))
            for job in self.jobs
        }

    def states(self) -> Counter[str]:
        return Counter(stands.state for stands in self.standings().values())

    def finish(self, seconds: float = 900) -> Counter[str]:
        """Wait until Slurm has nothing left to do, and say how the runs stand."""
        wait_for(lambda: release() or not queued(), seconds)
        return self.states()

    def attempts(self, number: int) -> list[dict[str, Any]]:
        """What each attempt of a job found."""
        path = self.jobs[number].folder.path / "provenance.json"
        return list(json.loads(path.read_text())["attempts"]) if path.exists() else []

    def counted(self, number: int) -> list[int]:
        """The steps that a job took, in order; nothing is left out or done twice if they are 1, 2, 3, ..."""
        path = self.jobs[number].folder.path / "steps"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def sweep(slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a sweep of stand-ins."""
    monkeypatch.chdir(tmp_path)
    return lambda count, trouble={}, **config: Sweep(tmp_path, count, trouble, **config)
