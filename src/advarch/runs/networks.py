"""Networks that no config describes: a user's own file, a timm name, the network of another run folder."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advarch.backbones.timm import timm_network
from advarch.errors import InputError, said
from advarch.noise import derive_seed
from advarch.runs import weights
from advarch.runs.binding import bind, nearest
from advarch.runs.build import build_model
from advarch.runs.config import Config, digest
from advarch.runs.folder import RunFolder


def own_network(spec: str, *, classes: int | None, channels: int, seed: int) -> nn.Module:
    """The network that `path/to/file.py:factory`, `timm:NAME` or timm's bare `NAME` makes. The file is run: it is your own code.

    The factory is called with those of `classes` and `in_channels` that it takes; what it draws follows the seed.

    Raises:
        InputError: no such file, factory or timm network, a factory that fails, or no `torch.nn.Module` comes back.
    """
    source, _, name = spec.rpartition(":")
    bare = not source and "/" not in name and not name.endswith(".py")
    if source == "timm" or bare:
        try:
            with _seeded(seed):
                return timm_network(classes=classes, in_channels=channels, name=name)
        except ValueError as error:
            raise InputError(f"model: {error}") from None
    if not source or not source.endswith(".py"):
        raise InputError(f"model: expected path/to/file.py:factory or timm:NAME, came {spec!r}")
    factory = _factory(Path(source), name)
    given = {"classes": classes, "in_channels": channels}
    try:
        taken = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        taken = {}  # type: ignore[assignment]
    with _seeded(seed):
        try:
            model = factory(
                **{key: value for key, value in given.items() if key in taken and value is not None}
            )
        except Exception as error:
            raise InputError(
                f"model: expected {spec} to make a network, came {said(error)}; mend the factory, "
                "which is called with classes and in_channels where it takes them"
            ) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected {spec} to return a torch.nn.Module, came {type(model).__name__}")
    return model


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initial weights are the experiment's too; the global random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        yield


def _factory(path: Path, name: str) -> Callable[..., Any]:
    if not path.is_file():
        raise InputError(f"model: expected a Python file, came {path}, which is not there")
    spec = importlib.util.spec_from_file_location(f"advarch_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its neighbours can be imported, as when it is run as a script.
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"model: {path} can't be imported ({said(error)})") from error
    finally:
        sys.path.pop(0)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(f"model: {path} has no factory {name!r}; {nearest(name, known)}")
    made: Callable[..., Any] = found
    return made


def network_of_run(path: Path, checkpoint: str, data: tuple[int, tuple[int, int, int]]) -> nn.Module:
    """The trained network of a run folder.

    Args:
        path: the folder.
        checkpoint: best or last.
        data: number of classes and image shape that it is to be attacked on.

    Raises:
        InputError: no run folder, no weights in it, or a network for other images.
    """
    config = config_of_run(path)
    file = weights.trained(path, checkpoint)
    classes, image_shape = data
    model = build_model(config, classes=classes, image_shape=image_shape)
    weights.load_into(model, file)
    return model


def config_of_run(path: Path) -> Config:
    """The bound config of a run folder. Raises InputError where there is none."""
    return bind(RunFolder(path).config())


def fingerprint(*parts: Any) -> str:
    """Eight digits that name a network by its files' contents and by how it is attacked."""
    return digest([_hash(part) if isinstance(part, Path) else part for part in parts])


def _hash(path: Path) -> str:
    if path.is_dir():
        # What identifies pictures: where each lies, its size and when it changed. Ours is the cache of decoded ones.
        files = sorted(file for file in path.rglob("*") if file.is_file() and ".advarch" not in file.parts)
        stats = [
            (str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files
        ]
        return hashlib.sha256(repr(stats).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)
