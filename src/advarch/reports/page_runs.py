"""The page's section of each run: folder, state, size, evaluations, curves, config. Every word of it is escaped."""

import json
import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from advarch.evaluation.sanity import TEXTS
from advarch.records import AnalysisRecord, AttackResult, EvalRecord, RunRecord
from advarch.reports.closing import threat
from advarch.reports.pictures import Picture, figure
from advarch.reports.rows import printable

PAGE = "run.html"
"""A run's own page, in its folder."""

MOST_EPOCHS = 40
"""Epochs in a run's table; of a longer training every k-th is shown, and the chosen and the last one."""


def section(
    run: RunRecord,
    label: str,
    anchor: str,
    drawn: Picture | None = None,
    looked: Sequence[Picture] = (),
) -> str:
    """One run as a details element that opens on a click.

    `drawn`: its curves, above the table of them; `looked`: the pictures of its search and analyses.
    """
    best = _headline(run)
    parts = [
        f'<details class="run is-{run.state}" id="{anchor}">',
        f'<summary><b>{escape(printable(label))}</b><span class="badge">{run.state}</span>',
        f'<span class="name">{escape(printable(run.name))}</span>{best}</summary>',
        f'<div class="inside">{facts_of(run)}',
    ]
    if run.error.strip():
        parts.append(f'<h3>Error</h3><pre class="error">{escape(lines(run.error))}</pre>')
    parts += [evaluation(record) for record in run.evaluations.values()]
    parts += [analysis(name, record) for name, record in run.analyses.items()]
    parts += map(figure, looked)
    if run.curves:
        parts.append(curves(run, drawn))
    parts.append(f"<h3>Config</h3><pre>{escape(yaml_text(run.config))}</pre></div></details>")
    return "\n".join(parts)


def link(run: RunRecord, label: str, anchor: str) -> str:
    """One run as a line with its state; a run that has a folder is a link to its page."""
    name = f'<b>{escape(printable(label))}</b> <span class="name">{escape(printable(run.name))}</span>'
    there = run.folder.startswith(("./", "../"))
    way = f'<a href="{escape(quote(f"{run.folder}/{PAGE}"))}">{name}</a>' if there else f"<span>{name}</span>"
    return f'<li id="{anchor}" class="is-{run.state}"><span class="badge">{run.state}</span>{way}{_headline(run)}</li>'


def yaml_text(value: Any, indent: int = 0) -> str:
    """A config as YAML-like text: mappings indented, lists on one line."""
    if not isinstance(value, dict):
        return _scalar(value) + "\n"
    text = ""
    for key, item in value.items():
        opened = isinstance(item, dict) and item
        rest = "\n" + yaml_text(item, indent + 2) if opened else " " + _scalar(item) + "\n"
        text += f"{' ' * indent}{_scalar(str(key))}:{rest}"
    return text


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        # Quoted where YAML would read something else than this text.
        plain = re.fullmatch(r"[A-Za-z_./][\w./ ()=+-]*", value) and value.strip() == value
        reserved = value.lower() in ("null", "true", "false", "yes", "no", "on", "off", "none")
        return value if plain and not reserved else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_scalar(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, default=str, ensure_ascii=False)


def _headline(run: RunRecord) -> str:
    if run.state == "running" and run.progress and run.progress.total > 0:
        p = run.progress
        return f'<span class="name">{escape(printable(p.stage))}: {p.step} of {p.total} {escape(printable(p.unit))}s</span>'
    said = [line for line in run.error.splitlines() if line.strip()]
    return (
        f'<span class="name">{escape(printable(said[-1]))}</span>' if run.state == "failed" and said else ""
    )


def facts_of(run: RunRecord) -> str:
    facts = [("folder", _folder(run.folder))]
    if run.size:
        facts += [("parameters", f"{run.size.parameters:,}"), ("MACs", f"{run.size.macs:,}")]
    if run.train:
        t = run.train
        facts += [
            ("epochs", f"{t.epochs:,}"),
            ("best epoch", f"{t.best_epoch:,}"),
            ("robust validation, best", f"{100 * t.best_val_robust:.2f} %"),
            ("robust validation, last", f"{100 * t.last_val_robust:.2f} %"),
            ("training", f"{t.seconds:,.1f} s"),
            ("speed", f"{t.images_per_second:,.0f} images/s"),
            ("device", escape(printable(t.device))),
        ]
    return pairs(facts)


