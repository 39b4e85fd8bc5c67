"""`report --all` a second time: what has not changed is left alone, and nothing old stays. Candidates, and evaluations by `advarch attack`."""

import json
import os
import shutil
from pathlib import Path

import pytest

import advarch
from advarch import records
from advarch.cli import stamps
from advarch.cli.main import main
from advarch.genotype import candidates
from advarch.genotype.published import resolve
from advarch.runs.config import dump
from advarch.runs.folder import Evaluation
from advarch.runs.lock import FolderLock
from tests.reports import made_up_runs as made
from tests.reports.made_up_folders import lay, sweep

LONG = "digits-pc_darts-searched-pgd_at-spaceoperations-none-skip_connect-0123abcd"


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two runs, one with a candidate that was judged and one that failed; a single run; an evaluation."""
    root = tmp_path_factory.mktemp("laid") / "outputs"
    first, second = (made.run(depths) for depths in made.DEPTHS[:2])
    search = lay(first, root / "demo" / LONG, sweep=sweep(figure=None))
    lay(second, root / "demo" / "other-89abcdef", sweep=sweep(figure=None))
    lay(first, root / "single" / "alone", sweep=None)
    genotype = resolve("darts_v2")
    judged = candidates.Candidate(genotype, 0.5, 1.0, 0.0, 1234, clean=0.75, robust=0.5)
    candidates.write([judged], search / candidates.FILE)
    lay(second, search / "candidates" / f"{genotype.name}-{genotype.digest}", sweep=None, stages=[])
    (search / "candidates" / "worse-00000000").mkdir()
    (search / "candidates" / "worse-00000000" / "config.yaml").write_text("seed: [0")
    attacked = root / "attack" / "mine-00000001"
    attacked.mkdir(parents=True)
    config = {"evaluation": {"attacks": {}, "checkpoints": ["best"], "limit": None}}
    asked = {"model": "nets.py:net", "weights": f"outputs/demo/{LONG}/model.safetensors", "config": config}
    (attacked / "attack.json").write_text(json.dumps(asked))
    evaluation = Evaluation({"given": first.evaluations["best"]})
    (attacked / "evaluation.json").write_text(records.dump(evaluation))
    return root


@pytest.fixture
def root(laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, reported once."""
    monkeypatch.chdir(tmp_path)
    root = shutil.copytree(laid, tmp_path / "outputs")
    report(root)
    return root


def report(root: Path) -> None:
    assert main(["report", "--all", f"outputs={root}"]) == 0


def written_again(root: Path) -> set[str]:
    """The pages, but the index, that a report writes anew."""
    pages = {path: path.stat().st_ino for path in root.rglob("*.html")}
    report(root)
    now = {path: path.stat().st_ino for path in root.rglob("*.html") if path.parent != root}
    return {path.parent.name[-8:] for path, inode in now.items() if pages.get(path) != inode}


def test_candidates_stand_beneath_their_search(root: Path) -> None:
    index = (root / "index.html").read_text()
    assert "2 candidates of searches: 1 done, 1 failed" in index and "/candidates/" not in index
    assert "<dt>sweeps</dt><dd>2</dd>" in index and "<dt>run folders</dt><dd>3</dd>" in index
    page = (root / "demo" / LONG / "run.html").read_text()
    genotype = resolve("darts_v2")
    name = f"{genotype.name}-{genotype.digest}"
    assert page.index(f'href="candidates/{name}/run.html"') < page.index('href="candidates/worse-00000000')
    (row,) = (line for line in page.split("<tr") if f"candidates/{name}/run.html" in line)
    assert ">1,234<" in row and ">75.00<" in row and ">50.00<" in row and "sep 3×3(k−2)" in row
    up = (root / "demo" / LONG / "candidates" / name / "run.html").read_text()
    assert 'href="../../run.html"' in up and 'href="../../../../index.html"' in up


def test_a_long_name_is_shown_by_beginning_and_digest(root: Path) -> None:
    index = (root / "index.html").read_text()
    assert f'title="{LONG}">{LONG[:35]}…0123abcd</a><span class="note">1-1-1</span>' in index


