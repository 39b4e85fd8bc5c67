"""The verb `doctor`: what this machine can do."""

import importlib.metadata
import os
import shutil
import sysconfig
from collections.abc import Sequence
from importlib.util import cache_from_source
from pathlib import Path

from advarch.errors import InputError
from advarch.runs.config import data_root


def doctor(arguments: Sequence[str]) -> int:
    """Print versions, devices, datasets found, SLURM and W&B login. It opens no connection.

    Raises:
        InputError: it takes no arguments.
    """
    if arguments:
        raise InputError(f"doctor: expected no arguments, came {arguments[0]!r}")
    import torch

    from advarch.runs.tracking import wandb_mode

    for name in ("advarch", "torch", "pytorch-lightning", "hydra-core", "wandb"):
        print(f"{name:<18} {importlib.metadata.version(name)}")
    cuda = torch.cuda.is_available()
    print(f"{'GPUs':<18} {', '.join(_gpus()) if cuda else 'none: everything runs on the CPU'}")
    print(f"{'CPU cores':<18} {os.cpu_count()}")
    print(f"{'bytecode':<18} {_bytecode(torch.__file__)}")
    data = Path(os.environ.get("ADVARCH_DATA", "data"))
    found = sorted(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    print(f"{'datasets':<18} embedded: digits, mnist5k, mnist_m; in {data}: {', '.join(found) or 'none'}")
    print(f"{'SLURM':<18} {shutil.which('sbatch') or 'no sbatch on the path'}")
    print(f"{'Weights & Biases':<18} runs would be {wandb_mode()}")
    print(f"{'configs':<18} {data_root('conf')}")
    return 0


def _bytecode(source: str) -> str:
    """Whether Python finds PyTorch, whose source this is, compiled; else every job compiles it and what it needs anew."""
    if Path(cache_from_source(source)).exists():
        return "PyTorch is compiled"
    packages = sysconfig.get_path("purelib")
    return (
        f"none of PyTorch: every job begins some six seconds later; python -m compileall -q -j 0 {packages}"
    )


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
