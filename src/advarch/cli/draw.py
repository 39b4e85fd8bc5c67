"""`advarch report draw=genotype`: cells as pictures and as JSON."""

from collections.abc import Sequence
from pathlib import Path

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.genotype import stored
from advarch.genotype.cell import Genotype
from advarch.genotype.published import resolve
from advarch.runs.genotypes import FILE, SEARCHED

_KEYS = ("draw", "genotype", "outputs")


def draw(arguments: Sequence[str]) -> int:
    """Write NAME.svg, NAME.png and NAME.json of a genotype and print their paths.

    `genotype=` is a published name, a .json or .txt file, or a run folder; they go to `outputs`/genotypes, or into the run folder.

    Raises:
        InputError: another word, or no genotype there.
    """
    given = dict(_pair(argument) for argument in arguments)
    if given["draw"] != "genotype":
        raise InputError(f"draw: expected genotype, came {given['draw']!r}")
    if not given.get("genotype"):
        raise InputError(
            "genotype: expected a name, a file or a run folder, came none; try genotype=darts_v2"
        )
    place = Path(given["genotype"])
    genotype = _of_run(place) if place.is_dir() else resolve(given["genotype"])
    folder = place if place.is_dir() else Path(given.get("outputs") or "outputs") / "genotypes"
    from advarch.reports.genotype_drawing import render

    for form in ("svg", "png"):
        print(write_atomic(folder / f"{genotype.name}.{form}", render(genotype, form=form)))
    print(stored.write(genotype, folder / f"{genotype.name}.json"))
    return 0


def _pair(argument: str) -> tuple[str, str]:
    key, equals, value = argument.partition("=")
    if not equals or key not in _KEYS:
        raise InputError(f"{key}: expected one of {', '.join(f'{key}=' for key in _KEYS)}, came {argument!r}")
    return key, value


def _of_run(folder: Path) -> Genotype:
    """What a search found in this run, else the cells of the network that the run trains."""
    if (folder / FILE).is_file():
        return stored.read(folder / FILE)
    from advarch.runs.folder import RunFolder

    found = RunFolder(folder).config().get("backbone", {}).get("genotype")
    if found is None:
        raise InputError(
            f"genotype: expected a run of a network of cells, came {folder}; its network has none"
        )
    if found == SEARCHED:
        raise InputError(f"genotype: expected a run whose search has ended, came {folder}; run it to its end")
    return resolve(found) if isinstance(found, str) else stored.from_plain(found)
