"""The built wheel works in a new environment outside the repository, conf/ and sweeps/ inside it."""

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked and new files, so that nothing is left in the checkout."""
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    (source / "tests").mkdir(parents=True)
    parts = ("src", "conf", "sweeps", "tests/papers", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
    for part in parts:
        if (REPOSITORY / part).is_dir():
            # Other tests run meanwhile, and bytecode comes and goes.
            shutil.copytree(REPOSITORY / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / part, source / part)
    # By the setuptools of this environment: an isolated build fetches its own from an index each time.
    how = ("--no-deps", "--no-build-isolation", "-q")
    built = run(sys.executable, "-m", "pip", "wheel", *how, "-w", root, source, cwd=root)
    assert built.returncode == 0, built.stderr
    (found,) = root.glob("advarch-*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel. Its dependencies are lent by the one the tests run in: they weigh gigabytes."""
    root = tmp_path_factory.mktemp("environment")
    venv.create(root)
    (site,) = root.glob("lib/python*/site-packages")
    # A .pth file named in a .pth file is not read, so the editable advarch over there stays invisible here.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", root / "bin/python"]
    installed = run(*pip, "install", "-q", "--no-deps", wheel, cwd=root)
    assert installed.returncode == 0, installed.stderr
    return root


@pytest.mark.xdist_group("wheel")
def test_every_yaml_and_every_package_travels(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("conf", "sweeps"):
        for path in (REPOSITORY / folder).rglob("*.yaml"):
            assert f"advarch/{path.relative_to(REPOSITORY)}" in inside
    assert "advarch/papers/sizes.csv" in inside
    for path in (REPOSITORY / "src").rglob("*.py"):
        assert str(path.relative_to(REPOSITORY / "src")) in inside
    listed = configparser.ConfigParser()
    listed.read(REPOSITORY / "setup.cfg")
    packages = set(listed["options"]["packages"].split()) - {
        "advarch.conf",
        "advarch.papers",
        "advarch.sweeps",
        "hydra_plugins",
    }
    found = {
        p.parent.relative_to(REPOSITORY / "src") for p in (REPOSITORY / "src/advarch").rglob("__init__.py")
    }
    assert packages == {str(path).replace("/", ".") for path in found}


@pytest.mark.xdist_group("wheel")
def test_it_lists_groups_and_runs_an_experiment_away_from_the_repository(
    environment: Path, tmp_path: Path
) -> None:
    advarch = environment / "bin/advarch"
    where = run(environment / "bin/python", "-c", "import advarch; print(advarch.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(environment)
    listed = run(advarch, "--help", cwd=tmp_path).stdout
    assert "wide_resnet" in listed
    assert "trades" in listed
    assert "demo" in listed
    small = [
        "dataset.limit=150",
        "dataset.batch_size=50",
        "backbone.depths=[1,0,0]",
        "backbone.widths=[0.25,1,1]",
        "attack.steps=1",
        "trainer.max_epochs=1",
    ]
    done = run(advarch, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best: clean" in done.stdout
    (weights,) = tmp_path.glob("outputs/single/*/model.safetensors")
    assert weights.stat().st_size > 0
    planned = run(advarch, "plan", "+sweep=demo", "sizes=false", cwd=tmp_path)
    assert "8 jobs: 8 missing" in planned.stdout, planned.stderr
