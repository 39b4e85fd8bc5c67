"""The transfer between networks as a document: a matrix for each attack, and every pair with its attacks side by side."""

import csv
import io
from collections.abc import Sequence

from advarch.evaluation.pairs import Pair, TransferRecord
from advarch.evaluation.sanity import FEW_IMAGES, TEXTS
from advarch.reports.rows import pixels, printable

FIELDS = (
    "attack",
    "source",
    "target",
    "images",
    "standing",
    "percent",
    "low",
    "high",
    "correct",
    "both_right",
)


def markdown(records: Sequence[TransferRecord]) -> str:
    """The attacks' matrices, then a table of pairs; the records are of the same networks and images."""
    first = records[0]
    ball = "l∞" if first.norm == "inf" else "l2"
    lines = [f"# Transfer on {_escape(first.dataset)}, {ball}, ε = {pixels(first.eps)}", ""]
    lines += [
        f"Robust accuracy of the target in percent, {first.conventions[0]}; in brackets {first.conventions[1]}.",
        "",
    ]
    for record in records:
        lines += [f"## {_escape(record.attack)}", "", *_matrix(record), ""]
    if len(records) > 1:
        lines += ["## Pairs", "", *_pairs(records), ""]
    clean = ", ".join(f"{_escape(name)} {100 * n / first.images:.2f} %" for name, n in first.clean.items())
    lines += [f"- Right without an attack: {clean}.", f"- n = {first.images:,} images."]
    lines += ["- * a network attacked itself: the white-box accuracy."]
    lines += [f"- {TEXTS['fewer_than_1000_images']}."] if first.images < FEW_IMAGES else []
    flagged = any(pair.flags for record in records for pair in record.pairs)
    lines += [f"- † {TEXTS['transfer_beats_white_box']}."] if flagged else []
    return "\n".join(lines) + "\n"


def csv_text(records: Sequence[TransferRecord]) -> str:
    """One line for each attack, source and target: counts, the accuracy over all images with its 95 % interval, flags."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*FIELDS, "flags"])
    for record in records:
        for p in record.pairs:
            shares = (100 * share for share in (p.accuracy, p.low, p.high))
            row = (record.attack, p.source, p.target, p.images, p.standing, *shares, p.correct, p.total)
            writer.writerow([*row, "; ".join(p.flags)])
    return file.getvalue()


def text(pair: Pair) -> str:
    """A cell: over all images, in brackets over those that both classify right; * on the diagonal, † where flagged."""
    kept = "-" if pair.kept is None else f"{100 * pair.kept:.2f}"
    mark = "*" if pair.source == pair.target else "†" if pair.flags else ""
    return f"{100 * pair.accuracy:.2f}{mark} ({kept})"


def _matrix(record: TransferRecord) -> list[str]:
    """A row per source, a column per target."""
    heads = ["source \\\\ target", *map(_escape, record.targets)]
    rows = [
        [_escape(source), *(text(record.pair(source, target)) for target in record.targets)]
        for source in record.sources
    ]
    return _grid(heads, rows, left=1)


def _pairs(records: Sequence[TransferRecord]) -> list[str]:
    """A row per source and target, a column per attack: the form of tables that fix the source."""
    heads = ["target", "source", *(_escape(record.attack) for record in records)]
    rows = [
        [_escape(p.target), _escape(p.source), *(text(r.pair(p.source, p.target)) for r in records)]
        for p in sorted(records[0].pairs, key=lambda p: records[0].targets.index(p.target))
    ]
    return _grid(heads, rows, left=2)


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    rule = ["---"] * left + ["--:"] * (len(heads) - left)
    return ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]


def _escape(word: str) -> str:
    return "".join("\\" + c if c in "\\`*[]<>|" else c for c in printable(word))
