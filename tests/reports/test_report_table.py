"""The table: golden text, means over seeds against numpy, every state of a cell, every mistake in a sweep."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from advarch.errors import InputError
from advarch.records import Progress
from advarch.reports.columns import attack_title
from advarch.reports.page import html
from advarch.reports.rows import label, pixels, sort_key
from advarch.reports.table import Table, build
from advarch.reports.text import csv_text, markdown
from tests.reports import made_up_runs as made

GOLDEN = """\
# Adversarially trained depth grid on handwritten digits

Does more depth make a small wide residual network more robust, and in which stage?

| depths | checkpoint | parameters | MACs (M) |           clean (%) |            FGSM (%) |          PGD-20 (%) |
| ------ | ---------- | ---------: | -------: | ------------------: | ------------------: | ------------------: |
| 1-1-1  | best       |     54,612 |     2.11 | 96.39 (93.92–97.88) | 74.44 (69.70–78.68) | 63.33 (58.24–68.15) |
| 1-1-1  | last       |     54,612 |     2.11 | 96.67 (94.26–98.08) | 72.78 (67.96–77.12) | 60.83 (55.70–65.74) |
| 2-1-1  | best       |     59,412 |     2.42 | 97.22 (94.96–98.48) | 79.72 (75.27–83.55) | 69.17 (64.21–73.71) |
| 2-1-1  | last       |     59,412 |     2.42 | 97.50 (95.32–98.68) | 78.61 (74.08–82.53) | 67.22 (62.21–71.87) |

- 2 of 2 jobs done.
- None of the 4 evaluations is flagged.
- n = 360 images: 95 % interval about ±5.0 points at the widest (Wilson).
- One seed per row: no spread over seeds is known.
- best is the epoch of highest robust validation accuracy, never chosen on test images; last is the final epoch.
"""


def cells(table: Table, label: str, checkpoint: str = "best"):
    """A row's cells by column id."""
    row = next(row for row in table.rows if (row.label, row.checkpoint) == (label, checkpoint))
    return {header.id: cell for header, cell in zip(table.headers, row.cells, strict=True)}


def test_golden_table():
    assert markdown(build(made.SWEEP, [made.run((1, 1, 1)), made.run((2, 1, 1))])) == GOLDEN


def test_rows_follow_the_runs_and_hold_raw_values():
    table = build(made.SWEEP, made.full())
    assert [row.label for row in table.rows[::2]] == ["-".join(map(str, d)) for d in made.DEPTHS]
    assert [row.checkpoint for row in table.rows] == ["best", "last"] * 8
    found = cells(table, "1-2-1")
    assert found["parameters"].value == 73312 and found["parameters"].text == "73,312"
    assert found["macs"].value == 2421000 and found["macs"].text == "2.42"
    assert found["pgd20"].value == 100 * 241 / 360
    assert found["backbone.depths"].value == "[1, 2, 1]"


def test_seeds_are_averaged_as_numpy_does():
    shifts = (0, 3, -4)
    runs = [made.run((1, 2, 1), seed=seed, shift=shift) for seed, shift in enumerate(shifts)]
    table = build({**made.SWEEP, "columns": [*made.SWEEP["columns"], "seed", "best_epoch"]}, runs)
    found = cells(table, "1-2-1")
    for column, correct in (("clean", 349), ("fgsm", 281), ("pgd20", 241)):
        percent = 100 * (correct + np.array(shifts)) / 360
        estimate = found[column].estimate
        assert estimate.value == pytest.approx(percent.mean(), abs=1e-12)
        assert estimate.std == pytest.approx(percent.std(ddof=1), abs=1e-12)
        assert (estimate.seeds, estimate.images, estimate.low) == (3, 360, None)
        assert found[column].text == f"{percent.mean():.2f}"
        assert found[column].note == f"±{percent.std(ddof=1):.2f}"
    assert (found["parameters"].text, found["parameters"].note) == ("73,312", "")
    assert (found["seed"].text, found["best_epoch"].text) == ("0, 1, 2", "17")
    assert (
        "3 seeds per row; ± is the sample standard deviation over seeds (all share one test set)."
        in table.closing
    )


def test_a_mean_over_some_seeds_says_so():
    runs = [made.run((1, 1, 1), seed=seed, shift=seed) for seed in range(3)]
    runs[1] = replace(runs[1], state="missing", evaluations={}, train=None)
    two = cells(build(made.SWEEP, runs), "1-1-1")["pgd20"]
    assert two.state == "partial" and two.note.endswith(", 2 of 3 seeds")
    runs[2] = replace(runs[2], state="failed", evaluations={}, train=None)
    table = build(made.SWEEP, runs)
    assert cells(table, "1-1-1")["pgd20"].note == "58.24–68.15, 1 of 3 seeds"
    assert "Where only one seed is done, the range is its 95 % Wilson interval." in table.closing
    assert table.rows[0].state == "partial"


