"""A genotype that a config names by a file becomes part of the config: the digest is then of the cells, not of a path."""

from advarch.errors import InputError
from advarch.genotype import stored
from advarch.genotype.published import is_code, is_file, resolve
from advarch.runs.config import Config


def with_genotype(config: Config) -> Config:
    """The config with the content of the file that `backbone.genotype` names in its place. A code is read, and stays.

    Raises:
        InputError: no such file, or no genotype in it, or none in the code.
    """
    backbone = config.get("backbone")
    spec = backbone.get("genotype") if isinstance(backbone, dict) else None
    if not isinstance(spec, str) or not (is_file(spec) or is_code(spec)):
        return config
    try:
        content = stored.to_plain(resolve(spec))
    except InputError as error:
        raise InputError(f"backbone.genotype: {str(error).removeprefix('genotype: ')}") from None
    return {**config, "backbone": {**config["backbone"], "genotype": content if is_file(spec) else spec}}
