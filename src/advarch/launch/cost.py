"""What a job costs before it runs, in multiply-adds; and how fast this machine has been. No torch."""

from collections.abc import Sequence
from pathlib import Path

from advarch.records import Size
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder

ASSUMED_SPEED = 20e9
"""Multiply-adds per second of one worker where nothing is measured: two CPU cores on small networks."""

FORWARDS = {
    "natural": 3.0,
    "pgd_at": 3.0,
    "trades": 7.0,
    "fat": 3.0,
    "fat_trades": 7.0,
    "fat_mart": 6.0,
    "IAAT": 6.0,
    "kd": 5.0,
}
"""Forward passes of a training step beside the attack's 2 per step; a backward pass to weights and input costs two.

Friendly attacks stop early, so theirs is the most they take; kd's teachers are counted as large as the student.
"""

ATTACKS = {"IAAT": 3}
"""Attacks on a batch, where it is more than one: IAAT tests two radii before it attacks."""


def passes(config: Config) -> float | None:
    """Forward passes per training image, a backward pass to the input counting one and to weights and input two.

    PGD-AT with K steps costs 2K + 3, TRADES 2K + 7 (its clean logits computed once for the attack and once for the loss).
    None for a defense that is not known here.
    """
    name = config["defense"]["_target_"].rpartition(".")[2]
    fixed = FORWARDS.get(name)
    if fixed is None:
        return None
    attack = config["attack"]
    steps = 0 if name == "natural" else attack.get("steps", 0) * attack.get("restarts", 1)
    steps *= ATTACKS.get(name, 1)
    return float(2 * steps + fixed)


def training_macs(config: Config, size: Size) -> float | None:
    """Multiply-adds of the whole training, or None where the number of images or the defense is not known."""
    images, each = config["dataset"].get("train_images"), passes(config)
    if images is None or each is None:
        return None
    images = min(images, config["dataset"].get("limit") or images)
    images *= 1 - config["dataset"]["val_fraction"]
    return float(images * config["trainer"]["max_epochs"] * each * size.macs)


def measured_speed(folders: Sequence[RunFolder], parent: Path) -> float | None:
    """Multiply-adds per second in the finished runs among these folders and beside them; None when there is none."""
    work = seconds = 0.0
    beside = [RunFolder(path.parent) for path in parent.glob("*/train.json")] if parent.is_dir() else []
    for folder in {folder.path: folder for folder in [*folders, *beside]}.values():
        if not (folder.path / "train.json").exists():
            continue
        record = folder.record()
        each = passes(record.config)
        if record.train is None or record.size is None or each is None or not record.train.seconds:
            continue
        images = record.train.images_per_second * record.train.seconds
        work += images * each * record.size.macs
        seconds += record.train.seconds
    return work / seconds if seconds else None
