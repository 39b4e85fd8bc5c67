"""What the machine can do, in lines."""

from pathlib import Path

import pytest

from advarch.cli.doctor import _bytecode, doctor


def test_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor([]) == 0
    names = [line[:18].strip() for line in capsys.readouterr().out.splitlines()]
    assert {"advarch", "torch", "GPUs", "bytecode", "datasets", "SLURM", "Weights & Biases"} <= set(names)


def test_bytecode_that_is_not_there_is_said_with_what_makes_it(tmp_path: Path) -> None:
    (tmp_path / "there.pyc").touch()
    assert _bytecode(str(tmp_path / "there.pyc")) == "PyTorch is compiled"
    for missing in (None, str(tmp_path / "none.pyc")):
        assert "begins some six seconds later; python -m compileall -q -j 0 /" in _bytecode(missing)
