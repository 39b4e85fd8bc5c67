"""The runs that an evaluation makes its images on, named by a pattern: a sweep can't know the digests of another's folders."""

import glob
from collections.abc import Mapping

from advarch.runs.config import Config


def with_sources(config: Config) -> Config:
    """The config with the folder that each pattern among `evaluation.sources` matches in the pattern's place.

    What does not match one folder stays: a plan needs none, and what starts to run says that it is not there.
    """
    sources = config["evaluation"].get("sources")
    if not isinstance(sources, Mapping):
        return config
    found = {name: _found(folder) for name, folder in sources.items()}
    return {**config, "evaluation": {**config["evaluation"], "sources": found}}


def _found(given: str) -> str:
    matches = glob.glob(given) if glob.has_magic(given) else []
    return matches[0] if len(matches) == 1 else given
