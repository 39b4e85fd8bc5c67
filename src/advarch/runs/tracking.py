"""Weights & Biases, as an addition that can't harm a run: own records are always written first, and what W&B raises is said once."""

import contextlib
import netrc
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from advarch.errors import said
from advarch.runs.config import Config

Row = Mapping[str, Any]
"""One row of a table: equal keys in every row."""

SETTINGS = {
    "silent": True,
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "init_timeout": 10.0,
    "login_timeout": 10.0,
    "finish_timeout": 30.0,
}
"""Nothing is sent but what is told here, and nobody waits for W&B longer than these seconds: once at the start, once at the end."""

PATIENCE = 60.0
"""Seconds for W&B's own process to start where no server is asked: a busy machine may need more than ten."""

LISTS = ("axes", "points", "published")
"""What of a sweep says nothing about one of its runs."""

LONGEST = 64
"""A tag's most characters, by W&B's own rule."""


class Tracker(Protocol):
    """Where curves, summary numbers, pictures and tables are sent."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """One row of a curve."""

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Final numbers."""

    def show(
        self,
        values: Mapping[str, Any],
        pictures: Mapping[str, Path],
        tables: Mapping[str, Sequence[Row]],
        step: int,
    ) -> None:
        """Numbers, pictures and tables by name, as one row; an empty table is left out."""

    def keep(self, kind: str, files: Sequence[Path]) -> None:
        """Files as an artifact of that kind."""

    def finish(self, exit_code: int) -> None:
        """Close the run; called on failure too, else the next run of this process would go on in this one."""


class NoTracker:
    """Sends nothing."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        del values, step

    def summarise(self, values: Mapping[str, Any]) -> None:
        del values

    def show(
        self,
        values: Mapping[str, Any],
        pictures: Mapping[str, Path],
        tables: Mapping[str, Sequence[Row]],
        step: int,
    ) -> None:
        del values, pictures, tables, step

    def keep(self, kind: str, files: Sequence[Path]) -> None:
        del kind, files

    def finish(self, exit_code: int) -> None:
        del exit_code


class WandbTracker:
    """One job = one W&B run. After the first call that raises nothing more is sent."""

    def __init__(self, wandb: Any, run: Any) -> None:
        self.wandb, self.run = wandb, run
        self.lost = False

    def log(self, values: Mapping[str, Any], step: int) -> None:
        # At once: W&B would keep the row until the next one, and a kill would lose it.
        self._safely(lambda: self.run.log(dict(values), step=step, commit=True))

    def summarise(self, values: Mapping[str, Any]) -> None:
        self._safely(lambda: self.run.summary.update(dict(values)))

    def show(
        self,
        values: Mapping[str, Any],
        pictures: Mapping[str, Path],
        tables: Mapping[str, Sequence[Row]],
        step: int,
    ) -> None:
        def send() -> None:
            shown = dict(values) | {name: self.wandb.Image(str(path)) for name, path in pictures.items()}
            shown |= {name: self._table(rows) for name, rows in tables.items() if rows}
            if shown:
                self.run.log(shown, step=step, commit=True)

        self._safely(send)

    def keep(self, kind: str, files: Sequence[Path]) -> None:
        def send() -> None:
            artifact = self.wandb.Artifact(f"{kind}-{self.run.id}", type=kind)
            for file in files:
                # Immutable: the file is not copied into W&B's own folder first.
                artifact.add_file(str(file), policy="immutable")
            self.run.log_artifact(artifact)

        self._safely(send)

    def finish(self, exit_code: int) -> None:
        self._safely(lambda: self.run.finish(exit_code=exit_code), last=True)

    def _table(self, rows: Sequence[Row]) -> Any:
        return self.wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])

    def _safely(self, call: Callable[[], Any], *, last: bool = False) -> None:
        if self.lost and not last:
            return
        try:
            call()
        except Exception as error:
            if not self.lost:
                _warn(f"{said(error)}; the run goes on without it")
            self.lost = True


def open_tracker(folder: Path, config: Config) -> Tracker:
    """The tracker the config asks for; offline where W&B can't be reached, none where it doesn't work at all."""
    if config["logger"]["kind"] != "wandb":
        return NoTracker()
    # What a table is made of would lie in the home of this machine, where a later `advarch sync` from another misses it.
    os.environ.setdefault("WANDB_DATA_DIR", str(folder.absolute() / "wandb"))
    # Typed in a notebook or an allocation that uses W&B itself, a run would be told to send through that one's process, which may be gone.
    os.environ.pop("WANDB_SERVICE", None)
    mode = wandb_mode()
    if mode == "online":
        try:
            return _opened(folder, config, mode)
        except Exception as error:
            _warn(f"{said(error)}; this attempt is recorded offline, advarch sync sends it later")
            mode = "offline"
            _let_go()
    try:
        return _opened(folder, config, mode)
    except Exception as error:
        _warn(f"{said(error)}; the run goes on without it")
        return NoTracker()


def _let_go() -> None:
    """End W&B's own process, which holds the id of a run that could not be opened."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()


def _opened(folder: Path, config: Config, mode: str) -> WandbTracker:
    """The run's id is the folder's digest and sweep, so a resumed job goes on in the same run."""
    import wandb

    logger = config["logger"]
    run = wandb.init(
        project=logger["project"],
        entity=logger["entity"],
        id=f"{folder.name.rpartition('-')[2]}-{folder.parent.name}",
        name=folder.name,
        group=folder.parent.name,
        job_type="+".join(config["stages"]),
        tags=tags(config),
        dir=str(folder),
        config=_described(config),
        mode=mode,  # type: ignore[arg-type]  # WANDB_MODE may say anything; W&B refuses what it does not know
        resume="allow",
        reinit="create_new",
        save_code=False,
        settings=wandb.Settings(**SETTINGS | ({} if mode == "online" else {"init_timeout": PATIENCE})),
    )
    for curves, axis in (("train_*", "epoch"), ("val_*", "epoch"), ("search_*", "search_epoch")):
        run.define_metric(curves, step_metric=axis)
    return WandbTracker(wandb, run)


def tags(config: Config) -> list[str]:
    """What runs are filtered by: the paper, its table, the method as the table calls it, and the choices of the main groups."""
    choices, sweep = config.get("choices") or {}, config.get("sweep") or {}
    table = str(choices.get("sweep", "none"))
    words = [table.partition("/")[0], table, sweep.get("method"), choices.get("method")]
    words += [choices.get(group) for group in ("defense", "backbone", "dataset", "search")]
    words += [choices.get("scale") if choices.get("scale") != "paper" else None]
    return [word[:LONGEST] for word in _once(words) if word not in ("none", "")]


def _once(words: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(word) for word in words if word is not None))


def _described(config: Config) -> Config:
    sweep = config.get("sweep")
    return {**config, "sweep": sweep and {key: value for key, value in sweep.items() if key not in LISTS}}


def wandb_mode() -> str:
    """WANDB_MODE where it is set, else online with a login and offline without. It opens no connection."""
    return os.environ.get("WANDB_MODE") or ("online" if has_login() else "offline")


def has_login() -> bool:
    """Whether a key is at hand: in the environment, or where `wandb login` puts it, the user's netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).netloc
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _warn(message: str) -> None:
    print(f"advarch: warning: W&B: {message}", file=sys.stderr, flush=True)
