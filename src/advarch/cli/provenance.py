"""provenance.json: which code, on what, made a run."""

import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from advarch.files import write_atomic
from advarch.runs.config import Config

PACKAGES = ("advarch", "torch", "torchvision", "pytorch-lightning", "hydra-core", "timm", "numpy")


def write_provenance(folder: Path, config: Config) -> None:
    """Add this attempt to the folder's provenance.json."""
    path = folder / "provenance.json"
    try:
        attempts = json.loads(path.read_text())["attempts"] if path.exists() else []
    except (ValueError, KeyError):
        attempts = []
    attempts.append(_attempt(config))
    write_atomic(path, json.dumps({"schema": 1, "attempts": attempts}, indent=2) + "\n")


def _attempt(config: Config) -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": _git(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "seed": config["seed"],
        "slurm": _slurm(),
        "command": sys.argv,
    }


def _slurm() -> dict[str, Any] | None:
    """The task of Slurm's that this is, and how often it was queued again."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ:
        return None
    task = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return {"task": task, "restarts": int(os.environ.get("SLURM_RESTART_COUNT", "0"))}


def _git() -> dict[str, Any] | None:
    """Commit and whether files differ from it; None outside a checkout (an installed wheel)."""
    here = Path(__file__).parent
    try:
        sha = _run("git", "-C", str(here), "rev-parse", "HEAD")
        return {"sha": sha, "dirty": bool(_run("git", "-C", str(here), "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
