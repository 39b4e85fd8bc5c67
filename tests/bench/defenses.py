"""How fast each defense trains."""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from advarch.cli import job
from advarch.cli.compose import planned_jobs
from advarch.cli.run import write

TEACHERS = {"standard": "natural", "robust": "pgd_at"}
"""Who teaches kd: runs of the bench itself."""

SMALL = ["stages=[train]", "backbone.depths=[1,1,1]", "backbone.widths=[1,1,1]", "validation.attack.steps=1"]
EPOCHS = 2


def measure(say: Callable[[str], None]) -> dict[str, float]:
    """Training images per second of a small WRN on digits, for each defense in conf/, one epoch after a warm-up epoch."""
    names = sorted(path.stem for path in Path("conf/defense").glob("[!_]*.yaml"))
    names.sort(key=lambda name: name == "kd")
    found, folders = {}, dict[str, Path]()
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            say(f"training with {name}")
            overrides = [f"defense={name}", f"outputs={root}", f"trainer.max_epochs={EPOCHS}", *SMALL]
            if name == "kd":
                overrides += [f"defense.teachers.{place}={folders[who]}" for place, who in TEACHERS.items()]
            (planned,) = planned_jobs(overrides, check=True)
            folders[name] = planned.folder.path
            write(planned)
            with contextlib.redirect_stdout(io.StringIO()):
                code = job.main([str(planned.folder.path)])
            rows = planned.folder.curves()
            found[f"{name}, images/s"] = rows[-1]["images_per_second"] if code == 0 else float("nan")
    return found
