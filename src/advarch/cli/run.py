"""The verb `run`, which may be left out: Hydra composes, we check, name the folder, write config.yaml and start the job."""

import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from advarch.cli.compose import PlannedJob, compose_all, hydra_configs, normalise, planned
from advarch.errors import InputError
from advarch.genotype.stored import FILE
from advarch.launch.local import command
from advarch.reports.shape import read_shape
from advarch.runs.binding import nearest
from advarch.runs.columns import named
from advarch.runs.config import Config, data_root
from advarch.runs.folder import RunFolder
from advarch.runs.trust import locate, own
from advarch.runs.units import register_resolvers

FLAGS = frozenset(
    [
        "-m",
        "--multirun",
        "-c",
        "--cfg",
        "--resolve",
        "-p",
        "--package",
        "-i",
        "--info",
        "--hydra-help",
        "--run",
        "-r",
    ]
    + ["-sc", "--shell-completion", "-cd", "--config-dir", "-h", "--help"]
)
"""Hydra's own flags, as far as they make sense here."""


def run(arguments: Sequence[str]) -> int:
    """One experiment, or with -m a multirun.

    Raises:
        HydraException, OmegaConfBaseException, InputError: bad input, for `explain`.
    """
    _known_flags(arguments)
    _no_matrix(arguments)
    if sys.stderr.isatty():
        print("composing and checking ...", file=sys.stderr, end="\r")
    typed = [argument for argument in normalise(arguments) if argument not in ("-r", "--run")]
    # Only a multirun goes through a launcher: a single run for another one than this machine's is a multirun of one.
    elsewhere = any(a.startswith("hydra/launcher=") and a != "hydra/launcher=local" for a in typed)
    multirun = ["-m"] if elsewhere and not {"-m", "--multirun"} & set(typed) else []
    # Hydra reads its flags before the overrides, or after them, not in between.
    sys.argv = ["advarch", *sorted([*multirun, *typed], key=_is_override)]
    if not multirun and all(map(_is_override, typed)) and "hydra.mode=MULTIRUN" not in typed:
        with hydra_configs():
            [config] = compose_all([typed])
        return _start(_single(config))
    _through_hydra()
    return 0


def _through_hydra() -> None:
    """What only Hydra's own command does: its flags, and a multirun, which its plugins hand to an engine. It composes all twice."""
    import hydra

    register_resolvers()
    # Hydra's own report would swallow the exception and exit with 1; the caller explains it and exits with 2.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    app = hydra.main(version_base="1.3", config_path=str(data_root("conf")), config_name="config")
    app(lambda config: None)()


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def _known_flags(arguments: Sequence[str]) -> None:
    """Refuse a flag that Hydra does not know, in one line rather than a page of usage."""
    for argument in arguments:
        if argument.startswith("-") and argument.partition("=")[0] not in FLAGS:
            raise InputError(f"{argument}: unknown flag; {nearest(argument, FLAGS)}")


def _no_matrix(arguments: Sequence[str]) -> None:
    """Refuse what asks for a transfer matrix, which is no experiment."""
    typed = next((a for a in arguments if a.startswith(("source=", "target="))), None)
    if typed:
        raise InputError(
            f"{typed.partition('=')[0]}: expected the verb attack for a transfer matrix, came run; "
            "type advarch attack evaluation=transfer source=[FOLDER,FOLDER], or evaluation.sources=[FOLDER] for columns"
        )


def _check_sources(job: PlannedJob) -> None:
    """Before anything is trained: the runs that an evaluation makes its images on are there."""
    evaluation = job.config["evaluation"]
    if "evaluate" not in job.config["stages"]:
        return
    if "targets" in evaluation and not evaluation["sources"]:
        raise InputError(
            "evaluation.sources: expected run folders, came none; for a matrix type "
            "advarch attack evaluation=transfer source=[FOLDER,FOLDER], for columns evaluation.sources=[FOLDER]"
        )
    for folder in named(evaluation.get("sources"), "evaluation.sources").values():
        from advarch.runs.weights import trained

        RunFolder(Path(folder)).config()
        trained(Path(folder), "best")


def _check_search(job: PlannedJob) -> None:
    """A search is run, or has been, where one is chosen."""
    name, stages = job.config["search"]["name"], job.config["stages"]
    if name != "none" and "search" not in stages and not (job.folder.path / FILE).is_file():
        raise InputError(
            f"stages: expected search among them, for search={name} is chosen and has not been run, came {stages}; "
            f"type stages=[{','.join(['search', *stages])}]"
        )


def _single(config: Config) -> PlannedJob:
    job = planned(config, check=True)
    if job.config["sweep"] is not None:
        # One run has no table, only a folder in the sweep's.
        read_shape(job.config["sweep"])
    return job


def _start(job: PlannedJob) -> int:
    """Run the job in the foreground. This process becomes the job's, so that a kill reaches the job."""
    done = job.folder.state(job.config)[0] == "done"
    if not done:
        ready(job, here=True)
    write(job)
    if done or job.config["in_process"]:
        # A job that is done only says so, which needs no process of its own.
        from advarch.cli.job import main

        return main([str(job.folder.path)])
    sys.stdout.flush()
    sys.stderr.flush()
    line = command(job.folder.path, own())
    return os.execv(line[0], line)


def ready(job: PlannedJob, *, here: bool) -> None:
    """Before a folder is made: what the job starts from is there. Its images are looked for where it runs `here`, on this machine.

    Raises:
        InputError: a source of its evaluation is not trained, its search is left out, or weights or images are not there.
    """
    _check_sources(job)
    _check_search(job)
    _check_weights(job)
    if here:
        _check_images(job.config)


def _check_weights(job: PlannedJob) -> None:
    """The weights that a search starts from, and the teachers of a defense."""
    named_weights = list(_weights_named(job))
    if not named_weights:
        return
    from advarch.runs.teachers import found
    from advarch.runs.weights import FILES

    for key, given in named_weights:
        path = None
        try:
            path = found(given) if isinstance(given, str) else None
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
        if path is None or not (path / FILES["best"] if path.is_dir() else path).is_file():
            came = "none" if given is None else f"{given!r}, which is neither"
            raise InputError(
                f"{key}: expected a trained run's folder or a file of weights, came {came}; train it first, then type {key}=FOLDER"
            )


def _weights_named(job: PlannedJob) -> Iterator[tuple[str, Any]]:
    """Keys and values of what the stages that are still to run read weights from."""
    stages = [stage for stage in job.config["stages"] if not job.folder.finished(stage, job.config)]
    pretrained = job.config["search"].get("pretrained")
    if "search" in stages and pretrained is not None:
        yield "search.pretrained", pretrained
    teachers = job.config["defense"].get("teachers") or {}
    if "train" in stages:
        yield from ((f"defense.teachers.{name}", given) for name, given in teachers.items())


def _check_images(config: Config) -> None:
    """The folder that a dataset lies in; where it is not there, who would read it says so in its own words."""
    dataset = config["dataset"]
    if dataset.get("source") is None or dataset.get("download"):
        return
    reader = locate("dataset.source", dataset["source"]["_target_"])
    root = dataset.get("root")
    if "root" in inspect.signature(reader).parameters and not (root and Path(root).exists()):
        from advarch.runs.build import load_data

        load_data(config)


def write(job: PlannedJob) -> None:
    """Put the job's config into its folder, now: what changes in code or config later can't change it.

    Raises:
        InputError: the folder can't be written.
    """
    try:
        job.folder.write_config(job.config)
    except OSError as error:
        raise InputError(
            f"outputs: expected a folder that can be written, came {job.config['outputs']!r} ({error.strerror})"
        ) from None
