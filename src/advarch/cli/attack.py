"""The verb `attack`: evaluate a network of the user's own, or the transfer between runs, without training anything."""

import dataclasses
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advarch.cli.compose import compose_all, hydra_configs, normalise, planned
from advarch.cli.display import JobDisplay
from advarch.errors import InputError, said
from advarch.launch.heap import keep_freed
from advarch.records import EvalRecord
from advarch.reports.closing import threat
from advarch.runs.columns import CLEAN, plan
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder, write_json
from advarch.runs.lock import Busy, FolderLock
from advarch.runs.tracking import NoTracker

OWN = ("model", "weights", "images", "check", "name")
"""Arguments of this verb; all others are overrides of the config."""

BINARIZED = 50
"""Images that check=binarization tests each attack on."""


@dataclass(frozen=True)
class Asked:
    """What the user typed: the network, its weights, images of their own, a check instead of a suite."""

    model: str = ""
    weights: str = ""
    images: str = ""
    check: str = ""
    name: str = ""


def attack(arguments: Sequence[str]) -> int:
    """Attack a network of the user's own with a suite, print the table and keep the record.

    Raises:
        InputError: bad input.
    """
    asked, overrides = _asked(arguments)
    keep_freed()
    from advarch.cli import transfer

    overrides = transfer.spelt_out(normalise(overrides))
    overrides = transfer.defaults(overrides) + overrides
    if asked.images:
        _own_images(overrides)
    config = _config(overrides)
    if config["evaluation"].get("sources") or "targets" in config["evaluation"]:
        return transfer.transfer(config, asked, overrides)
    if not asked.model:
        raise InputError("model: expected model=path/to/file.py:factory or model=timm:NAME, came none")
    if asked.check not in ("", "binarization"):
        raise InputError(f"check: expected binarization, came {asked.check!r}")
    return _attack(config, asked)


def _asked(arguments: Sequence[str]) -> tuple[Asked, list[str]]:
    own: dict[str, str] = {}
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in OWN:
            own[key] = value
        else:
            overrides.append(argument)
    return Asked(**own), overrides


def _own_images(overrides: Sequence[str]) -> None:
    """Images of one's own take nothing of a dataset: neither its pictures nor its customary radius."""
    typed = [override.lstrip("+") for override in overrides]
    for override in typed:
        key = override.partition("=")[0]
        if key.partition(".")[0] == "dataset" and key != "dataset.image_size":
            raise InputError(
                f"{key}: expected either a dataset or images=, came both ({override!r}); leave one out "
                "(with images= only dataset.image_size counts)"
            )
    if not any(override.startswith("threat.eps=") for override in typed):
        raise InputError(
            "threat.eps: expected a radius, for images= has no customary one, came none; add e.g. threat.eps=8/255"
        )


def _config(overrides: Sequence[str]) -> Config:
    with hydra_configs():
        [config] = compose_all([overrides])
    return planned(config, check=True).config


def _attack(config: Config, asked: Asked) -> int:
    from advarch.runs.networks import fingerprint
    from advarch.stages.attack import prepare, run_attack
    from advarch.stages.job import Job

    model_file = Path(asked.model.rpartition(":")[0])
    files = [Path(p) for p in (asked.model.rpartition(":")[0], asked.weights, asked.images) if p]
    seen = config["dataset"] if not asked.images else config["dataset"].get("image_size", "")
    # The clean column's settings are all that columns must share to stand side by side: ball, seed, number of images.
    identity = fingerprint(asked.model, *files, seen, plan(config)[CLEAN].settings)
    name = asked.name or f"{model_file.stem or 'timm'}-{asked.model.rpartition(':')[2]}"
    label = re.sub(r"[^A-Za-z0-9_.=-]+", "-", name)[:80]
    folder = RunFolder(Path(config["outputs"]) / "attack" / f"{label}-{identity}")
    bench, model = prepare(
        config, folder.path, model=asked.model, weights_path=asked.weights, images=asked.images
    )
    _make(folder.path)
    if not asked.weights and model_file.suffix != ".py":
        print("advarch: warning: no weights= is given, so this network has learned nothing", file=sys.stderr)
    if asked.check:
        return _binarization(bench, model, folder.path)
    try:
        with FolderLock(folder.path), JobDisplay() as display:
            write_json(
                folder.path / "attack.json",
                {"model": asked.model, "weights": asked.weights, "config": config},
            )
            record = run_attack(Job(folder, config, NoTracker(), display.report, display.say), bench, model)
    except Busy as busy:
        raise InputError(str(busy)) from None
    screen = Console()
    screen = screen if screen.is_terminal else Console(width=max(screen.width, 120))
    show(record, screen, f"weights {asked.weights}" if asked.weights else "no weights")
    print(folder.path / "evaluation.json")
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"outputs: expected a folder in which {folder} can be made, came {said(error)}; name another with outputs="
        ) from None


def _binarization(bench: Any, model: Any, folder: Path) -> int:
    """Test the suite's attacks on this network with planted adversarial points, print and keep how often they find them."""
    from advarch.evaluation.binarization import binarization

    found = []
    for name, attack in bench.suite.attacks.items():
        strength = binarization(
            model, bench.loader, name, attack, threat=bench.threat, seed=bench.seed, count=BINARIZED
        )
        verdict = "strong enough" if strength.passed else "NOT strong enough to judge this network"
        print(
            f"{name}: found {strength.found} of {strength.images} planted points "
            f"(100 random points: {strength.found_at_random}): {verdict}",
            flush=True,
        )
        found.append(dataclasses.asdict(strength))
    write_json(folder / "binarization.json", found)
    print(folder / "binarization.json")
    return 0


def show(record: EvalRecord, screen: Console, network: str) -> None:
    """Print one network's evaluation: a row per attack, parts of sequences below theirs, flags in words at the end.

    `network` says whose it is, beside dataset, images and ball above the table.
    """
    from advarch.evaluation.sanity import TEXTS
    from advarch.stages.evaluate import EARLIER

    images = record.results[0].total
    screen.print(Text(f"{record.dataset}, n = {images:,} images, {threat(record)}, {network}", "bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = ("attack", "accuracy", "95 % interval", "wrong", "median distance", "queries/image", "images/s")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for result in record.results:
        speed = result.images_per_second
        table.add_row(
            result.name + (" *" if result.note.startswith(EARLIER) else ""),
            f"{100 * result.accuracy:.2f} %",
            f"{100 * result.low:.2f}–{100 * result.high:.2f}",
            f"{result.total - result.correct:,} of {result.total:,}",
            "" if result.median_distance is None else f"{result.median_distance:.4f}",
            ""
            if result.mean_queries is None
            else f"{result.mean_queries:,.1f} ({result.median_queries:,.0f})",
            "" if speed is None else f"{speed:,.1f}",
        )
        for part in result.parts:
            fooled = f"fooled {part.fooled:,} of {part.attacked:,}"
            table.add_row(Text(f"  {part.name}", "dim"), "", "", Text(fooled, "dim"), "", "", "")
    screen.print(table)
    for result in record.results:
        if result.note:
            mark = "* " if result.note.startswith(EARLIER) else ""
            screen.print(Text(f"{mark}{result.name}: {result.note}", "dim"))
    flags: dict[str, Any] = dict.fromkeys(record.flags, "")
    for result in record.results:
        for flag in result.flags:
            flags[flag] = f" ({result.name})"
    for flag, where in flags.items():
        screen.print(Text(f"flag {flag}{where}: {TEXTS.get(flag, '')}", "yellow"))
    if not flags:
        screen.print(Text("no flag is raised", "dim"))
