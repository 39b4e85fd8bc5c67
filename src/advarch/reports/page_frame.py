"""What every page has: its head with style, script and policy; the controls of a listing; the bar that says how much is there."""

from collections.abc import Sequence
from html import escape

from advarch.reports.closing import Coverage
from advarch.reports.page_script import SCRIPT, policy
from advarch.reports.page_style import CSS

STATES = ("done", "running", "interrupted", "failed", "missing")


def document(title: str, body: Sequence[str], *, images: str = "data:") -> str:
    """A whole page; `body` is HTML already, `images` says where its images may come from."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy(images))}">'
        f"<title>{escape(title)}</title><style>{CSS}</style>"
    )
    inside = "\n".join(filter(None, body))
    script = f"<script>{SCRIPT}</script>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{inside}\n</main>{script}</body></html>\n'


def controls(example: str, choices: Sequence[str] = ()) -> str:
    """The filter of a listing, and a choice of checkpoints where there are several; hidden until the script has run."""
    options = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in choices)
    select = f'<select aria-label="Checkpoint"><option value="">all checkpoints</option>{options}</select>'
    return (
        '<div class="controls" hidden>'
        f'<input type="search" placeholder="Filter rows, e.g. {escape(example)}" aria-label="Filter rows">'
        f"{select if len(choices) > 1 else ''}<output></output></div>"
    )


def present(count: Coverage) -> list[tuple[str, int]]:
    """The states that some job is in, with their number."""
    return [(state, getattr(count, state)) for state in STATES if getattr(count, state)]


def bar(count: Coverage) -> str:
    """The jobs as a bar, a stretch for each state."""
    stretches = "".join(
        f'<i class="is-{state}" style="flex:{number}"></i>' for state, number in present(count)
    )
    said = ", ".join(f"{number} {state}" for state, number in present(count))
    return f'<div class="coverage" role="img" aria-label="{said}">{stretches}</div>'


def legend(count: Coverage) -> str:
    """What the bar's colours are, and how many evaluations are doubtful."""
    states = "".join(
        f'<li class="is-{state}">{number} {state}</li>' for state, number in present(count) if state != "done"
    )
    doubts = [(count.flagged, "evaluations flagged"), (count.few, "of fewer than 1,000 images")]
    marks = "".join(
        f'<li class="flagged">{number} of {count.evaluations} {why}</li>' for number, why in doubts if number
    )
    done = f'<li class="is-done">{count.done} of {count.total} jobs done</li>'
    return f'<ul class="legend">{done}{states}{marks}</ul>'