def test_an_evaluation_of_a_checkpoint_leads_to_its_run(root: Path) -> None:
    index = (root / "index.html").read_text()
    listed = index[index.index("Evaluations by advarch attack") :]
    assert 'href="attack/mine-00000001/run.html"' in listed and f'href="demo/{LONG}/run.html"' in listed
    assert "nets.py:net" in listed and "63.33" in listed and "jobs</dt><dd>5<" in index
    assert "Evaluation of the best checkpoint" in (root / "attack/mine-00000001/run.html").read_text()
    shutil.rmtree(root / "demo" / LONG)
    report(root)
    assert LONG not in (root / "index.html").read_text().replace(f"{LONG}/model.safetensors", "")


def test_what_has_not_changed_is_left_alone(root: Path) -> None:
    assert written_again(root) == set()


def test_a_changed_file_changes_its_page_and_its_sweep_s_report(root: Path) -> None:
    log = root / "demo" / "other-89abcdef" / "job.log"
    before = log.stat()
    log.write_text(log.read_text().replace("last", "l4st"))
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert written_again(root) == {"89abcdef", "demo"}
    assert "l4st words" in (log.parent / "run.html").read_text()
    (root / "demo" / LONG / "candidates" / "worse-00000000" / "config.yaml").write_text("seed: 0\n")
    assert written_again(root) == {"00000000", "0123abcd", "demo"}
    assert written_again(root) == set()


def test_a_run_at_work_and_one_that_died_without_a_word(root: Path) -> None:
    alone = root / "single" / "alone"
    with FolderLock(alone):
        assert written_again(root) == {"alone"}
        assert "badge is-running" in (root / "index.html").read_text()
    # Its lock is still there, but nobody holds it any more.
    nobody = {"host": os.uname().nodename, "pid": 0, "started": "0"}
    (alone / ".lock").write_text(json.dumps(nobody))
    assert written_again(root) == {"alone"}
    assert "badge is-running" not in (root / "index.html").read_text()


def test_a_deleted_run_s_page_goes(root: Path) -> None:
    other = root / "demo" / "other-89abcdef"
    (other / "config.yaml").unlink()
    assert written_again(root) == {"demo"}
    assert not (other / "run.html").exists() and (other / "job.log").exists()
    assert "other-89abcdef" not in (root / "index.html").read_text()


def test_a_page_that_is_gone_or_another_s_is_written_again(root: Path) -> None:
    (root / "single" / "alone" / "run.html").unlink()
    (root / "demo" / "report.html").write_text("what report +sweep wrote")
    assert written_again(root) == {"alone", "demo"}


def test_another_advarch_writes_all_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advarch, "__version__", "99")
    assert len(written_again(root)) == len([*root.rglob("*.html")]) - 1
    assert written_again(root) == set()
    # A working copy changes without its version: its files count, too.
    real = stamps.written
    monkeypatch.setattr(stamps, "written", lambda paths: real([*paths, Path(__file__)]))
    assert len(written_again(root)) == len([*root.rglob("*.html")]) - 1


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": 1}', '{"schema": 1, "code": 3, "folders": {"demo": 4}}']
)
def test_what_a_stranger_kept_counts_nothing(root: Path, text: str) -> None:
    (root / ".index.json").write_text(text)
    assert len(written_again(root)) == len([*root.rglob("*.html")]) - 1


def test_runs_of_another_scale_are_left_out_and_counted(root: Path) -> None:
    config = {
        **made.run(made.DEPTHS[1]).config,
        "choices": {"scale": "smoke"},
        "stages": [],
        "sweep": sweep(figure=None),
    }
    (root / "demo" / "tiny-00000002").mkdir()
    (root / "demo" / "tiny-00000002" / "config.yaml").write_text(dump(config))
    report(root)
    line = "Runs of scale=paper alone; left out are those of other scales that lie in the same folder: 1 of scale=smoke."
    assert line in (root / "demo" / "report.md").read_text() and line in (root / "index.html").read_text()
    assert "tiny-00000002" not in (root / "demo" / "report.html").read_text()
