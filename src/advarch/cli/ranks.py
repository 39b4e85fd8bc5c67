"""A job of several processes: how many, and what becomes of the folder when one of them dies."""

import os
import sys
from collections.abc import Sequence

from advarch.launch.local import command, gpus
from advarch.launch.ranks import environments, supervise
from advarch.launch.signals import name_of
from advarch.records import StageStatus
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder


def count_of(config: Config) -> tuple[int, int]:
    """Processes on each machine, and machines. `devices: auto` is every GPU, and one process where there is none."""
    trainer = config["trainer"]
    devices, nodes = trainer.get("devices", "auto"), int(trainer.get("num_nodes", 1))
    if devices != "auto":
        return int(devices), nodes
    if trainer.get("accelerator") == "cpu" or not gpus():
        return 1, nodes
    import torch

    return max(1, torch.cuda.device_count()), nodes


def processes_here(config: Config) -> int:
    """Processes of a job on this machine; with `devices: auto` one, on the one GPU that a job of many is given."""
    devices = config["trainer"].get("devices", "auto")
    return 1 if devices == "auto" else int(devices)


def run_ranks(folder: RunFolder, config: Config, trust: Sequence[str], count: int, nodes: int) -> int:
    """Run the folder by several processes and see that status.json says what became of them.

    Raises:
        InputError: several machines, and nothing says which one this is.
    """
    ended = supervise(command(folder.path, trust), environments(count, nodes, os.environ))
    file = folder.rank_error(ended.rank)
    said = file.read_text() if file.is_file() else ""
    for path in folder.path.glob(".rank*.error"):
        path.unlink(missing_ok=True)
    if ended.code >= 0 and (not said or ended.rank == 0):
        return ended.code
    if ended.code < 0:
        said = f"ended by {name_of(-ended.code)}, so the others were stopped"
    stage, status = _last(folder, config)
    if said != status.error:
        folder.end(stage, "failed", f"rank {ended.rank} of {count * nodes}: {said}")
        print(f"advarch: error: rank {ended.rank} of {count * nodes}: {said}", file=sys.stderr)
    return max(1, ended.code)


def _last(folder: RunFolder, config: Config) -> tuple[str, StageStatus]:
    """The stage that was at work."""
    stages = folder.status().stages
    begun = [stage for stage in config["stages"] if stage in stages]
    at_work = [stage for stage in begun if stages[stage].state != "done"] or begun or config["stages"][:1]
    return at_work[0], stages.get(at_work[0], StageStatus())
