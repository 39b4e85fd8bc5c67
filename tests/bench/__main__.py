"""`make bench-page`: the tables and charts of docs/benchmarks.md, from outputs/bench.json or the files that are named."""

import shutil
import sys
from pathlib import Path

from advarch.bench import page, record
from advarch.bench.measure import FILES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "benchmarks.md"
SHOW = ("times as fast as each peer", "time per multiply-add against multiply-adds")

if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or ["outputs/bench.json"]):
        found = record.read(path)
        tables = page.markdown(found)
        for name, shows in zip(FILES[2:], SHOW, strict=True):
            picture = f"images/{found.device}_{name}"
            shutil.copy(path.with_name(name), DOCS / picture)
            tables += f"\n![{shows}]({picture})\n"
        PAGE.write_text(page.into(PAGE.read_text(), found.device, tables))
