"""Checkpoints on disk: whole or not there, the one before kept, read as data only."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from advarch.errors import InputError
from advarch.files import replace_atomic

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class InPlace(TorchCheckpointIO):
    """Writes a checkpoint where it is to lie; Lightning would write it to the system's folder for temporary files first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        del storage_options
        whole = io.BytesIO()
        torch.save(checkpoint, whole)
        Path(path).write_bytes(whole.getbuffer())


def save(trainer: pl.Trainer, path: Path) -> None:
    """Write a checkpoint. Every process takes part in gathering it; the first writes it and renames it.

    The `last.ckpt` that was there stays as `previous.ckpt`.
    """
    path.parent.mkdir(exist_ok=True)
    written = path.with_name(f".{path.name}.{os.getpid()}.written")
    try:
        trainer.save_checkpoint(written)
        if trainer.is_global_zero:
            if path.name == LAST and path.exists():
                replace_atomic(path.with_name(PREVIOUS), lambda temporary: os.link(path, temporary))
            replace_atomic(path, lambda temporary: os.replace(written, temporary))
    finally:
        written.unlink(missing_ok=True)


def to_resume(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The checkpoint that training goes on from: the last one, where that is damaged the one before; None to begin.

    Raises:
        InputError: there are checkpoints, and none can be used.
    """
    first = ""
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        wrong = damage(path)
        if not wrong:
            if first:
                say(f"{folder / LAST} can't be used ({first}); going on from {name}, the one before it")
            return path
        first = first or wrong
    if first:
        raise InputError(
            f"expected a checkpoint in {folder / LAST}, came a file that can't be used ({first}), and no good one before it; "
            f"delete the folder {folder.name} to begin anew"
        )
    return None


def damage(path: Path) -> str:
    """What is wrong with a checkpoint: a file cut short, a changed byte, more than data in it; '' for a good one."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Torch itself does not look at the checksums.
            changed = archive.testzip()
        if changed is not None:
            return f"the checksum of {changed} is wrong"
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(found, dict) or not {"state_dict", "loops"} <= set(found):
            return "it is no checkpoint of a training"
    except pickle.UnpicklingError:
        return "it holds more than data"
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        return f"it is damaged: {' '.join(str(error).split())[:120]}"
    return ""
