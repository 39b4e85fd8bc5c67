"""Killed or told to stop at any moment and started again, a run ends as if nothing had happened."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from advarch.launch.signals import INTERRUPTED

DRIVER = Path(__file__).with_name("kill_driver.py")
KILLED, TOLD = 30, 8

# The time that the fixtures take counts as the first test's.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kill"), pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver saw."""
    root = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(root)], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def seen(driven: dict[str, Any]) -> dict[str, Any]:
    """Of the run and its kills, moment by moment."""
    moments: dict[str, Any] = driven["moments"]
    return moments


def test_the_uninterrupted_run_is_whole(seen: dict[str, Any]) -> None:
    plain = seen["plain"]
    assert plain["codes"] == [0]
    assert plain["observed"]["epochs"] == ["1", "2"]
    assert plain["observed"]["left over"] == []
    assert len(plain["observed"]["outcomes"]) == 2 * 3 * 5  # checkpoints, columns, arrays without the cost


def told(name: str) -> bool:
    return name.startswith(("SIGTERM", "SIGUSR1"))


def test_a_run_told_to_stop_says_so_and_ends_with_the_same_bytes(seen: dict[str, Any]) -> None:
    moments = {name: value for name, value in seen.items() if told(name)}
    assert len(moments) == TOLD
    for name, value in moments.items():
        assert value["codes"] == [INTERRUPTED, 0], f"{name}: exit codes {value['codes']}"
        assert value["observed"] == seen["plain"]["observed"], name
        assert list(value["states"].values()) in (["interrupted"], ["done", "interrupted"]), name


def test_a_killed_run_ends_with_the_same_bytes(seen: dict[str, Any]) -> None:
    moments = {name: value for name, value in seen.items() if name != "plain" and not told(name)}
    assert len(moments) == KILLED
    for name, value in moments.items():
        assert value["codes"] == [-9, 0], f"killed {name}: exit codes {value['codes']}"
        assert value["observed"] == seen["plain"]["observed"], f"killed {name}"


@pytest.mark.parametrize("rule", ["ema", "swa"])
def test_a_run_with_an_averaged_network_killed_between_two_epochs_ends_with_the_same_bytes(
    rule: str, driven: dict[str, Any]
) -> None:
    whole, killed = driven["averages"][rule]["whole"], driven["averages"][rule]["killed"]
    assert whole["codes"] == [0] and killed["codes"] == [-9, 0]
    assert killed["weights"] == whole["weights"]
