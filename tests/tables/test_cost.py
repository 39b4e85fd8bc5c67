"""What a sweep's head says of its cost is what `advarch plan` says, at the GPU that the page names."""

import re
from pathlib import Path

import pytest

from advarch.cli.plan import plan
from tests.tables.page import SWEEPS, cost

TOLD = ["robustwrn/fig2abc", "dsnet/table6"]
"""Runs that several panels share; seeds. What a search takes is counted on the meta device, which takes long."""


def hours(text: str) -> list[float]:
    """The GPU-hours in a text, to two digits."""
    found = re.findall(r"about ([\d.,]+?)(?: and| GPU-hours)", text)
    return [float(f"{float(number.replace(',', '')):.2g}") for number in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLD)
def test_a_sweep_s_head_says_what_plan_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan([f"+sweep={name}", "gpu=a100"]) == 0
    out = capsys.readouterr().out
    assert hours(cost((SWEEPS / f"{name}.yaml").read_text())) == hours(out)
