"""Every file that the guide quotes is as quoted, and every command that it or the README shows is one: composed and bound."""

import shutil
import sys
from functools import cache
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from advarch.cli.attack import OWN
from advarch.cli.compose import planned_jobs
from advarch.cli.main import VERBS
from advarch.cli.retry import STATES
from advarch.cli.run import FLAGS
from advarch.cli.transfer import spelt_out
from advarch.launch.slurm import settings
from advarch.runs import trust
from tests.guide.pages import EXAMPLES, commands, quoted, words

OTHER = (FLAGS - {"--config-dir"}) | {"--trust", "mine", "job", "sizes", "gpu", "wandb", "dry_run"}
"""Words of commands that are no part of a config."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader types: mine/ and conf/ of the guide, and the launcher of slurm.md; `mine` is trusted."""
    # Other tests import from there meanwhile, and bytecode comes and goes.
    bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES, tmp_path, ignore=bytecode, dirs_exist_ok=True)
    (tmp_path / "mine/__init__.py").write_text("def f(model, x, y): ...")
    (tmp_path / "my/hydra/launcher").mkdir(parents=True)
    (tmp_path / "mine/__init__.py").write_text("def f(model, x, y): ...")
    (tmp_path / "my/hydra/launcher/ours.yaml").write_text("defaults: [slurm]\npartition: gpu\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trust, "_own", ["mine"])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, module)  # another test's
    return tmp_path


def test_every_quoted_file_is_as_quoted() -> None:
    for page, file, text in quoted():
        assert (EXAMPLES / file).read_text() == text, f"{page} quotes {file} otherwise"
    there = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.*") if path.suffix in (".py", ".yaml")}  # fmt: skip
    assert there - {file for _, file, _ in quoted()} == {"conf/scale/search/smoke_few_skips.yaml"}


@cache
def bound(*overrides: str) -> None:
    """Compose and bind what is typed, the first job of several."""
    planned_jobs(overrides, check=True, most=1)


def check(arguments: list[str], jobs: int | None) -> None:
    """What a command describes is there; it has so many jobs.

    Raises:
        InputError, HydraException, OmegaConfBaseException: the command would be refused.
    """
    verb = arguments.pop(0) if arguments[0] in VERBS else "run"
    assert all(a.partition("=")[0] in (*FLAGS, "--trust", "--all") for a in arguments if a.startswith("-"))
    overrides = [a for a in arguments if a.partition("=")[0] not in (*OTHER, *OWN)]
    if verb == "report" and "--all" in arguments:
        assert all(a.startswith(("--all", "outputs=")) for a in arguments)
    elif verb in ("run", "plan", "report"):
        bound(*overrides)
        assert jobs is None or len(planned_jobs(overrides)) == jobs
    elif verb == "attack":
        bound(*spelt_out(overrides))
    elif verb == "retry":
        assert arguments.pop(0) in STATES
        typed = OverridesParser.create().parse_overrides([a for a in arguments if "=" in a])
        settings({override.get_key_element(): override.value() for override in typed})
    else:
        assert [a for a in arguments if "=" in a] in ([], ["watch=true"], ["dry_run=true"])


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_command_is_one(command: str, place: Path) -> None:
    check(words(command), commands()[command])


def test_the_commands_are_found() -> None:
    verbs = {words(command)[0] for command in commands()}
    assert len(commands()) > 50 and {"plan", "attack", "report", "status", "cancel", "retry", "-m"} <= verbs
    assert sum(said is not None for said in commands().values()) >= 5
