"""How fast each defense trains."""

import contextlib
import io
import tempfile
from pathlib import Path

from advarch.cli import job
from advarch.cli.compose import planned_jobs

NEEDS_TEACHERS = {"kd"}
"""Defenses that train only beside finished runs."""


def measure() -> dict[str, float]:
    """Training images per second of a small WRN on digits, for each defense in conf/, one epoch after a warm-up epoch."""
    names = sorted(
        path.stem for path in Path("conf/defense").glob("*.yaml") if path.stem not in NEEDS_TEACHERS
    )
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as root:
            overrides = [f"defense={name}", f"outputs={root}", "stages=[train]", "trainer.max_epochs=2"]
            overrides += ["backbone.depths=[1,1,1]", "backbone.widths=[1,1,1]", "validation.attack.steps=1"]
            (planned,) = planned_jobs(overrides, check=True)
            planned.folder.write_config(planned.config)
            with contextlib.redirect_stdout(io.StringIO()):
                code = job.main([str(planned.folder.path)])
            rows = planned.folder.curves()
            found[f"{name}, images/s"] = rows[-1]["images_per_second"] if code == 0 else float("nan")
    return found
