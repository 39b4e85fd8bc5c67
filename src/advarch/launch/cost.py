"""What a job costs before it runs, in multiply-adds; and how fast this machine has been. No torch."""

from collections.abc import Sequence
from pathlib import Path

from advarch.records import Size
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder

ASSUMED_SPEED = 20e9
"""Multiply-adds per second of one worker where nothing is measured: two CPU cores on small networks."""

ASSUMED_GPU_SPEED = 1e12
"""The same of one GPU, which many small operations leave mostly idle: a guess, no measurement."""

FORWARDS = {
    "natural": 3.0,
    "pgd_at": 3.0,
    "trades": 7.0,
    "mart": 6.0,
    "fast": 5.0,
    "n_fgsm": 5.0,
    "Free": 3.0,
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

OWN_IMAGES = frozenset(["natural", "fast", "n_fgsm", "Free"])
"""Defenses that don't run the config's attack: they make their own images, or none."""


def passes(config: Config) -> float | None:
    """Forward passes of a config's `defense` with its `attack` per image and optimizer step, a backward pass to the input counting one and to weights and input two.

    PGD-AT with K steps costs 2K + 3, TRADES 2K + 7 (its clean logits computed once for the attack and once for the loss),
    MART 2K + 6, the one-step defenses 5, FreeAT 3. AWP runs its base's attack once and the rest of it twice.
    None for a defense that is not known here.
    """
    node = config["defense"]
    times = 1.0
    if _name(node) == "AWP":
        node, times = node["base"], 2.0
    fixed = FORWARDS.get(_name(node))
    if fixed is None:
        return None
    attack = config["attack"]
    steps = 0 if _name(node) in OWN_IMAGES else attack.get("steps", 0) * attack.get("restarts", 1)
    steps *= ATTACKS.get(_name(node), 1)
    return float(2 * steps + times * fixed)


def search_passes(config: Config) -> tuple[float, float] | None:
    """Forward passes of a search's step for each image of a half: on the weights, and on the architecture.

    First order takes the loss once at either level; second order four times for the architecture: one virtual step, the
    loss there, and two to either side. RACL's gradient norm is a loss whose backward pass goes through forward and backward
    pass. NADAR's replays each take the adversarial loss, and under its constraint the standard one and the backbone's, which
    is counted as the whole network's. None for a method that is not known here.
    """
    search = config["search"]
    name = _name(search["method"])
    if name == "Nadar":
        return _nadar_passes(search["method"])
    if name == "Racl":
        one = 6.0 if search["method"].get("gradient_norm") else 3.0
        return one, one * (2.0 if search["method"].get("blocks") == "in_turn" else 1.0)
    each = passes(search) if name == "Darts" else None
    if each is None:
        return None
    return each, each * (4.0 if search["method"].get("order") == "second" else 1.0)


def _nadar_passes(method: Config) -> tuple[float, float]:
    level = 7.0 if method["objectives"] == "constrained" else 3.0
    trains = method["objectives"] != "joint" and method["backbone"] == "alternating"
    return method["replays"] * (level + 3.0 * trains), method["replays"] * level


def search_macs(config: Config, supernet: Size) -> float | None:
    """Multiply-adds of the whole search; the architecture's steps begin after the warm-up. None as in `training_macs`."""
    half, each = _trained_images(config), search_passes(config)
    if half is None or each is None:
        return None
    search = config["search"]
    epochs = search["epochs"]
    arch = max(0.0, epochs - search["method"].get("warmup", 0))
    return float(half / 2 * supernet.macs * (epochs * each[0] + arch * each[1]))


def _name(node: Config) -> str:
    return str(node["_target_"]).rpartition(".")[2]


def _trained_images(config: Config) -> float | None:
    """Images that train, as far as they are known."""
    images = config["dataset"].get("train_images")
    if images is None:
        return None
    return float(
        min(images, config["dataset"].get("limit") or images) * (1 - config["dataset"]["val_fraction"])
    )


def training_macs(config: Config, size: Size) -> float | None:
    """Multiply-adds of the whole training, or None where the number of images or the defense is not known.

    An epoch is a pass over the images, in which FreeAT takes its replays on each.
    """
    images, each = _trained_images(config), passes(config)
    if images is None or each is None:
        return None
    steps = _epochs(config) * config["defense"].get("replays", 1)
    return float(images * steps * each * size.macs)


def _epochs(config: Config) -> float:
    """Epochs to train, one on smaller images counting as its share of their pixels."""
    epochs, dataset = config["trainer"]["max_epochs"], config["dataset"]
    shape, side = dataset.get("image_shape"), dataset.get("image_size")
    side = side or (shape[-1] if shape else None)
    if not dataset.get("phases") or side is None:
        return float(epochs)
    sizes = [phase["image_size"] for phase in dataset["phases"] for _ in range(phase["epochs"])]
    return float(sum((size / side) ** 2 for size in sizes[:epochs]))


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
