"""The table as LaTeX: braces balance, every line has the columns that the head has, nothing in a label is a command."""

import re
from dataclasses import replace

import pytest

from advarch.reports.table import build
from advarch.reports.tex import MOST_ROWS, escape, tex
from tests.reports import made_up_runs as made

PUBLISHED = {
    "source": "a paper & more",
    "published": [{"row": "1-1-1", "clean": 95.5, "pgd20": "60.1±0.2", "note": "50 % of {them}"}],
}


def columns(line: str) -> int:
    """How many columns a line of a tabular fills."""
    spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return len(re.split(r"(?<!\\)&", line)) + sum(n - 1 for n in spans)


def bodies(text: str) -> list[tuple[str, list[str]]]:
    """The column letters of each tabular and its lines."""
    found = re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    return [(sides, [line for line in body.splitlines() if line.endswith(r"\\")]) for sides, body in found]


def left_over(text: str) -> str:
    """What of a text LaTeX would not set as it stands, once commands, mathematics and escapes are taken away."""
    text = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[&%$#_{}]|\$[^$]*\$", "", text)
    return "".join(c for c in text if c in "\\&%$#_{}~^<>|" or not c.isprintable() or c > "ÿ")


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def test_every_line_has_the_columns_of_the_head() -> None:
    text = tex(build({**made.SWEEP, **PUBLISHED}, made.broken()))
    assert balanced(text)
    (sides, lines), (more, others) = bodies(text)
    # depths, checkpoint, parameters, MACs, FGSM, and three for clean; three for PGD-20 do not fit and go on
    assert sides == "ll" + "r" * 6 and more == "ll" + "r" * 3 and len(lines) == len(others) == 2 + 16
    assert {columns(line) for line in lines} == {8} and {columns(line) for line in others} == {5}
    assert r"\multicolumn{3}{c}{clean (\%)}" in text and r"\cmidrule(lr){5-7}" in text
    assert lines[1].count("published & ours & diff.") == others[1].count("published & ours & diff.") == 1
    assert [line.split(" & ")[0] for line in lines[2:]] == [line.split(" & ")[0] for line in others[2:]]
    assert text.count(r"\begin{minipage}") == 1, "the legend stands once, below the last"


def test_it_marks_what_the_page_marks() -> None:
    text = tex(build({**made.SWEEP, **PUBLISHED}, made.broken()))
    (_, first), (_, second) = bodies(text)
    lines = [f"{a} {b}" for a, b in zip(first, second, strict=True)]
    best = next(line for line in lines if line.startswith("1-1-1 & best"))
    # 228 of 360 are 63.33 %, their Wilson interval is 58.24 to 68.15.
    assert "60.1$\\pm$0.2$^1$ & 63.33 {\\scriptsize 58.24--68.15} & +3.23" in best
    assert next(line for line in lines if line.startswith("1-1-2")).count("& --") == 5
    assert next(line for line in lines if line.startswith("1-2-2")).count(r"$\times$") == 3
    assert any("\\dag{}" in line for line in lines)
    legend = text.rpartition(r"\end{tabular}")[2]
    for words in (
        r"$\times$ failed",
        "-- not there",
        r"\dag{} the evaluation raised",
        r"$^1$ 50 \% of \{them\}",
    ):
        assert words in legend, words
    assert r"Published: a paper \& more." in legend and "4 of 8 jobs done" in legend


def test_a_long_table_goes_on_in_another() -> None:
    runs = [
        replace(run, config={**run.config, "backbone": {"depths": [n, *run.config["backbone"]["depths"]]}})
        for n in range(4)
        for run in made.full()
    ]
    found = bodies(tex(build(made.SWEEP, runs)))
    assert [len(lines) - 1 for _, lines in found] == [MOST_ROWS, 64 - MOST_ROWS]


@pytest.mark.parametrize(
    ("text", "set_as"),
    [
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a_b & 5 % of #1^2~$", r"a\_b \& 5 \% of \#1\textasciicircum{}2\textasciitilde{}\$"),
        ("β = 6 ± 1 × γ ≥", r"$\beta$ = 6 $\pm$ 1 $\times$ $\gamma$ ?"),
        ("naïve\nNAS", "naïve NAS"),
    ],
)
def test_nothing_in_a_text_is_a_command(text: str, set_as: str) -> None:
    assert escape(text) == set_as and balanced(escape(text))


def test_every_sign_is_set_or_replaced() -> None:
    for code in (*range(0x250), *range(0x370, 0x400), *range(0x2000, 0x2300), 0x65E5, 0x1F600):
        set_as = escape(f"a{chr(code)}b")
        assert left_over(set_as) == "" and set_as.startswith("a"), (chr(code), set_as)
