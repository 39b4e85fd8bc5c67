"""What a search costs before it runs, in multiply-adds: its supernet's training, and the cells that it tries. No torch."""

from advarch.launch.cost import name_of, passes, trained_images, training_macs
from advarch.records import Size
from advarch.runs.config import Config
from advarch.runs.genotypes import search_space


def search_passes(config: Config) -> tuple[float, float] | None:
    """Forward passes of a search's step for each image: of those on the weights, and of those on the architecture.

    First order takes the loss once at either level; second order four times for the architecture: one virtual step, the
    loss there, and two to either side. RACL's gradient norm is a loss whose backward pass goes through forward and backward
    pass. NADAR's replays each take the adversarial loss, and under its constraint the standard one and the backbone's, which
    is counted as the whole network's. RobNet trains a path, which is counted as its operations' share of the supernet.
    None for a method that is not known here.
    """
    search = config["search"]
    name = name_of(search["method"])
    if name == "Nadar":
        return _nadar_passes(search["method"])
    if name == "Racl":
        one = 6.0 if search["method"].get("gradient_norm") else 3.0
        return one, one * (2.0 if search["method"].get("blocks") == "in_turn" else 1.0)
    each = passes(search) if name in ("Darts", "RobNet") else None
    if each is None:
        return None
    if name == "RobNet":
        return each * search["method"]["probability"], 0.0
    return each, each * (4.0 if search["method"].get("order") == "second" else 1.0)


def _nadar_passes(method: Config) -> tuple[float, float]:
    level = 7.0 if method["objectives"] == "constrained" else 3.0
    trains = method["objectives"] != "joint" and method["backbone"] == "alternating"
    return method["replays"] * (level + 3.0 * trains), method["replays"] * level


def search_macs(config: Config, supernet: Size) -> float | None:
    """Multiply-adds of the supernet's training; the architecture's steps begin after the warm-up. None as in `training_macs`.

    Where there is an architecture to learn, weights and architecture take half of the images each, else the weights all.
    """
    images, each = trained_images(config), search_passes(config)
    if images is None or each is None:
        return None
    search = config["search"]
    epochs = search["epochs"]
    arch = max(0.0, epochs - search["method"].get("warmup", 0))
    share = 0.5 if each[1] else 1.0
    return float(images * share * supernet.macs * (epochs * each[0] + arch * each[1]))


def tried(config: Config) -> int:
    """How many cells a search trains one by one, or judges with a supernet's weights; where a gate stands before them, at most."""
    candidates = config["search"].get("candidates")
    if candidates is None:
        return 0
    count: int | None = candidates["sampler"].get("count")
    return search_space(config["search"]).size if count is None else count


def candidates_macs(config: Config, size: Size) -> float | None:
    """Multiply-adds of their trainings, each of that size. None as in `training_macs`."""
    epochs = config["search"]["candidates"]["epochs"]
    trainer = config["trainer"] if epochs is None else config["trainer"] | {"max_epochs": epochs}
    each = training_macs({**config, "trainer": trainer}, size)
    return None if each is None else tried(config) * each
