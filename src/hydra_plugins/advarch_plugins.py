"""What Hydra 1.3 accepts only from this namespace package: thin shells that hand over to advarch."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, cast

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from advarch.errors import InputError


class SweepsOnPath(SearchPathPlugin):
    """Let Hydra find sweeps/ as the group `sweep`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from advarch.runs.config import data_root

        search_path.append("advarch-sweeps", f"sweeps://{data_root('sweeps')}")


class SweepSource(ConfigSource):
    """A folder of YAML files that appears under the group `sweep`."""

    GROUP = "sweep"

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self.files = FileConfigSource(provider, f"file://{self.path}")

    @staticmethod
    def scheme() -> str:
        return "sweeps"

    def _inside(self, config_path: str) -> str | None:
        head, _, rest = config_path.replace(os.sep, "/").strip("/").partition("/")
        return rest if head == self.GROUP else None

    def load_config(self, config_path: str) -> ConfigResult:
        inside = self._inside(config_path)
        return self.files.load_config(config_path if inside is None else inside)

    def available(self) -> bool:
        return self.files.available()

    def is_group(self, config_path: str) -> bool:
        inside = self._inside(config_path)
        return config_path == "" if inside is None else self.files.is_group(inside)

    def is_config(self, config_path: str) -> bool:
        inside = self._inside(config_path)
        return bool(inside) and self.files.is_config(inside or "")

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        inside = self._inside(config_path)
        if inside is None:
            return [self.GROUP] if config_path == "" and results_filter != ObjectType.CONFIG else []
        return self.files.list(inside, results_filter)


class GridSweeper(Sweeper):
    """The points of +sweep=..., times the choices typed on the command line."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.composed = config
        self.inner: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from advarch.launch.grid import expand

        described = OmegaConf.select(self.composed, "sweep")
        sweep: Any = OmegaConf.to_container(described, resolve=True) if described is not None else None
        return self.inner.launch(expand(sweep, arguments), initial_job_idx=0)


class LocalLauncher(Launcher):
    """Worker processes on this machine."""

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise InputError(f"hydra.launcher.workers: expected 1 or more, came {workers!r}")
        self.workers = workers

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.composed, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        from advarch.cli.multirun import launch_here

        return launch_here(_composed(self, job_overrides), job_overrides, workers=self.workers)


class SlurmLauncher(Launcher):
    """Arrays of a Slurm cluster."""

    def __init__(self, **settings: Any) -> None:
        from advarch.launch import slurm

        plain = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)
        self.slurm = slurm.settings(cast(dict[str, Any], plain))

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.composed, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        from advarch.cli.multirun import launch_slurm

        return launch_slurm(_composed(self, job_overrides), job_overrides, self.slurm)


def _composed(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Every job's config."""
    from advarch.cli.compose import compose_all

    own = OmegaConf.to_container(launcher.composed.hydra.overrides.hydra)
    assert isinstance(own, list)
    return compose_all([[*map(str, own), *overrides] for overrides in job_overrides])
