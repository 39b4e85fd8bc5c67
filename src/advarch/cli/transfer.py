"""`advarch attack evaluation=transfer`: the matrix of sources and targets."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advarch import records
from advarch.cli.display import JobDisplay
from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.runs.config import Config

if TYPE_CHECKING:
    from advarch.cli.attack import Asked
    from advarch.evaluation.transfer import TransferRecord


def defaults(overrides: Sequence[str]) -> list[str]:
    """Overrides that the first source implies: its threat, where none is typed, so that step sizes follow it.

    Raises:
        InputError: a source that is no run folder.
    """
    sources = _typed(overrides)
    if not sources or any(o.startswith("threat") for o in overrides):
        return []
    from advarch.runs.networks import config_of_run

    threat = config_of_run(Path(sources[0]))["threat"]
    norm = "l2" if str(threat["norm"]).removesuffix(".0") in ("2", "l2") else "linf"
    return [f"threat={norm}", f"threat.eps={threat['eps']!r}"]


def transfer(config: Config, asked: "Asked", overrides: Sequence[str]) -> int:
    """Craft on every source, show to every target, print the matrix and keep it.

    Raises:
        InputError: fewer than two networks, or one that can't be used.
    """
    from advarch.evaluation.suite import Suite
    from advarch.evaluation.transfer import transfer as matrix
    from advarch.records import Progress
    from advarch.runs.build import make
    from advarch.runs.networks import config_of_run, fingerprint
    from advarch.stages.attack import bench_of
    from advarch.stages.transfer import networks_of

    sources = [Path(source) for source in config["evaluation"].get("sources", [])]
    if len(sources) + bool(asked.model) < 2:
        raise InputError(
            f"evaluation.sources: expected at least two run folders, came {len(sources)}; "
            "write evaluation.sources=[outputs/single/A,outputs/single/B]"
        )
    typed = any(re.match(r"\+*dataset[.=]", override) for override in overrides)
    if sources and not asked.images and not typed:
        config = {**config, "dataset": config_of_run(sources[0])["dataset"]}
    suite: Suite = make("evaluation", config["evaluation"])
    identity = fingerprint([str(s) for s in sources], asked.model, config["evaluation"], config["dataset"])
    folder = Path(config["outputs"]) / "attack" / f"transfer-{identity}"
    bench = bench_of(config, folder, asked.images)
    networks = networks_of(config, bench, sources, suite.checkpoints[0], asked.model, asked.weights)
    found = []
    with JobDisplay() as display:
        for name, attack in suite.attacks.items():

            def step(done: int, name: str = name) -> None:
                display.report(Progress("transfer", done, len(bench.index), "images", None, name))

            found.append(
                matrix(
                    networks,
                    bench.loader,
                    name,
                    attack,
                    dataset=bench.dataset,
                    threat=bench.threat,
                    seed=bench.seed,
                    classes=len(bench.classes),
                    step=step,
                )
            )
    screen = Console()
    screen = screen if screen.is_terminal else Console(width=max(screen.width, 120))
    for record in found:
        show(record, screen)
        path = write_atomic(folder / f"transfer_{record.attack}.json", records.dump(record))
        print(path)
    return 0


def show(record: "TransferRecord", screen: Console) -> None:
    """Print the matrix: a row per source, a column per target; in brackets the network on its own images."""
    from advarch.evaluation.sanity import TEXTS

    names = list(record.clean)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("source \\ target (%)")
    for number, _ in enumerate(names, 1):
        table.add_column(str(number), justify="right")
    cells: dict[tuple[str, str], Any] = {(p.source, p.target): p for p in record.pairs}
    for number, source in enumerate(names, 1):
        row = []
        for target in names:
            pair = cells[source, target]
            text = "-" if pair.accuracy is None else f"{100 * pair.accuracy:.2f}"
            row.append(Text(f"({text})" if source == target else text + ("†" if pair.flags else "")))
        table.add_row(f"{number} {source}", *row)
    screen.print(Text(f"{record.attack}: accuracy of the target, {record.convention}"), Text())
    screen.print(table)
    counts = ", ".join(f"{name} {count:,}" for name, count in record.clean.items())
    screen.print(Text(f"n = {record.images:,} images; right without an attack: {counts}", "dim"))
    if any(pair.flags for pair in record.pairs):
        screen.print(Text(f"† {TEXTS['transfer_beats_white_box']}", "yellow"))


def _typed(overrides: Sequence[str]) -> list[str]:
    """The sources named on the command line."""
    for override in overrides:
        match = re.fullmatch(r"\+*evaluation\.sources=\[(.*)\]", override)
        if match:
            return [word.strip().strip("'\"") for word in match[1].split(",") if word.strip()]
    return []
