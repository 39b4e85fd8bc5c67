"""CSV parses back to the same values; Markdown and the terminal show hostile text as text."""

import csv
import io
import json
from dataclasses import replace

from rich.console import Console

from advarch.reports.table import build
from advarch.reports.text import console, csv_text, markdown
from tests.reports import made_up_runs as made

HOSTILE = "ValueError: <script>alert(1)</script> | [red]*x* \x1b[31m `y`"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def with_beta():
    run = made.run((2, 2, 2))
    return replace(run, config={**run.config, "defense": {"name": "trades", "beta": 6.0}})


def test_csv_parses_back_to_the_same_values():
    found = rows(csv_text(build(made.SWEEP, made.full())))
    assert len(found) == 16
    for run, best, last in zip(made.full(), found[::2], found[1::2], strict=True):
        for name, line in (("best", best), ("last", last)):
            assert json.loads(line["backbone.depths"]) == run.config["backbone"]["depths"]
            assert int(line["parameters"]) == run.size.parameters and int(line["macs"]) == run.size.macs
            for result in run.evaluations[name].results:
                assert float(line[f"{result.name}_percent"]) == 100 * result.accuracy
                assert float(line[f"{result.name}_low"]) == 100 * result.low
                assert float(line[f"{result.name}_high"]) == 100 * result.high
                assert int(line[f"{result.name}_n"]) == result.total and line[f"{result.name}_std"] == ""
            assert (line["checkpoint"], line["state"], line["jobs_done"]) == (name, "done", "1")


def test_csv_of_absent_flagged_and_averaged_rows():
    found = {
        (row["backbone.depths"], row["checkpoint"]): row
        for row in rows(csv_text(build(made.SWEEP, made.broken())))
    }
    missing, flagged = found["[1, 1, 2]", "best"], found["[1, 2, 1]", "best"]
    assert (missing["state"], missing["clean_percent"], missing["parameters"]) == ("missing", "", "")
    assert flagged["flags"] == "zero_gradient" and found["[1, 2, 1]", "last"]["flags"] == ""
    beta = rows(
        csv_text(
            build({**made.SWEEP, "rows": ["backbone.depths", "defense.beta"]}, [with_beta(), *made.full()])
        )
    )
    assert [json.loads(row["defense.beta"] or "null") for row in beta[:3]] == [6.0, 6.0, None]
    runs = [made.run((1, 1, 1), seed=seed, shift=seed) for seed in range(2)]
    (row, _) = rows(csv_text(build(made.SWEEP, runs)))
    assert (row["clean_low"], row["clean_seeds"], row["jobs"]) == ("", "2", "2") and float(
        row["clean_std"]
    ) > 0


def test_markdown_escapes_and_keeps_its_columns():
    run = replace(made.run((1, 1, 1)), state="failed", evaluations={}, error=HOSTILE)
    text = markdown(build({**made.SWEEP, "title": "a <b> | c"}, [run]), [("a [figure]", "report.png")])
    line = next(line for line in text.splitlines() if "failed" in line)
    assert "\\<script\\>" in line and "<script>" not in line.replace("\\<script\\>", "")
    assert line.replace("\\|", "").count("|") == 8
    assert "# a \\<b\\> \\| c" in text and "![a \\[figure\\]](report.png)" in text and "\x1b" not in text


def test_terminal_of_80_columns_shows_every_number_whole():
    output = io.StringIO()
    console(build(made.SWEEP, made.broken()), Console(file=output, width=80))
    text = output.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines())
    for words in (
        "54,612",
        "63.33",
        "58.24–68.15",
        "66.94†",
        "running 40%",
        "interrupted",
        "missing",
        "4 of 8 jobs done",
    ):
        assert words in text
    assert "1-2-2 failed: RuntimeError: [enforce fail] out of memory" in text


def test_terminal_neither_interprets_markup_nor_passes_control_characters():
    run = replace(made.run((1, 1, 1)), state="failed", evaluations={}, error=HOSTILE)
    output = io.StringIO()
    console(build(made.SWEEP, [run]), Console(file=output, width=160))
    assert "[red]*x*" in output.getvalue() and "\x1b" not in output.getvalue()


def test_a_pipe_gets_whole_lines(capsys):
    console(build(made.SWEEP, made.full()))
    assert "63.33 58.24–68.15" in capsys.readouterr().out
