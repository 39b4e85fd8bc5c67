"""What the machine can do, in lines."""

from compileall import compile_file
from pathlib import Path

import pytest

from advarch.cli.doctor import _bytecode, doctor


def test_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor([]) == 0
    names = [line[:18].strip() for line in capsys.readouterr().out.splitlines()]
    assert {"advarch", "torch", "GPUs", "bytecode", "datasets", "SLURM", "Weights & Biases"} <= set(names)


def test_bytecode_that_is_not_there_is_said_with_what_makes_it(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.touch()
    assert "begins some six seconds later; python -m compileall -q -j 0 /" in _bytecode(str(source))
    compile_file(source, quiet=1)
    assert _bytecode(str(source)) == "PyTorch is compiled"
