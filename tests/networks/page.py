"""The table of the papers' networks: its columns counted, and docs/networks.md written from it."""

import csv
import io
from functools import cache
from pathlib import Path

from advarch.metrics.cost import size
from advarch.records import Size
from advarch.runs.build import make
from advarch.runs.papers import Published, node, table

REPOSITORY = Path(__file__).parents[2]
TABLE = REPOSITORY / "tests/papers/sizes.csv"
PAGE = REPOSITORY / "docs/networks.md"
COLUMNS = ("network", "overrides", "classes", "image", "parameters", "macs", "activations", "printed", "source", "reason")  # fmt: skip
COUNTED = ("parameters", "macs", "activations")

HEAD = """\
# Networks

Written by `make networks` from `tests/papers/sizes.csv`; a test counts every row anew. `advarch plan backbone=NAME` prints the rows of a
network, and counts any other.

Parameters are learnable numbers. MACs are multiply-adds of one image's forward pass in convolutions and matrix products. Activations
are what training keeps of it for the backward pass, in float32. "Printed" is the size as the source prints it, "46.2M+4.4M" for a
backbone and what is put beside it; where the count does not round to it, the last column says why.

| network | overrides | classes | image | parameters | MACs | activations (MiB) | printed | source | why it differs |
|---|---|---|---|---|---|---|---|---|---|
"""


@cache
def count(network: str, overrides: str, classes: int, image: tuple[int, int, int]) -> Size:
    """The network's numbers, counted on the meta device."""
    described = node(network, overrides)
    return size(lambda: make("backbone", described, classes=classes, in_channels=image[0]), image)


def filled() -> list[dict[str, str]]:
    """The file's rows, numbers that were left empty counted."""
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if all(row[name] for name in COUNTED):
            continue
        channels, height, width = (int(number) for number in row["image"].split("x"))
        found = count(row["network"], row["overrides"], int(row["classes"]), (channels, height, width))
        for name in COUNTED:
            row[name] = row[name] or str(getattr(found, name))
    return rows


def written(rows: list[dict[str, str]]) -> str:
    """Rows as the file's text."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def page() -> str:
    """docs/networks.md."""
    return HEAD + "\n".join(_line(row) for row in table()) + "\n"


def _line(row: Published) -> str:
    # A bar would end the cell of the table.
    overrides = "<br>".join(f"`{word}`" for word in row.overrides.replace("|", r"\|").split())
    cells = [row.network, overrides, str(row.classes), "x".join(map(str, row.image))]
    cells += [f"{row.size.parameters:,}", f"{row.size.macs:,}", f"{(row.size.activations or 0) / 2**20:.2f}"]
    cells += [row.printed, row.source, row.reason]
    return "| " + " | ".join(cells) + " |"
