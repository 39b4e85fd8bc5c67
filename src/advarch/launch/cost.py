"""What a training costs before it runs, in multiply-adds. No torch."""

from advarch.records import Size
from advarch.runs.config import Config

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
    if name_of(node) == "AWP":
        node, times = node["base"], 2.0
    fixed = FORWARDS.get(name_of(node))
    if fixed is None:
        return None
    attack = config["attack"]
    steps = 0 if name_of(node) in OWN_IMAGES else attack.get("steps", 0) * attack.get("restarts", 1)
    steps *= ATTACKS.get(name_of(node), 1)
    return float(2 * steps + times * fixed)


def name_of(node: Config) -> str:
    """The last word of what a node makes."""
    return str(node["_target_"]).rpartition(".")[2]


def trained_images(config: Config) -> float | None:
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
    images, each = trained_images(config), passes(config)
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
