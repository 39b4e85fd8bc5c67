"""docs/guide/tables.md: every sweep of a paper's table or figure, from the heads of the files."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/guide/tables.md"
SWEEPS = REPOSITORY / "sweeps"

PAPERS = {
    "robustwrn": "RobustWRN: Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks (Huang et al., 2021)",
    "dsnet": "DS-Net: Learning Diverse-Structured Networks for Adversarial Robustness (Du et al., 2021)",
    "racl": "RACL: Adversarially Robust Neural Architectures (Dong et al., arXiv 2009.00902 v2)",
    "nadar": "NADAR: Neural Architecture Dilation for Adversarial Robustness (Li et al., 2021)",
    "robnet": "RobNet: When NAS Meets Robustness (Guo et al., 2020)",
}

HEAD = """\
# Tables and figures of five papers

Written by `make tables` from `sweeps/`; a test compares. One file is one table or figure: what is run, the printed numbers, and the
columns of the table. Its first lines say the command, what it costs and what the paper found.

    advarch plan +sweep=robustwrn/table1                what would run, how large it is, what is done already
    advarch -m +sweep=robustwrn/table1                  run it; again, and it goes on where it stopped
    advarch report +sweep=robustwrn/table1              published, ours and the difference side by side: report.md, .tex, .csv, .html, .png
    advarch -m +sweep=robustwrn/table1 scale=smoke      does it run: tiny networks, 200 images, one epoch
    advarch -m +sweep=robustwrn/table1 scale=small      the shape of the table in minutes: tiny networks, up to 5,000 images, ten epochs
    make smoke-all                                      one job of every sweep at scale=smoke

GPU-hours are what `advarch plan +sweep=NAME gpu=a100` says: multiply-adds at 5 T a second, a tenth of that for networks of searched cells,
which we take for one A100 in 32 bits: an assumption, not a measurement. In 16 bits (`trainer.precision=bf16`) it is half. Evaluations are not
counted, nor attacks on validation images during a search. `gpu=h100` estimates for another card; runs of your own replace the assumption.

- **Printed numbers** are in the sweep's `published`, a line for each printed row, each with its source. A misprint keeps what is
  printed, with a note that the table shows below. Where a figure is a drawing, only numbers of the text are there.
- **Difference** is ours minus the paper's, in points, and only at `scale=paper`.
- **Smaller scales** take other data and smaller networks by the rules of `conf/scale/_tiny.yaml`; rows and columns stay.
- **Cells that were never published** (RobNet-small and -medium, NADAR-A and -B, RACL of version 2) have stand-ins, and say so.
- **Transfer tables** need their sources first; the head of the file says which sweep or command trains them.
"""


def page() -> str:
    """The page."""
    parts = [HEAD]
    for paper, title in PAPERS.items():
        lines = [_line(path) for path in sorted((SWEEPS / paper).glob("*.yaml"), key=_order)]
        parts.append(
            f"## {title}\n\n| +sweep= | what it shows | cost |\n|---|---|---|\n" + "\n".join(lines) + "\n"
        )
    return "\n".join(parts)


def cost(text: str) -> str:
    """What the head of a sweep says behind its command: 125 jobs, training about 5,200 GPU-hours."""
    found = re.search(r"^#   advarch -m \+sweep=\S+ +(.+)$", text, re.MULTILINE)
    assert found is not None, "a sweep's head names its command and its cost"
    return found[1]


def _line(path: Path) -> str:
    text = path.read_text()
    shows = text.splitlines()[1].removeprefix("# ").partition(": ")
    name = path.relative_to(SWEEPS).with_suffix("").as_posix()
    return f"| {name} | {shows[0].partition(', ')[2]}: {shows[2]} | {cost(text)} |"


def _order(path: Path) -> tuple[bool, int, str]:
    """Tables before figures, by number."""
    number = re.search(r"\d+", path.stem)
    return not path.stem.startswith("table"), int(number[0]) if number else 0, path.stem
