"""`make bench-page`: the tables and charts of docs/benchmarks.md, from outputs/bench.json or the files that are named."""

import shutil
import sys
from pathlib import Path

from advarch.bench import page, record
from advarch.bench.measure import FILES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "benchmarks.md"

if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or ["outputs/bench.json"]):
        found = record.read(path)
        PAGE.write_text(page.into(PAGE.read_text(), found.device, page.markdown(found)))
        for name in FILES[2:]:
            shutil.copy(path.with_name(name), DOCS / "images" / f"{found.device}_{name}")
