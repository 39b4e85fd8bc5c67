"""The verb `run`, which may be left out: Hydra composes, we check, name the folder, write config.yaml and start the job."""

import os
import sys
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from advarch.cli.compose import PlannedJob, normalise, planned
from advarch.cli.explain import EXPLAINED
from advarch.errors import InputError
from advarch.launch.local import command
from advarch.runs.config import data_root
from advarch.runs.units import register_resolvers


def run(arguments: Sequence[str]) -> int:
    """One experiment, or with -m a multirun.

    Raises:
        HydraException, OmegaConfBaseException, InputError: bad input, for `explain`.
    """
    import hydra

    register_resolvers()
    # Hydra's own report would swallow the exception and exit with 1; the caller explains it and exits with 2.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["advarch", *normalise(arguments)]
    app = hydra.main(version_base="1.3", config_path=str(data_root("conf")), config_name="config")
    job: list[PlannedJob] = []
    bad: list[Exception] = []

    def task(config: DictConfig) -> None:
        """Only take what was composed: Hydra would write its own lines about an exception in here."""
        try:
            job.append(_single(config))
        except (InputError, *EXPLAINED) as error:
            bad.append(error)

    app(task)()
    if bad:
        raise bad[0]
    return _start(job[0]) if job else 0


def _single(config: DictConfig) -> PlannedJob:
    whole = OmegaConf.merge({"hydra": HydraConfig.get()}, config)
    assert isinstance(whole, DictConfig)
    return planned(whole, check=True)


def _start(job: PlannedJob) -> int:
    """Run the job in the foreground. This process becomes the job's, so that a kill reaches the job."""
    write(job)
    if job.config["in_process"]:
        from advarch.cli.job import main

        return main([str(job.folder.path)])
    sys.stdout.flush()
    sys.stderr.flush()
    line = command(job.folder.path)
    return os.execv(line[0], line)


def write(job: PlannedJob) -> None:
    """Put the job's config into its folder, now: what changes in code or config later can't change it."""
    job.folder.write_config(job.config)
