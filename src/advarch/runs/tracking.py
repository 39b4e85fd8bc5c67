"""Weights & Biases, as an addition that can't harm a run: own records are always written first."""

import netrc
import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from advarch.runs.config import Config


class Tracker(Protocol):
    """Where curves and summary numbers are sent."""

    def log(self, values: dict[str, float], step: int) -> None:
        """One row of a curve."""

    def summarise(self, values: dict[str, Any]) -> None:
        """Final numbers."""

    def finish(self, exit_code: int) -> None:
        """Close the run; called on failure too, else the next run of this process would go on in this one."""


class NoTracker:
    """Sends nothing."""

    def log(self, values: dict[str, float], step: int) -> None:
        del values, step

    def summarise(self, values: dict[str, Any]) -> None:
        del values

    def finish(self, exit_code: int) -> None:
        del exit_code


class WandbTracker:
    """One job = one W&B run: its id is the run folder's digest, so a resumed job goes on in the same run."""

    def __init__(self, folder: Path, config: Config) -> None:
        import wandb

        logger = config["logger"]
        self.run = wandb.init(
            project=logger["project"],
            entity=logger["entity"],
            id=folder.name.rpartition("-")[2] + f"-{folder.parent.name}",
            name=folder.name,
            group=folder.parent.name,
            dir=str(folder),
            config=config,
            mode=wandb_mode(),
            resume="allow",
            reinit="create_new",
            save_code=False,
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )

    def log(self, values: dict[str, float], step: int) -> None:
        self.run.log(values, step=step)

    def summarise(self, values: dict[str, Any]) -> None:
        self.run.summary.update(values)

    def finish(self, exit_code: int) -> None:
        self.run.finish(exit_code=exit_code)


def wandb_mode() -> Any:
    """WANDB_MODE where it is set, else online with a login and offline without. It opens no connection."""
    return os.environ.get("WANDB_MODE") or ("online" if _has_login() else "offline")


def _has_login() -> bool:
    """Whether a key is at hand: in the environment, or where `wandb login` puts it, the user's netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def open_tracker(folder: Path, config: Config) -> Tracker:
    """The tracker the config asks for."""
    return WandbTracker(folder, config) if config["logger"]["kind"] == "wandb" else NoTracker()
