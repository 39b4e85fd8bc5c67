"""The page: valid structure, nothing fetched, nothing hostile runs; and what `write` leaves on disk."""

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.image
import pytest

from advarch.reports.page import html
from advarch.reports.page_runs import yaml_text
from advarch.reports.pictures import Picture
from advarch.reports.table import build
from advarch.reports.write import write
from tests.reports import made_up_runs as made

VOID = {"meta", "img", "wbr", "input", "source"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """Elements with their attributes, and whether every one is closed by its own end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(runs, sweep=made.SWEEP, figures=()) -> str:
    return html(sweep, build(sweep, runs), figures, runs)


def test_structure():
    parsed = Page(page(made.broken()))
    rows = [row for row in parsed.all("tr") if "data-keys" in row]
    assert len(rows) == 16 and {row["data-checkpoint"] for row in rows} == {"best", "last"}
    keys = [json.loads(row["data-keys"]) for row in rows]
    assert all(len(key) == 7 for key in keys)
    assert keys[0][2] == 54612 and keys[2][2:] == [None] * 5
    assert [run["id"] for run in parsed.all("details")] == [f"run-{i}" for i in range(8)]
    assert {link["href"] for link in parsed.all("a")} >= {"#run-0", "#run-7"}
    assert len({run["id"] for run in parsed.all("details")}) == 8
    text = page(made.broken())
    for words in (
        "4 of 8 jobs done",
        "66.94<sup",
        "running 40 %",
        "zero_gradient",
        "1,313 images/s",
        "depths: [1, 2, 1]",
    ):
        assert words in text


def test_absent_neighbours_share_a_cell():
    cells = [
        cell for cell in Page(page(made.broken())).all("td") if str(cell.get("class")).startswith("absent")
    ]
    spans = [int(cell["colspan"]) for cell in cells if "colspan" in cell]
    assert spans == [5, 5, 3, 3, 3, 3, 3, 3]


def test_only_its_own_script_may_run():
    parsed = Page(page(made.full()))
    (policy,) = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv")]
    (script,) = parsed.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def hostile_runs():
    run = made.run((1, 1, 1))
    result = replace(run.evaluations["best"].results[2], name=HOSTILE, flags=(HOSTILE,))
    record = replace(
        run.evaluations["best"], dataset=HOSTILE, results=(*run.evaluations["best"].results, result)
    )
    config = {**run.config, HOSTILE: {HOSTILE: HOSTILE}, "backbone": {"depths": HOSTILE}}
    fields = {"name": HOSTILE, "folder": "../x" + HOSTILE, "config": config, "error": "first\n" + HOSTILE}
    done = replace(run, **fields, evaluations={"best": record}, curves=({HOSTILE: 1.0, "val_clean": 0.5},))
    return [
        done,
        replace(
            done, state="failed", evaluations={}, config={**config, "backbone": {"depths": "b" + HOSTILE}}
        ),
    ]


def test_hostile_text_stays_text():
    sweep = {
        **made.SWEEP,
        "title": HOSTILE,
        "question": HOSTILE,
        "name": HOSTILE.replace("/", ""),
        "columns": ["clean", HOSTILE],
    }
    text = page(hostile_runs(), sweep, [])
    parsed = Page(text)
    assert len(parsed.all("script")) == 1 and parsed.all("img") == []
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert all(link["href"].startswith(("#", "../x")) for link in parsed.all("a"))


def test_nothing_is_fetched():
    pictures = [Picture("a figure", png(), png()), Picture("wide", png(), wide=True)]
    text = page(made.full(), figures=pictures)
    assert "http://" not in text and "https://" not in text and "@import" not in text and "url(" not in text
    parsed = Page(text)
    assert parsed.all("link") == [] and all("src" not in script for script in parsed.all("script"))
    sources = [image["src"] for image in parsed.all("img")] + [
        source["srcset"] for source in parsed.all("source")
    ]
    assert len(sources) == 3 and all(source.startswith("data:image/png;base64,") for source in sources)


def png() -> bytes:
    """One grey pixel."""
    file = io.BytesIO()
    matplotlib.image.imsave(file, [[0.5]], format="png")
    return file.getvalue()


def test_config_as_text():
    config = {"a": {"b": [1, 2.5], "c": None, "d": "8/255", "e": {}}, "f": "true", "g": "x: y", "h": True}
    expected = 'a:\n  b: [1, 2.5]\n  c: null\n  d: "8/255"\n  e: {}\nf: "true"\ng: "x: y"\nh: true\n'
    assert yaml_text(config) == expected


def test_long_trainings_are_thinned():
    run = replace(made.run((1, 1, 1)), curves=made.curves(0.9, 0.6, 400))
    text = page([run])
    assert "every 10th epoch" in text
    assert 40 <= len(re.findall(r'<tr><td class="num">', text)) <= 44


def test_write_leaves_the_whole_report(tmp_path):
    runs = [replace(run, folder=str(tmp_path / "demo" / run.name)) for run in made.broken()]
    paths = write(made.SWEEP, runs, tmp_path / "demo")
    names = ["report.md", "report.tex", "report.csv", "report.png", "report_curves.png", "report.html"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(names)
    before = {path.name: path.read_bytes() for path in paths}
    text = before["report.html"].decode()
    parsed = Page(text)
    images = parsed.all("img")
    assert base64.b64decode(images[0]["src"].partition(",")[2]) == before["report.png"]
    drawn = [run for run in runs if run.curves]
    sizes = [(1280, 864), (1616, 848), *[(1024, 672)] * len(drawn)]
    for image, (width, height) in zip(images, sizes, strict=True):
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
        assert pixels.shape[:2] == (height, width) == (int(image["height"]), int(image["width"]))
        assert pixels[..., :3].std() > 0.02
    assert f"./{runs[0].name}" in {link["href"].replace("%3D", "=") for link in parsed.all("a")}
    assert str(tmp_path) not in text
    assert "![PGD-20 accuracy against parameters" in before["report.md"].decode()
    assert len(list(csv.reader(io.StringIO(before["report.csv"].decode())))) == 17
    again = {path.name: path.read_bytes() for path in write(made.SWEEP, runs, tmp_path / "demo")}
    assert again == before


def test_write_without_figure_and_curves(tmp_path):
    runs = [replace(run, curves=()) for run in made.full()]
    paths = write({**made.SWEEP, "figure": None}, runs, tmp_path)
    assert [path.name for path in paths] == ["report.md", "report.tex", "report.csv", "report.html"]
    assert "<img" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("module", ["torch", "hydra", "omegaconf", "pytorch_lightning", "matplotlib"])
def test_building_a_report_imports_none_of(module):
    code = f"import sys, advarch.reports.write; assert {module!r} not in sys.modules, {module!r}"
    subprocess.run([sys.executable, "-c", code], check=True)
