"""The table as LaTeX: a booktabs table to \\input, published, own and difference under one head, a legend of what is missing or doubtful."""

from collections.abc import Iterator, Sequence

from advarch.reports.cells import Cell
from advarch.reports.table import Header, Row, Table

MOST_ROWS, MOST_NUMBERS = 34, 6
"""Rows, and columns of numbers, on a page; a longer or wider table goes on in another one."""

FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""What holds a table that is wider than the page makes it smaller."""

ABSENT = {"missing": "--", "running": r"$\cdots$", "interrupted": r"$\cdots$", "failed": r"$\times$"}
"""What stands in a cell without a number."""

SAID = {
    "missing": "not there: not run, or not evaluated",
    "running": "running or interrupted",
    "interrupted": "running or interrupted",
    "failed": "failed",
}

GREEK = ("alpha", "beta", "gamma", "delta", "varepsilon", "theta", "lambda", "mu", "rho", "sigma")

SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "…": r"\ldots{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "‖": r"$\|$",
    **{c: rf"$\{name}$" for c, name in zip("αβγδεθλμρσ", GREEK, strict=True)},
    **{c: f"$^{n}$" for n, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}  # fmt: skip


def tex(table: Table) -> str:
    """The table as a LaTeX document's part; it needs the packages booktabs and graphicx and nothing else."""
    rows = [table.rows[i : i + MOST_ROWS] for i in range(0, len(table.rows), MOST_ROWS)] or [()]
    pages = [(some, places) for some in rows for places in _pages(table.headers)]
    parts = [_float(table, some, places, at, len(pages)) for at, (some, places) in enumerate(pages)]
    head = f"% advarch report of the sweep {_one_line(table.name)}: \\usepackage{{booktabs,graphicx}}, then \\input{{report}}\n"
    return head + "\n".join(parts)


def escape(text: str) -> str:
    """Text that LaTeX sets as it stands; a character that it may not know becomes a question mark."""
    return "".join(SPECIAL.get(c) or (c if c.isascii() or "À" <= c <= "ÿ" else "?") for c in _one_line(text))


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _pages(headers: Sequence[Header]) -> list[list[int]]:
    """Places of the columns of each page: the labels, and as many numbers as fit, published, own and difference together."""
    labels = next((at + 1 for at, header in enumerate(headers) if header.id == "checkpoint"), 0)
    pages: list[list[int]] = [[]]
    place = labels
    for _, count in _groups(headers[labels:]):
        if pages[-1] and len(pages[-1]) + count > MOST_NUMBERS:
            pages.append([])
        pages[-1] += range(place, place + count)
        place += count
    return [[*range(labels), *page] for page in pages]


def _float(table: Table, rows: Sequence[Row], places: Sequence[int], number: int, of: int) -> str:
    headers = [table.headers[place] for place in places]
    sides = "".join("r" if header.numeric else "l" for header in headers)
    again = f" ({number + 1} of {of})" if of > 1 else ""
    label = "".join(c if c.isalnum() and c.isascii() else "-" for c in table.name) + "-more" * number
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(table.title + again)}}}\label{{tab:{label}}}",
        FITTED,
        rf"\begin{{tabular}}{{@{{}}{sides}@{{}}}}",
        r"\toprule",
        *_heads(headers),
        r"\midrule",
        *(" & ".join(_cell(row.cells[place]) for place in places) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *(_legend(table) if number == of - 1 else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _heads(headers: Sequence[Header]) -> list[str]:
    """One line of heads, or two where published and own numbers share the upper one."""
    groups = list(_groups(headers))
    if all(count == 1 for _, count in groups):
        return [" & ".join(escape(header.heading) for header in headers) + r" \\"]
    upper, rules, lower, place = [], [], [], 1
    for header, count in groups:
        if count == 1:
            upper.append("")
            lower.append(escape(header.heading))
        else:
            upper.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(header.heading)}}}")
            rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
            lower += ["published", "ours", "diff."][:count]
        place += count
    return [" & ".join(upper) + r" \\", " ".join(rules), " & ".join(lower) + r" \\"]


def _groups(headers: Sequence[Header]) -> Iterator[tuple[Header, int]]:
    """Each column, or the own one of each group of published, own and difference, with their number."""
    ids = [header.id for header in headers]
    place = 0
    while place < len(ids):
        own = ids[place].removesuffix("_published")
        if own != ids[place] and place + 1 < len(ids) and ids[place + 1] == own:
            count = 3 if f"{own}_difference" in ids[place + 2 : place + 3] else 2
            yield headers[place + 1], count
            place += count
        else:
            yield headers[place], 1
            place += 1


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return ABSENT.get(cell.state, "")
    note = rf" {{\scriptsize {escape(cell.note)}}}" if cell.note else ""
    return escape(cell.text + cell.marks) + note


def _legend(table: Table) -> list[str]:
    """What the marks and the empty cells mean, and the table's closing sentences."""
    cells = [cell for row in table.rows for cell in row.cells if cell.value is None]
    absent = dict.fromkeys(cell.state for cell in cells if cell.state in ABSENT)
    meaning = dict.fromkeys(f"{ABSENT[state]} {SAID[state]}" for state in absent)
    notes = [f"{escape(note.mark)} {escape(note.text)}" for note in table.footnotes]
    said = [*meaning, *notes, *map(escape, table.closing)]
    return [
        r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize",
        *(f"{s}\\par" for s in said),
        r"\end{minipage}",
    ]
