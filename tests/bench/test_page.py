"""A bench as JSON, as a page and as pictures."""

from pathlib import Path

import pytest

from advarch.bench import charts, page, record
from advarch.bench.record import Record
from advarch.bench.row import Row
from advarch.bench.work import BYTES, EACH, MACS, SECONDS
from advarch.errors import InputError

REPOSITORY = Path(__file__).parents[2]

ROWS = [
    Row("start-up", {"advarch --help, s": 0.0612}),
    Row(
        "training: PGD-10 AT, WRN-16-4, batch 16",
        {"advarch, images/s": 5.0, "naive loop, images/s": 1.25, "torchattacks, images/s": 2.5},
        {"naive loop": 4.0, "torchattacks": 2.0},
    ),
    Row(
        "training: Free, WRN-10-2, batch 32",
        {"advarch, images/s": 1234.5, "naive loop, images/s": 999.0},
        notes=("naive loop: no ratio, for its first loss is 1.000 and ours 2.000",),
    ),
    Row("work: batch 1, width 1", {MACS: 1.0, SECONDS: 0.4, EACH: 400.0, BYTES: 0.1}),
    Row("work: batch 4, width 1", {MACS: 4.0, SECONDS: 0.4, EACH: 100.0, BYTES: 0.1}),
    Row("search: too large", notes=("failed: RuntimeError: out of memory",)),
]
RECORD = Record("cpu", False, ("avx2",), {"date": "2030-01-02", "device": "a CPU"}, 600.0, ROWS)

PAGE = """\
Measured in 10 minutes: date 2030-01-02, device a CPU.

| row | asked for | reached |
| --- | --- | --- |
| start-up | advarch --help, s: at most 1.5 | ahead (0.0612) |
| training: PGD-10 AT, WRN-16-4, batch 16 | 4.5 times naive loop | behind (4); asked for on a CPU with AVX-512 bf16 |
| training: PGD-10 AT, WRN-16-4, batch 16 | 2.5 times torchattacks | behind (2); asked for on a CPU with AVX-512 bf16 |

### Start-up

|  | figure |
| --- | --- |
| advarch --help, s | 0.0612 |

### Training

|  | advarch, images/s | naive loop, images/s | torchattacks, images/s |
| --- | --- | --- | --- |
| PGD-10 AT, WRN-16-4, batch 16 | 5 | 1.25 (4 times) | 2.5 (2 times) |
| Free, WRN-10-2, batch 32 | 1,234 | 999 |  |

- Free, WRN-10-2, batch 32: naive loop: no ratio, for its first loss is 1.000 and ours 2.000

### Work

|  | multiply-adds, G | s | ps per multiply-add | bytes kept per multiply-add |
| --- | --- | --- | --- | --- |
| batch 1, width 1 | 1 | 0.4 | 400 | 0.1 |
| batch 4, width 1 | 4 | 0.4 | 100 | 0.1 |

- batch: time is proportional to multiply-adds from 4 on; 1 takes 4.0 times as long for each; 400.0 ms of a step (100% of the smallest) are there whatever its size

### Search

- too large: failed: RuntimeError: out of memory
"""


def test_the_page_is_this() -> None:
    assert page.markdown(RECORD) == PAGE


def test_a_quick_bench_has_no_verdicts() -> None:
    text = page.markdown(Record("cpu", True, (), {}, 60.0, ROWS))
    assert page.QUICK in text and "asked for" not in text


def test_a_record_comes_back_from_its_json(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(record.dump(RECORD))
    assert page.markdown(record.read(path)) == PAGE
    path.write_text("{}")
    with pytest.raises(InputError, match="expected what `advarch bench` wrote"):
        record.read(path)


def test_only_what_stands_between_the_marks_of_the_device_is_replaced() -> None:
    text = "a\n<!-- bench: cpu -->\nold\n<!-- /bench -->\nb\n<!-- bench: cuda -->\nkept\n<!-- /bench -->\n"
    assert page.into(text, "cpu", "new\n") == text.replace("old", "new")
    with pytest.raises(ValueError, match="came none"):
        page.into("a page", "cpu", "new\n")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_page_in_docs_has_the_marks(device: str) -> None:
    text = (REPOSITORY / "docs/benchmarks.md").read_text()
    assert "\nnew\n" in page.into(text, device, "new\n")


def test_every_ratio_is_a_bar_with_what_is_asked_of_it() -> None:
    found = [(bar.value, bar.asked, bar.ahead) for bar in charts.bars(RECORD)]
    assert found == [(4.0, 4.5, False), (2.0, 2.5, False)]
    (bar,) = charts.bars(
        Record("cpu", False, (), {}, 1.0, [Row("attack: FGSM", {"naive, images/s": 1.0}, {"naive": 3.0})])
    )
    assert bar.ahead is None


@pytest.mark.parametrize(
    ("value", "asked", "inside"),
    [
        (4.0, 4.5, True),
        (3.0, 4.5, False),
        (4.5, 4.5, False),
        (5.0, 4.5, False),
        (4.0, None, False),
        (0.5, 0.6, False),
    ],
)
def test_a_number_stands_inside_its_bar_only_where_the_mark_of_what_is_asked_is_near(
    value: float, asked: float | None, inside: bool
) -> None:
    assert charts.within(charts.Bar("attack", value, asked), longest=5.0) is inside


def test_pictures_are_the_same_bytes_each_time() -> None:
    for draw in (charts.ratios, charts.cost):
        first = draw(RECORD)
        assert first.startswith(b"\x89PNG") and first == draw(RECORD)
