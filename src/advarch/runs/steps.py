"""The steps of a run in W&B, which only rise: a search, what it shows at its end, the training, what comes after."""

from advarch.runs.config import Config
from advarch.runs.folder import RunFolder


def epoch_step(config: Config, stage: str, epoch: int) -> int:
    """The step of an epoch's row. W&B drops a step that is not above those before, so a training's come after its search's."""
    return epoch + (_search_steps(config) if stage != "search" else 0)


def closing_step(folder: RunFolder, config: Config, stage: str) -> int:
    """The step of what a stage shows at its end: one more than its epochs; of a stage without, one for each attempt."""
    if stage == "search":
        return _search_steps(config)
    step = epoch_step(config, "train", config["trainer"]["max_epochs"]) + 1
    if stage == "train":
        return step
    stages = folder.status().stages
    return step + sum(stages[name].attempts for name in ("evaluate", "analyse") if name in stages)


def _search_steps(config: Config) -> int:
    """Those of the search before a training: its epochs, none where it chooses by trial alone, and what it shows at its end."""
    search = config.get("search") or {}
    return 0 if search.get("name", "none") == "none" else int(search.get("epochs", 0)) + 1
