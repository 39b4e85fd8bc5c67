"""`advarch attack source=[...]`: the matrix of sources and targets."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advarch import records
from advarch.cli.display import JobDisplay
from advarch.errors import InputError
from advarch.evaluation.pairs import TransferRecord
from advarch.files import write_atomic
from advarch.reports.transfer import csv_text, markdown, text
from advarch.runs.columns import named
from advarch.runs.config import Config

if TYPE_CHECKING:
    from advarch.cli.attack import Asked

SHORT = {"source": "evaluation.sources", "target": "evaluation.targets"}
"""What may be typed -> the key of the config."""


def spelt_out(arguments: Sequence[str]) -> list[str]:
    """`source=[A,B]` and `target=[C]` as overrides of the config, with the suite `transfer` where none is named.

    Raises:
        InputError: no folder is named.
    """
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in SHORT:
            overrides.append(argument)
            continue
        folders = _folders(value)
        if not folders:
            raise InputError(
                f"{key}: expected run folders, came {value!r}; write {key}=[outputs/single/A,outputs/single/B]"
            )
        # Quoted: a folder's name may hold what Hydra's grammar takes for its own.
        quoted = ",".join("'" + folder.replace("'", "\\'") + "'" for folder in folders)
        overrides.append(f"{SHORT[key]}=[{quoted}]")
    named_suite = any(o.startswith("evaluation=") for o in overrides)
    short = len(overrides) and overrides != list(arguments)
    return ["evaluation=transfer", *overrides] if short and not named_suite else overrides


def defaults(overrides: Sequence[str]) -> list[str]:
    """Overrides that the first source implies: its threat, where none is typed, so that step sizes follow it.

    Raises:
        InputError: a source that is no run folder.
    """
    typed = [m[1] for o in overrides if (m := re.fullmatch(r"\+*evaluation\.sources=(.*)", o))]
    sources = _folders(typed[-1]) if typed else []
    if not sources or any(o.startswith("threat") for o in overrides):
        return []
    from advarch.runs.networks import config_of_run

    threat = config_of_run(Path(sources[0]))["threat"]
    norm = "l2" if str(threat["norm"]).removesuffix(".0") in ("2", "l2") else "linf"
    return [f"threat={norm}", f"threat.eps={threat['eps']!r}"]


def transfer(config: Config, asked: "Asked", overrides: Sequence[str]) -> int:
    """Craft on every source, show to every target, print the matrices and keep them.

    Raises:
        InputError: fewer than two networks, or one that can't be used.
    """
    from advarch.runs.networks import config_of_run, fingerprint
    from advarch.stages.attack import bench_of
    from advarch.stages.transfer import matrices

    sources = named(config["evaluation"].get("sources"), "evaluation.sources")
    targets = named(config["evaluation"].get("targets"), "evaluation.targets")
    if len(set(sources.values()) | set(targets.values())) + bool(asked.model) < 2 or not sources:
        raise InputError(
            f"evaluation.sources: expected at least two run folders, came {len(sources)}; "
            "write source=[outputs/single/A,outputs/single/B], or one and target=[outputs/single/B] or model="
        )
    typed = any(re.match(r"\+*dataset[.=]", override) for override in overrides)
    if not asked.images and not typed:
        config = {**config, "dataset": config_of_run(Path(next(iter(sources.values()))))["dataset"]}
    identity = fingerprint(asked.model, config["evaluation"], config["dataset"], config["threat"])
    folder = Path(config["outputs"]) / "attack" / f"transfer-{identity}"
    bench = bench_of(config, folder, asked.images)
    with JobDisplay() as display:
        found = matrices(
            config, bench, (sources, targets), (asked.model, asked.weights), report=display.report
        )
    screen = Console()
    screen = screen if screen.is_terminal else Console(width=max(screen.width, 120))
    for record in found:
        show(record, screen)
    for name, content in _files(found).items():
        print(write_atomic(folder / name, content))
    return 0


def show(record: TransferRecord, screen: Console) -> None:
    """Print the matrix: a row per source, a column per target."""
    from advarch.evaluation.sanity import FEW_IMAGES, TEXTS

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("source \\ target (%)", overflow="fold")
    numbers = {
        name: number for number, name in enumerate(dict.fromkeys((*record.sources, *record.targets)), 1)
    }
    for target in record.targets:
        head = str(numbers[target]) if target in record.sources else target
        table.add_column(head, justify="right", overflow="fold")
    for source in record.sources:
        row = [Text(text(record.pair(source, target))) for target in record.targets]
        table.add_row(f"{numbers[source]} {source}", *row)
    said = f"{record.attack}: robust accuracy of the target {record.conventions[0]} ({record.conventions[1]})"
    screen.print(Text(said), Text())
    screen.print(table)
    counts = ", ".join(f"{name} {count:,}" for name, count in record.clean.items())
    screen.print(Text(f"n = {record.images:,} images; right without an attack: {counts}; * white box", "dim"))
    if record.images < FEW_IMAGES:
        screen.print(Text(f"flag fewer_than_1000_images: {TEXTS['fewer_than_1000_images']}", "yellow"))
    if any(pair.flags for pair in record.pairs):
        screen.print(Text(f"† flag transfer_beats_white_box: {TEXTS['transfer_beats_white_box']}", "yellow"))


def _files(found: Sequence[TransferRecord]) -> Mapping[str, str]:
    files = {f"transfer_{record.attack}.json": records.dump(record) for record in found}
    return {**files, "transfer.md": markdown(found), "transfer.csv": csv_text(found)}


def _folders(value: str) -> list[str]:
    """The folders of `[A,B]`, `{a: A, b: B}` or `A`."""
    words = [word.strip() for word in value.strip().strip("[]{}").split(",")]
    if value.startswith("{"):
        words = [word.partition(":")[2].strip() for word in words]
    return [word.strip("'\"") for word in words if word.strip("'\"")]