def test_cells_without_a_number_say_why():
    table = build(made.SWEEP, made.broken())
    missing, failed = cells(table, "1-1-2"), cells(table, "1-2-2")
    assert {missing[c].text for c in made.SWEEP["columns"]} == {"missing"}
    assert (
        failed["clean"].text == "failed: RuntimeError: [enforce fail] out of memory: tried to allocate 2 GB"
    )
    assert failed["pgd20"].text == "failed" and failed["parameters"].text == "147,424"
    running, interrupted = cells(table, "2-1-2"), cells(table, "2-2-2")
    assert (running["clean"].text, running["clean"].note) == ("running 40 %", "train, epoch 8 of 20")
    assert interrupted["clean"].text == "interrupted"
    states = {row.label: row.state for row in table.rows}
    assert [states[key] for key in ("1-1-2", "1-2-2", "2-1-2", "2-2-2")] == [
        "missing",
        "failed",
        "running",
        "interrupted",
    ]
    assert all(cell.key is None and cell.value is None for cell in (missing["clean"], failed["clean"]))
    assert "4 of 8 jobs done: 1 missing, 1 running, 1 interrupted, 1 failed." in table.closing


def test_running_before_its_first_step_and_a_column_that_was_never_evaluated():
    fresh = replace(
        made.run((1, 1, 1)), state="running", evaluations={}, progress=Progress("train", 0, 0, "epoch")
    )
    done = made.run((1, 1, 2))
    part = replace(done.evaluations["best"], results=done.evaluations["best"].results[:2])
    done = replace(done, evaluations={"best": part})
    table = build(made.SWEEP, [fresh, done])
    assert cells(table, "1-1-1")["clean"].text == "running"
    absent = cells(table, "1-1-2")["pgd20"]
    assert (absent.text, absent.note) == ("missing", "not in the evaluation")


def test_flags_are_marked_and_explained():
    table = build(made.SWEEP, made.broken())
    assert cells(table, "1-2-1")["pgd20"].marks == "†"
    assert cells(table, "1-2-1")["fgsm"].marks == "" and cells(table, "1-2-1", "last")["pgd20"].marks == ""
    (note,) = table.footnotes
    assert note.mark == "†" and "'zero_gradient'" in note.text
    assert "1 of 8 evaluations flagged." in table.closing
    run = made.run((1, 1, 1))
    record = replace(run.evaluations["last"], flags=("randomised", "softmax_output"))
    table = build(made.SWEEP, [replace(run, evaluations={**run.evaluations, "last": record})])
    assert [cells(table, "1-1-1", "last")[c].marks for c in ("clean", "fgsm", "pgd20")] == ["†‡"] * 3
    assert table.rows[1].flags == ("randomised", "softmax_output")


def test_many_images_need_no_warning():
    correct = {"best": (9000, 6000, 5000), "last": (9100, 5900, 4900)}
    records = {name: made.evaluation(name, counts, 10_000) for name, counts in correct.items()}
    table = build(made.SWEEP, [replace(made.run((1, 1, 1)), evaluations=records)])
    assert "n = 10,000 images; ranges are 95 % Wilson intervals." in table.closing
    assert not any("about ±" in sentence for sentence in table.closing)


def test_columns_of_fewer_images_are_named():
    run = made.run((1, 1, 1))
    record = run.evaluations["best"]
    *whole, pgd20 = record.results
    record = replace(record, results=(*whole, replace(pgd20, correct=18, total=36, low=0.34, high=0.66)))
    table = build(made.SWEEP, [replace(run, evaluations={**run.evaluations, "best": record})])
    said = [line for line in table.closing if line.startswith("n = ")]
    assert said == [
        "n = 36 images (PGD-20): 95 % interval about ±16.0 points at the widest (Wilson).",
        "n = 360 images (clean, FGSM, PGD-20): 95 % interval about ±5.0 points at the widest (Wilson).",
    ]


def test_a_row_that_mixes_experiments_is_doubted():
    other = made.run((1, 1, 1), seed=1)
    other = replace(other, config={**other.config, "optimizer": {"lr": 0.2, "weight_decay": 5e-4}})
    table = build(made.SWEEP, [made.run((1, 1, 1)), other])
    assert (
        "Doubtful: row 1-1-1 averages runs that differ in optimizer.lr; add it to sweep.rows."
        in table.closing
    )
    assert not any(s.startswith("Doubtful") for s in build(made.SWEEP, made.full()).closing)


def test_a_row_whose_seeds_learn_from_their_own_teachers_is_not_doubted():
    def run(seed: int, teacher: int):
        made_up = made.run((1, 1, 1), seed=seed)
        return replace(
            made_up, config={**made_up.config, "defense": {"teacher": f"runs/*-natural-s{teacher}-*"}}
        )

    def doubts(*runs) -> bool:
        return any("defense.teacher" in sentence for sentence in build(made.SWEEP, runs).closing)

    assert not doubts(run(0, 0), run(1, 1))
    assert doubts(run(0, 0), run(1, 0)), "a teacher of another seed"


def test_rows_attacked_differently_are_doubted():
    weaker = {k: replace(v, eps=0.1) for k, v in made.run((1, 1, 2)).evaluations.items()}
    table = build(made.SWEEP, [made.run((1, 1, 1)), replace(made.run((1, 1, 2)), evaluations=weaker)])
    assert "Doubtful: rows differ in threat (l∞, ε = 0.2; l∞, ε = 0.1) and no label says so." in table.closing