def pairs(facts: Sequence[tuple[str, str]]) -> str:
    """A list of terms; the second of each pair is HTML already."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{answer}</dd></div>" for name, answer in facts)
    return f'<dl class="facts">{items}</dl>'


def _folder(folder: str) -> str:
    """The folder as text, and as a link where it is known to be relative to the page."""
    text = escape(printable(folder))
    return f'<a href="{escape(quote(folder))}">{text}</a>' if folder.startswith(("./", "../")) else text


def evaluation(record: EvalRecord) -> str:
    rows = ""
    for result in record.results:
        far = "" if result.median_distance is None else f"{result.median_distance:.4f}"
        speed = result.images_per_second
        cells = (
            f"{100 * result.accuracy:.2f}" if result.total else "",
            f"{100 * result.low:.2f}–{100 * result.high:.2f}",
            f"{result.correct:,} of {result.total:,}",
            far,
            f"{result.forwards:,}",
            f"{result.queries:,}" if result.queries else "",
            ""
            if result.mean_queries is None
            else f"{result.mean_queries:,.1f} ({result.median_queries:,.0f})",
            f"{result.seconds:,.1f}",
            "" if speed is None else f"{speed:,.0f}",
        )
        numbers = "".join(f'<td class="num">{cell}</td>' for cell in cells)
        said = escape(printable("; ".join((*result.flags, *_notes(result)))))
        rows += f'<tr><th scope="row">{escape(printable(result.name))}</th>{numbers}</tr>'
        # On a line of its own: ten columns leave no room beside them.
        rows += f'<tr><td></td><td class="mark" colspan="{len(cells)}">{said}</td></tr>' if said else ""
    heads = (
        *("accuracy (%)", "95 % interval", "correct", "median distance", "forward and backward passes"),
        *("queries", "queries an image, mean (median)", "seconds", "images/s"),
    )
    head = "".join(f'<th class="num">{name}</th>' for name in heads)
    title = f"{escape(printable(record.checkpoint))} checkpoint: {escape(printable(record.dataset))}, {escape(threat(record))}"
    table = f"<table><thead><tr><th>attack</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    flags = "".join(f"<li>{escape(printable(f'{f}: {TEXTS.get(f, f)}'))}</li>" for f in record.flags)
    flagged = f'<ul class="mark">{flags}</ul>' if flags else ""
    return f'<h3>Evaluation of the {title}</h3>{flagged}<div class="scroll">{table}</div>'


def _notes(result: AttackResult) -> list[str]:
    """What a column's number does not say, and what each attack of a sequence did."""
    parts = [f"{part.name} fooled {part.fooled:,} of {part.attacked:,}" for part in result.parts]
    return [note for note in (result.note, ", ".join(parts)) if note]


def analysis(checkpoint: str, record: AnalysisRecord) -> str:
    """Every number of every measure, or why there is none."""
    rows = ""
    for name, result in record.results.items():
        said = {"": result.skipped} if result.skipped else {}
        for i, (number, value) in enumerate({**result.numbers, **said}.items()):
            first = escape(printable(name)) if i == 0 else ""
            cell = (
                _number(value) if isinstance(value, float | int) else escape(printable(value or "not finite"))
            )
            kind = "num" if isinstance(value, float | int) else "mark"
            rows += f'<tr><th scope="row">{first}</th><td>{escape(printable(number))}</td><td class="{kind}">{cell}</td></tr>'
    title = f"{escape(printable(checkpoint))} checkpoint: {escape(printable(record.dataset))}, {record.images:,} test images"
    table = f'<table><thead><tr><th>measure</th><th>of</th><th class="num">number</th></tr></thead><tbody>{rows}</tbody></table>'
    return f'<h3>Analysis of the {title}</h3><div class="scroll tall">{table}</div>'


def curves(run: RunRecord, drawn: Picture | None) -> str:
    names = list(dict.fromkeys(key for row in run.curves for key in row))
    names.sort(key=lambda name: name != "epoch")
    every = math.ceil(len(run.curves) / MOST_EPOCHS)
    chosen = run.train.best_epoch if run.train else None
    last = len(run.curves) - 1
    rows = [r for i, r in enumerate(run.curves) if i % every == 0 or i == last or r.get("epoch") == chosen]
    body = "".join(
        "<tr>" + "".join(f'<td class="num">{_number(row.get(name))}</td>' for name in names) + "</tr>"
        for row in rows
    )
    heads = (escape(printable(name)).replace("_", "_<wbr>") for name in names)
    head = "".join(f'<th class="num">{name}</th>' for name in heads)
    note = f" (every {every}th epoch; all are in metrics.csv)" if every > 1 else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<h3>Training curves{note}</h3>{figure(drawn) if drawn else ""}<div class="scroll tall">{table}</div>'


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return (
        f"{value:.0f}"
        if math.isfinite(value) and value == int(value) and abs(value) < 1e15
        else f"{value:.4g}"
    )


def lines(text: str) -> str:
    """Text of several lines without control characters."""
    return "\n".join(map(_line, text.split("\n"))).strip()


def _line(text: str) -> str:
    plain = text.isprintable()
    return text if plain else "".join(c if c.isprintable() or c == "\t" else " " for c in text)
