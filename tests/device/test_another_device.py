"""What runs on the CPU runs on a device that is another and finds the same: on one that is simulated, for want of a GPU.

It shows where tensors lie and when the host waits for them. Kernels, their precision and their speed it can't show.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_contracts import ATTACKS
from tests.device.settings import JOBS, ROWS, STOPPING

VERBS = ["a run that was told to stop", "distillation", "attack", "check=binarization", "transfer"]

WHOLE = {"bim", "fgsm", "rfgsm", "rfgsm_iterated", "mim", "gama", "instance_pgd", "cw_linf", "cw_linf_30"}
WHOLE |= {name for name in ATTACKS if name.startswith("pgd")}
"""Attacks that take all steps on every image."""

STEPWISE = {"apgd_ce", "apgd_dlr", "friendly_pgd"}
"""Attacks that leave images out as they go."""

FALLING = {"apgd_ce": 9, "apgd_dlr": 9, "friendly_pgd": 3, "deepfool": 5, "cw_l2": 8}
"""How often they wait where all eight images fall within four steps."""

FAST, SUITE = "the fast path", "evaluation=full"


@cache
def driven(group: str) -> subprocess.CompletedProcess[str]:
    """The driver, once for all tests of a group."""
    return subprocess.run(
        [sys.executable, "-m", "tests.device.driver", group],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def found(group: str) -> dict[str, Any]:
    """What the driver saw."""
    done = driven(group)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def each(group: str, names: list[str]) -> pytest.MarkDecorator:
    # The first test of a group takes the time of all.
    marks = (pytest.mark.xdist_group(f"device {group}"), pytest.mark.slow, pytest.mark.timeout(1800))
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name in names])


@each("itself", ["the simulation"])
def test_the_simulation_refuses_and_counts_what_a_gpu_does(name: str) -> None:
    del name
    apart = "expected all tensors on one device, came simulated and cpu"
    assert found("itself") == {
        "a sum of both": apart,
        "written into the other": apart,
        "here indexed by there": apart,
        "values of here set there": apart,
        "joined": apart,
        "a number here, changed": apart,
        "two numbers": apart,
        "random numbers": "expected a generator of the device, came one of the cpu",
        "numpy": "can't convert a tensor of the device to numpy; use .cpu() first",
        **dict.fromkeys(("a single number", "copied", "an index"), "waited 0 times"),
        **dict.fromkeys(("a value", "a truth", "a mask", "its places", "brought back"), "waited 1 times"),
    }


@each("attacks", ATTACKS)
def test_an_attack_finds_the_same_images(name: str) -> None:
    seen = found("attacks")[name]
    assert "failed" not in seen, seen["failed"]
    assert seen["same"] == [True, True], "in the balls of l_inf and l_2"
    if name in WHOLE:
        assert seen["standing"] == [1, 1], "it looks at its images once, however many steps it takes"
    for kind in ("standing",) if name in STEPWISE else ("stopping",) if name in STOPPING else ():
        assert seen[kind][1] - seen[kind][0] == 3, "three steps more: once a step it asks how many stay"
    assert seen["falling"] == FALLING.get(name, seen["falling"]), "once for all tensors that are cut"


@each("jobs", list(JOBS))
def test_a_run_finds_the_same_weights_epochs_and_verdicts(name: str) -> None:
    seen = found("jobs")[name]
    assert "failed" not in seen, seen["failed"]
    here, there = seen["here"], seen["there"]
    if name == FAST:
        # Forms of layers that only the CPU has; they are found by their words.
        words = [run["train.json"].pop("fast") for run in (here, there)]
        assert "faster form" in words[0] and "3 of 5 batch normalisations folded" in words[1]
    if name == SUITE:
        # Square asks until it is fooled, and margins that are equal but for the last bit decide when.
        one, two = (verdicts(run.pop("evaluation.json")) for run in (here, there))
        assert one == two
        assert 0 < two["autoattack"][0] < two["clean"][0] and "worst" in two
    assert here == there and here["epochs"]


def verdicts(evaluation: dict[str, Any]) -> dict[str, tuple[int, list[str]]]:
    """Right answers and flags of each column."""
    return {
        column["name"]: (column["correct"], column["flags"])
        for column in evaluation["checkpoints"]["best"]["results"]
    }


@each("verbs", VERBS)
def test_a_verb_finds_the_same(name: str) -> None:
    assert set(found("verbs")) == set(VERBS)
    seen = found("verbs")[name]
    assert "failed" not in seen, seen["failed"]
    assert seen["here"] == seen["there"] and seen["here"]
    if name == VERBS[0]:
        assert seen["there"]["code"] == 79 and len(seen["there"]["run"]["epochs"]) == 2


@each("bench", list(ROWS))
def test_a_row_of_the_bench_is_measured(name: str) -> None:
    assert set(found("bench")) == set(ROWS)
    rows = found("bench")[name]
    assert "failed" not in rows, rows
    assert rows and all(figure > 0 for row in rows for figure in row["figures"].values())
