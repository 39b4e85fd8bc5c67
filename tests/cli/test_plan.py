"""`advarch plan`: the papers' networks from their table, without torch; any other counted once and remembered."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from advarch.cli.display import YEAR
from advarch.cli.main import main
from advarch.cli.plan import _time
from advarch.cli.plan_table import show
from advarch.launch.speed import Speed


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readline gives a terminal's width to whatever its process starts, the tests' workers among it."""
    monkeypatch.delenv("COLUMNS", raising=False)


SMALL = ["backbone.depths=[1,0,0]", "backbone.widths=[1,1,1]", "backbone.activation=silu"]


def test_a_network_of_the_papers_is_planned_from_the_table_and_torch_is_not_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from advarch.cli.main import main; "
        f"main(['plan', 'dataset=cifar10', 'backbone.widths=[20,20,8]', 'outputs={tmp_path}']); "
        "print('torch' in sys.modules)"
    )
    # Python's own, for readline may have put the terminal's width into the process's.
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "False" and not (tmp_path / ".sizes.json").exists()
    assert "68,116,698" in lines[1] and "19,132,765,184" in lines[1]
    # 3 numbers of 4 bytes per parameter (weight, gradient, momentum) and 128 images' activations.
    assert f"{(12 * 68_116_698 + 128 * 42_147_392) / 2**30:.2f} GiB" in lines[1]
    (row,) = (line for line in lines if "at 10 classes" in line)
    assert "68,116,698 parameters" in row and "printed 68.12M" in row and "RobustWRN Tables 1 and 2" in row


