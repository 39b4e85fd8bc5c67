"""`advarch report --all`: one page for a folder as people leave them."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from advarch.cli.main import main
from tests.reports.made_up_folders import HOSTILE, lay_all
from tests.reports.test_report_page import Page


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = lay_all(tmp_path_factory.mktemp("outputs"))
    assert main(["report", "--all", f"outputs={root}"]) == 0
    return root


def pages(root: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in root.rglob("*.html")}


def test_coverage_is_counted_by_the_sweep_s_own_jobs(root: Path) -> None:
    text = (root / "index.html").read_text()
    assert "2 of 6 jobs done" in text and "3 failed" in text and "1 missing" in text
    (row,) = [line for line in text.splitlines() if "demo/report.html" in line]
    assert ">1 of 4<" in row and '<td class="num">2</td><td class="num">1</td>' in row
    # 228 of 360 images stand against PGD-20, 347 are right without it.
    assert "63.33" in row and "96.39" in row


def test_every_run_has_a_page_and_every_link_leads_somewhere(root: Path) -> None:
    found = pages(root)
    assert len(found) == 1 + 1 + 5
    for path, page in found.items():
        for link in page.all("a"):
            way = unquote(str(link["href"]))
            assert way.startswith("#") or (path.parent / way).exists(), (path, way)
        for image in page.all("img"):
            assert (
                str(image["src"]).startswith("data:") or (path.parent / unquote(str(image["src"]))).is_file()
            )
    above = {link["href"] for link in found[root / "demo" / "report.html"].all("a")}
    assert "../index.html" in above and len([way for way in above if str(way).endswith("run.html")]) == 3


def test_a_run_s_page_has_all_that_lies_in_its_folder(root: Path) -> None:
    (path,) = root.glob("demo/*1-1-1*/run.html")
    text = path.read_text()
    for words in ("last words", "node7", "abc", "val_<wbr>robust", "depths: [1, 1, 1]", "pgd20", "lipschitz"):
        assert words in text
    assert "epoch 1" not in text and "\x1b" not in text
    assert "2 of 6 images keep their label against all 2 attacks, 1 fall to each." in text
    assert '<th scope="row">pgd20</th><td class="num">3</td><td class="num">2</td>' in text
    assert len(Page(text).all("img")) == 3


def test_damage_is_shown_and_stops_nothing(root: Path) -> None:
    (path,) = root.glob("demo/*1-2-1*/run.html")
    text = path.read_text()
    for name in ("provenance.json", "outcomes.npz", "gallery.png"):
        assert f"{name} is damaged" in text
    assert "is-failed" in text and len(Page(text).all("img")) == 2
    assert "expected YAML" in (root / "single" / "half" / "run.html").read_text()


def test_nothing_of_a_stranger_runs(root: Path) -> None:
    for path, page in pages(root).items():
        assert len(page.all("script")) == 1, path
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
        assert "script-src 'sha256-" in str(policy) and "default-src 'none'" in str(policy)
    bad = (root / "single" / HOSTILE / "run.html").read_text()
    assert bad.count("&lt;script&gt;alert(1)&lt;") >= 5


def test_again_it_writes_the_same(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*.html")}
    assert main(["report", "all=true", f"outputs={root}"]) == 0
    assert before == {path: path.read_bytes() for path in root.rglob("*.html")}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("outputs=nowhere", "'nowhere', which is not there"),
        ("outputs='now here'", "'now here', which is not there"),
        ('outputs="now here"', "'now here', which is not there"),
        ("outputs=2026", "'2026', which is not there"),
        ("outputs=a,b", "expected one folder, came outputs=a,b"),
        ("outputs=[a]", "expected one folder, came outputs=[a]"),
        ("outputs='a", "expected key=value in Hydra's grammar"),
        ("+sweep=demo", "+sweep=demo"),
    ],
)
def test_bad_input(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--all", word]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_it_imports_no_torch() -> None:
    code = "import sys, advarch.cli.report_all; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
