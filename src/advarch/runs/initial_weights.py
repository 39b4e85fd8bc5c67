"""The weights that training starts from, named in a config by a file: the digest is of what the file holds, not of its path."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from advarch.errors import InputError
from advarch.runs.config import Config


def described(file: Path) -> dict[str, str]:
    """The file and the first digits of its SHA-256, as `initial_weights` of a config has them.

    Raises:
        InputError: no such file.
    """
    if not file.is_file():
        raise InputError(
            f"initial_weights: expected a .safetensors or .pt file, came {file}, which is not there"
        )
    with file.open("rb") as stream:
        return {"file": str(file), "sha256": hashlib.file_digest(stream, "sha256").hexdigest()[:16]}


def with_initial_weights(config: Config) -> Config:
    """The config with the digest of the file that `initial_weights` names beside its path.

    Raises:
        InputError: no such file, or no path.
    """
    given = config.get("initial_weights")
    if given is None:
        return config
    file = given.get("file") if isinstance(given, Mapping) else given
    if not isinstance(file, str):
        raise InputError(f"initial_weights: expected a .safetensors or .pt file, came {given!r}")
    return {**config, "initial_weights": described(Path(file))}


def initial_file(config: Config) -> Path | None:
    """The file that the config names, looked at again; None for weights drawn from the seed.

    Raises:
        InputError: no such file, or one that has changed since the run was described.
    """
    given = config.get("initial_weights")
    if given is None:
        return None
    file = Path(given["file"])
    if described(file)["sha256"] != given["sha256"]:
        raise InputError(
            f"initial_weights: expected {file} as it was when the run was described, came another; "
            "put the old one back, or start a run with the new one"
        )
    return file
