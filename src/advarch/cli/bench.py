"""The verb `bench`: how fast this machine trains, attacks and searches, beside other public code."""

import contextlib
import io
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advarch.errors import InputError, Interrupted
from advarch.launch.heap import keep_freed
from advarch.launch.signals import StopRequest, exit_code

DEVICES = ("cpu", "cuda")
ROWS = (
    "startup", "peak", "training", "attacks", "evaluation", "autoattack", "search", "data", "memory", "work", "defenses",
    "grid",
)  # fmt: skip
"""The words of `advarch.bench.measure.ROWS`, known without importing torch."""

FAILED = 1


@dataclass(frozen=True)
class Asked:
    """What was typed; device None: a GPU where there is one."""

    device: str | None = None
    rows: tuple[str, ...] = ROWS
    quick: bool = False
    out: Path = Path("outputs")


def bench(arguments: Sequence[str]) -> int:
    """Measure, print each row, and leave bench.json, bench.md, bench.png and, of the row work, bench_work.png in a folder.

    Raises:
        InputError: an unknown key or value, a GPU where there is none, or a folder that can't be written.
    """
    wanted = asked(arguments)
    # As a run has it; peers that share the process have it, too.
    keep_freed()
    import torch

    if wanted.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: expected cpu, for torch finds no GPU here, came cuda")
    _writable(wanted.out)
    from advarch.bench.bench import Bench
    from advarch.bench.machine import cpu_precision
    from advarch.bench.measure import FILES, measure
    from advarch.bench.sizes import sizes_for

    device = torch.device(wanted.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    began = time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    sizes = sizes_for(
        device, quick=wanted.quick, precision="bf16" if device.type == "cuda" else cpu_precision()
    )
    whole = Bench(device, sizes, say, _train)

    earlier = {path: _stamp(path) for path in (wanted.out / name for name in FILES)}

    def written() -> str:
        return ", ".join(str(path) for path, before in earlier.items() if _stamp(path) not in (None, before))

    try:
        with StopRequest().listening():
            found, fine = measure(whole, wanted.rows, wanted.out, quick=wanted.quick)
    except (KeyboardInterrupt, Interrupted) as told:
        measured = f"what was measured is in {files}" if (files := written()) else "nothing was measured yet"
        print(f"\nadvarch: stopped; {measured}", file=sys.stderr)
        return exit_code(getattr(told, "number", signal.SIGINT))
    for row in found.rows:
        for peer, ratio in row.ratios.items():
            print(f"{row.name}: {ratio:.2f} times as fast as {peer}")
        for note in row.notes:
            print(f"{row.name}: {note}")
    for verdict in found.verdicts:
        print(f"{verdict.row}: {verdict.target.words}: {verdict.words}")
    say(f"written: {written()}")
    return 0 if fine else FAILED


def asked(arguments: Sequence[str]) -> Asked:
    """What the arguments say.

    Raises:
        InputError: an unknown key, device or row, or a file where a folder is to be.
    """
    found = Asked()
    given: dict[str, object] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in found.__dataclass_fields__:
            keys = ", ".join(f"{name}=" for name in found.__dataclass_fields__)
            raise InputError(f"bench: expected some of {keys}, came {argument!r}")
        given[key] = _READ[key](value)
    return Asked(**given)  # type: ignore[arg-type]


def _device(value: str) -> str:
    if value not in DEVICES:
        raise InputError(f"device: expected {' or '.join(DEVICES)}, came {value!r}")
    return value


def _rows(value: str) -> tuple[str, ...]:
    words = [word.strip() for word in value.strip("[]").split(",") if word.strip()]
    unknown = [word for word in words if word not in ROWS]
    if unknown or not words:
        raise InputError(f"rows: expected some of {', '.join(ROWS)}, came {', '.join(unknown) or 'none'}")
    return tuple(word for word in ROWS if word in words)


def _quick(value: str) -> bool:
    if value not in ("true", "false"):
        raise InputError(f"quick: expected true or false, came {value!r}")
    return value == "true"


def _out(value: str) -> Path:
    path = Path(value)
    if not value or (path.exists() and not path.is_dir()):
        raise InputError(f"out: expected a folder, came {value!r}, which is {'a file' if value else 'none'}")
    return path


def _writable(folder: Path) -> None:
    """Make it now: what took minutes to measure must not be lost for want of a place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"out: expected a folder that can be written, came {str(folder)!r} ({error.strerror})"
        ) from None


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew; None without one. No clock is asked: a file's may lag behind it, or be another's."""
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    return None


_READ = {"device": _device, "rows": _rows, "quick": _quick, "out": _out}


def _train(overrides: Sequence[str]) -> tuple[Path, float]:
    """Run what the overrides describe in this process, its display left out."""
    from advarch.cli import job
    from advarch.cli.compose import planned_jobs
    from advarch.cli.run import write

    (planned,) = planned_jobs(list(overrides), check=True)
    write(planned)
    # The job takes signals and warnings for itself.
    with contextlib.redirect_stdout(io.StringIO()), StopRequest().listening(), warnings.catch_warnings():
        code = job.main([str(planned.folder.path)])
    for number in (signal.SIGINT, signal.SIGTERM):
        if code == exit_code(number):
            raise Interrupted(number)
    rate = planned.folder.curves()[-1]["images_per_second"] if code == 0 else float("nan")
    return planned.folder.path, rate
