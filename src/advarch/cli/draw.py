"""`advarch report draw=genotype`: cells as pictures and as JSON; `draw=candidates`: what judged candidates have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from advarch.errors import InputError
from advarch.files import write_atomic
from advarch.genotype import candidates, stored
from advarch.genotype.cell import Genotype
from advarch.genotype.published import resolve
from advarch.genotype.stored import FILE, SEARCHED

_KEYS = ("draw", "genotype", "candidates", "outputs")


def draw(arguments: Sequence[str]) -> int:
    """Draw a genotype, or the candidates of a search, and print the paths of what is written.

    Raises:
        InputError: another word, or nothing of that kind there.
    """
    given = dict(_pair(argument) for argument in arguments)
    if given["draw"] not in ("genotype", "candidates"):
        raise InputError(f"draw: expected genotype or candidates, came {given['draw']!r}")
    return _genotype(given) if given["draw"] == "genotype" else _candidates(given)


def _genotype(given: Mapping[str, str]) -> int:
    """Write NAME.svg, NAME.png and NAME.json of a genotype.

    `genotype=` is a published name, a .json or .txt file, or a run folder; they go to `outputs`/genotypes, or into the run folder.
    """
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


def _candidates(given: Mapping[str, str]) -> int:
    """Print how wiring and robust accuracy go together, and write RobNet's Figs. 3 to 6 beside the table of candidates.

    `candidates=` is a run folder or a candidates.csv. Of a few candidates there is no classifier, and no Fig. 4.
    """
    if not given.get("candidates"):
        raise InputError(f"candidates: expected a run folder or a {candidates.FILE}, came none")
    place = Path(given["candidates"])
    file = place / candidates.FILE if place.is_dir() else place
    found = candidates.read(file)
    if not found:
        raise InputError(f"{file}: expected candidates, came a table without rows")
    from advarch.reports import candidate_figures, candidate_study

    for row in candidate_study.correlations(found):
        print(candidate_figures.words(row))
    pictures = {
        "density": candidate_figures.density(found),
        "direct_edges": candidate_figures.direct_edges(found),
    }
    if len(found) >= candidate_study.FEWEST:
        pictures["separation"] = candidate_figures.separation(candidate_study.separate(found))
    for name, picture in pictures.items():
        print(write_atomic(file.parent / f"candidates_{name}.png", picture))
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
