"""What the README and the guide show: files quoted whole, and commands."""

import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "guide"
EXAMPLES = GUIDE / "examples"
PAGES = (REPOSITORY / "README.md", *sorted(set(GUIDE.glob("*.md")) - {GUIDE / "tables.md"}))
"""tables.md is written from the sweeps, all of which tests/contracts composes."""


def quoted() -> list[tuple[str, str, str]]:
    """(page, file, text) of each fenced block that names a file behind its language."""
    return [
        (page.name, *found)
        for page in PAGES
        for found in re.findall(r"^```\w+ (\S+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    ]


def commands() -> dict[str, int | None]:
    """Each indented `advarch ...` line, without what is said beside it, and the number of jobs that is said there."""
    found: dict[str, int | None] = {}
    for page in PAGES:
        for line in re.findall(r"^    advarch (.*)$", page.read_text(), re.MULTILINE):
            command, _, beside = re.sub(r"\s{2,}", "  ", line).partition("  ")
            said = re.search(r"(\d+) (?:such )?jobs", beside)
            found[command] = int(said[1]) if said else found.get(command)
    return found


def words(command: str) -> list[str]:
    """Its arguments, as a shell hands them over."""
    return shlex.split(command)
