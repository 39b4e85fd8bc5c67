"""Weights on disk: safetensors and checkpoints read as data only, so that a file from a stranger can't run code."""

import pickle
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from advarch.errors import InputError
from advarch.files import write_atomic

FILES = {"best": "model.safetensors", "last": "model_last.safetensors"}
"""The weights of a run: of the epoch with the best robust validation accuracy, and of the last epoch."""


def from_checkpoint(path: Path) -> dict[str, Tensor]:
    """The network's weights in a checkpoint of training.

    Raises:
        InputError: the file is damaged, or holds something that is not data.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        weights: dict[str, Tensor] = checkpoint["state_dict"]
    except (RuntimeError, pickle.UnpicklingError, KeyError, EOFError, TypeError) as error:
        raise InputError(
            f"expected a checkpoint of advarch in {path}, came a file that can't be read ({error})"
        ) from None
    return {
        name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")
    }


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
