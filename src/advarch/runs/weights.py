"""Weights on disk: safetensors and checkpoints read as data only, so that a file from a stranger can't run code."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from advarch.errors import InputError, said
from advarch.files import write_atomic

FILES = {"best": "model.safetensors", "last": "model_last.safetensors"}
"""The weights of a run: of the epoch with the best robust validation accuracy, and of the last epoch."""


def trained(run: Path, checkpoint: str) -> Path:
    """The file of a run's weights.

    Raises:
        InputError: it is not there.
    """
    file = run / FILES[checkpoint]
    if not file.is_file():
        raise InputError(
            f"evaluation.sources: expected a trained run, came {run} without {file.name}; train it first"
        )
    return file


def from_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights of the network that a checkpoint of training keeps: the averaged one once there is one, else the trained one.

    Raises:
        InputError: the file is damaged, or holds something that is not data.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        weights: dict[str, Tensor] = checkpoint["state_dict"]
        prefix = checkpoint.get("kept", "model.")
        return {
            name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
        }
    except (
        RuntimeError,
        pickle.UnpicklingError,
        KeyError,
        IndexError,
        EOFError,
        TypeError,
        AttributeError,
    ) as error:
        raise InputError(
            f"expected a checkpoint of advarch in {path}, came a file that can't be read ({_why(error)})"
        ) from None


def save(weights: dict[str, Tensor], path: Path) -> None:
    """Write weights as safetensors, atomically. The same weights give the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_atomic(path, safetensors.torch.save(tensors))


def load_into(model: nn.Module, path: Path) -> None:
    """Put the weights of a safetensors file into a network of the same shape.

    Raises:
        InputError: no such file, no safetensors, or weights of another network.
    """
    if not path.is_file():
        raise InputError(f"expected weights in {path}, came nothing; train the run first")
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (SafetensorError, RuntimeError) as error:
        first = " ".join(str(error).split())[:300]
        raise InputError(f"expected weights of this network in {path}, came others: {first}") from None


def load_any(model: nn.Module, path: Path) -> None:
    """Put the weights of a stranger's file into a network: safetensors, or what `torch.save` wrote, read as data only.

    A checkpoint may hold them under `state_dict` or `model`, and every name may begin with `module.` or `model.`.

    Raises:
        InputError: no such file, a file that holds more than data, or weights of another network.
    """
    if not path.is_file():
        raise InputError(f"weights: expected a .safetensors or .pt file, came {path}, which is not there")
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes without meaning may raise
        raise InputError(
            f"weights: expected tensors alone in {path}, came a file that can't be read as data ({_why(error)}); "
            "save model.state_dict()"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(
            f"weights: expected a state_dict in {path}, came {type(found).__name__}; save model.state_dict()"
        )
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in found) and prefix[:-1] not in dict(model.named_children()):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    try:
        model.load_state_dict(dict(found))
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise InputError(
            f"weights: expected weights of this network in {path}, came others: {first}"
        ) from None


def _why(error: Exception) -> str:
    """Without torch's advice, in colours, to run what the file holds."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found:
        return f"it holds a {found[1]}"
    return "it is no file of weights" if isinstance(error, KeyError | pickle.UnpicklingError) else said(error)