def test_any_other_network_is_counted_and_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["plan", *SMALL, f"outputs={tmp_path}"]
    # Stem, one block of 16 channels, norm and head, on one channel of 8x8.
    parameters = 9 * 16 + 2 * (32 + 9 * 16 * 16) + 32 + 170
    macs = 64 * (9 * 16 + 2 * 9 * 16 * 16) + 160
    for _ in range(2):
        assert main(arguments) == 0
        line = capsys.readouterr().out.splitlines()[1]
        assert f"{parameters:,}" in line and f"{macs:,}" in line and "GiB" in line
    (cached,) = json.loads((tmp_path / ".sizes.json").read_text()).values()
    assert cached["parameters"] == parameters and cached["activations"] > 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("analysis.limit=0", ["analysis.limit", "0"]),
        ("analysis.only=[lipschits]", ["analysis.only", "lipschits"]),
        ("+analysis.measures.lipschitz.slak=1", ["analysis.measures.lipschitz.slak", "'slack'"]),
        ("analysis.attack.steps=-1", ["analysis.attack.steps", "-1"]),
        ("attack.steps=-1", ["attack.steps", "-1"]),
        ("defense.bn_mode=foo", ["defense.bn_mode", "foo"]),
        ("trainer.grad_clip=-1", ["trainer.grad_clip", "-1"]),
        ("dataset.cutout=-3", ["dataset.cutout", "-3"]),
    ],
)
def test_what_a_run_would_refuse_is_refused(
    override: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # WRN-34-10 is in the table, so nothing is counted.
    assert main(["plan", "dataset=cifar10", override, f"outputs={tmp_path}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words)


def test_a_remembered_size_without_activations_is_counted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["plan", *SMALL, f"outputs={tmp_path}"]
    assert main(arguments) == 0
    file = tmp_path / ".sizes.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({key: value | {"activations": None} for key, value in whole.items()}))
    assert main(arguments) == 0
    assert json.loads(file.read_text()) == whole
    assert "unknown" not in capsys.readouterr().out


def test_a_search_is_planned_with_its_supernet_and_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["search.supernet.cells=3", "search.supernet.channels=4", "search.supernet.space.nodes=1"]
    network = ["backbone.cells=3", "backbone.channels=4"]
    assert main(["plan", "method=racl", "trainer=gpu", *small, *network, f"outputs={tmp_path}"]) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.startswith("search=racl: supernet of "))
    assert "GPU-hours (assuming 0.5 T multiply-adds/s, 0.6% of one A100's peak in 32 bits" in line
    assert len(json.loads((tmp_path / ".sizes.json").read_text())) == 2
    assert "validation images" not in line, "they are not attacked"
    both = ["seed=0,1", "search.epochs=100"]
    assert main(["plan", "method=racl", "trainer=gpu", *small, *network, *both, f"outputs={tmp_path}"]) == 0
    out = capsys.readouterr().out
    one, together = re.findall(r"(?:supernet of .*|searches left: )about ([\d.e-]+) GPU-hours", out)
    assert float(together) == pytest.approx(2 * float(one), rel=0.1), "two digits of either are printed"


def test_a_named_gpu_counts_and_an_unknown_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["plan", "dataset=cifar10", f"outputs={tmp_path}"]
    # 5.2 G multiply-adds, 23 passes, 49,000 images, 100 epochs, at an H100's 32 T a second.
    assert main([*arguments, "gpu=h100", "trainer.precision=bf16", "attack=pgd10"]) == 0
    assert (
        "GPU-hours (assuming 32 T multiply-adds/s, 6.4% of one H100's peak in 16 bits"
        in capsys.readouterr().out
    )
    assert main([*arguments, "gpu=h1000"]) == 2
    assert "gpu: expected v100 or t4" in capsys.readouterr().err


def test_without_an_estimate_plan_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "dataset=cifar10", "dataset.train_images=null", f"outputs={tmp_path}"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "training left: no estimate; " in out and "about" not in out
    assert main(["plan", "sizes=false", "gpu=h100", f"outputs={tmp_path}"]) == 0
    assert "gpu=h100: no estimate, for with sizes=false no network is counted" in capsys.readouterr().out


def test_what_is_only_judged_has_no_training_and_its_attacks_are_said_to_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["search.supernet.cells=3", "search.supernet.channels=4", "search.candidates.epochs=0"]
    network = ["backbone.cells=3", "backbone.channels=4"]
    assert main(["plan", "method=robnet", *small, *network, f"outputs={tmp_path}"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "50 cells on trial" in line)
    assert line.endswith("MACs; none is trained; attacks on validation images are not counted")


def test_years_on_a_cpu_name_the_way_to_a_gpu_s_estimate() -> None:
    slow = Speed(1.0, "cpu", "assumed")
    assert (
        _time(149 * YEAR, slow) == "about 149 years of one worker (assumed); gpu=NAME estimates it on a GPU"
    )
    assert _time(3600, slow) == "about 1:00 h of one worker (assumed)"


def test_without_sizes_nothing_is_made_so_that_torch_stays_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "backbone").mkdir()
    # What is None there can't be imported.
    monkeypatch.setitem(sys.modules, "advarch.runs.build", None)  # type: ignore[arg-type]
    typed = ["--config-dir", str(tmp_path), "defense=trades", "defense.beta=1", f"outputs={tmp_path}"]
    assert main(["plan", "sizes=false", *typed]) == 0


ROWS = [
    {
        "#": "1",
        "job": "cifar10-wide_resnet-depths4-5-4-s0-282b5405",
        "parameters": "68,116,698",
        "MACs": "19,132,765,184",
        "memory": "21.25 GiB",
        "training MACs": "2.07e+18",
        "state": "interrupted",
    }
]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (200, ["parameters", "MACs", "memory", "training MACs"]),
        (103, ["parameters", "MACs", "memory"]),
        (80, ["parameters"]),
        (60, []),
    ],
)
def test_a_narrow_terminal_shows_whole_names_and_says_which_columns_are_left_out(
    width: int, shown: list[str]
) -> None:
    screen = Console(width=width, file=io.StringIO())
    show(ROWS, screen)
    head, line, *said = (text.rstrip() for text in screen.file.getvalue().splitlines())  # type: ignore[attr-defined]
    assert max(map(len, (head, line, *said))) <= width
    assert line.split() == [
        cell for key, cell in ROWS[0].items() for cell in cell.split() if key in ("#", "job", "state", *shown)
    ]
    left_out = [key for key in ("parameters", "MACs", "memory", "training MACs") if key not in shown]
    assert " ".join(said).startswith(f"no room for {', '.join(left_out)}: ") if left_out else not said


def test_a_name_longer_than_the_terminal_is_broken_at_its_hyphens() -> None:
    screen = Console(width=40, file=io.StringIO())
    show(ROWS, screen)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    _, first, *rest = lines[: next(i for i, line in enumerate(lines) if line.startswith("no room"))]
    parts = [first.split()[1], *(line.strip() for line in rest)]
    assert "".join(parts) == ROWS[0]["job"] and all(part.endswith("-") for part in parts[:-1])