def test_nothing_ran_yet():
    runs = [replace(run, state="missing", evaluations={}, train=None, size=None) for run in made.full()]
    runs = [replace(run, config={"backbone": run.config["backbone"]}) for run in runs]
    table = build({**made.SWEEP, "columns": ["clean", "an_attack_of_my_own"]}, runs)
    assert table.closing[:2] == ("0 of 8 jobs done: 8 missing.", "Nothing is evaluated yet.")


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        ([1, 2, 1], "backbone.depths", "1-2-1"),
        (8 / 255, "threat.eps", "8/255"),
        (0.3, "threat.eps", "0.3"),
        (6.0, "defense.beta", "6"),
        (None, "a", "none"),
        (True, "a", "yes"),
        ({"_target_": "advarch.defenses.trades.trades", "beta": 6}, "defense", "trades"),
        ("a\x1b[31m\nb", "a", "a [31m b"),
    ],
)
def test_labels(value, key, text):
    assert label(value, key) == text


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("pgd20", "PGD-20"),
        ("pgd20@eps=0.01", "PGD-20, eps=0.01"),
        ("pgd100@eps=0.0313725", "PGD-100, eps=8/255"),
        ("pgd20@steps=100", "PGD, steps=100"),
        ("fgsm@source=VGG-11", "FGSM, made on VGG-11"),
        ("rfgsm", "RFGSM"),
        ("apgd_ce", "APGD-CE"),
        ("cw_l2_weak", "CW l2, weak"),
        ("mine_7", "mine_7"),
    ],
)
def test_attacks_have_the_names_that_papers_give_them(name, title):
    assert attack_title(name) == title


def test_pixels_that_are_no_fraction():
    assert pixels(0.0123) == "0.0123"


def test_labels_sort_by_size_and_stay_json():
    assert sort_key(10) > sort_key(9.5) and sort_key([1, 10]) > sort_key([1, 9])
    assert sort_key(float("inf")) == "inf"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": ["pdg20"]}, "'pdg20'; did you mean 'pgd20'?"),
        ({"columns": ["parametres"]}, "did you mean 'parameters'?"),
        ({"columns": ["xyz"]}, "use one of: best_epoch, clean, epoch_seconds, fgsm"),
        ({"columns": None}, "expected sweep.columns to be a list of words, came nothing"),
        ({"columns": ["clean", "clean"]}, "came 'clean' twice"),
        ({"rows": []}, "expected sweep.rows"),
        ({"rows": ["backbone.depth"]}, "did you mean 'backbone.depths'?"),
        ({"checkpoints": "best"}, "expected sweep.checkpoints to be a list of words, came 'best'"),
        ({"name": None}, "expected sweep.name to be a text, came nothing"),
        ({"title": 3}, "expected sweep.title to be a text, came 3"),
        ({"figure": {"checkpoint": "bst"}}, "came 'bst'; did you mean 'best'?"),
        ({"figure": {"xlabel": "a"}}, "came 'xlabel'; did you mean 'x_label'?"),
        ({"figure": {"x": 3}}, "expected sweep.figure.x to be a text, came 3"),
        ({"figure": [1]}, "expected sweep.figure to be a mapping"),
    ],
)
def test_mistakes_name_what_came_and_what_to_do(change, words):
    with pytest.raises(InputError) as error:
        build({**made.SWEEP, **change}, made.full())
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_slip_is_caught_before_anything_is_evaluated():
    bare = [replace(run, evaluations={}, config={"backbone": run.config["backbone"]}) for run in made.full()]
    with pytest.raises(InputError, match="did you mean 'parameters'"):
        build({**made.SWEEP, "columns": ["parametrs"]}, bare)


def test_few_images_are_said_once_and_mark_no_cell():
    run = made.run((1, 1, 1))
    few = {
        name: replace(record, flags=("fewer_than_1000_images",)) for name, record in run.evaluations.items()
    }
    table = build(made.SWEEP, [replace(run, evaluations=few)])
    assert not table.footnotes and all(not cell.marks for row in table.rows for cell in row.cells)
    said = "Flagged for fewer than 1,000 images: all 2 evaluations. Other flags: none."
    assert said in table.closing and "None of the" not in " ".join(table.closing)
    assert f"- {said}" in markdown(table)
    lines = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert [line["flags"] for line in lines] == ["fewer_than_1000_images"] * 2
    page = html(made.SWEEP, table, [], [])
    assert said in page and "2 of 2 of fewer than 1,000 images" in page
    assert sum("n = 360 images" in line for line in table.closing) == 1


def test_a_known_flag_is_explained_in_words():
    run = made.run((1, 1, 1))
    record = replace(run.evaluations["last"], flags=("detached_input",))
    table = build(made.SWEEP, [replace(run, evaluations={**run.evaluations, "last": record})])
    (note,) = table.footnotes
    assert "no gradient attack can work" in note.text and "may be lower" in note.text
