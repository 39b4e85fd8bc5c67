"""What runs on the CPU, and the same on the simulated device; prints what it saw as JSON.

`python -m tests.device.driver attacks|itself|jobs|verbs|bench [NAMES]`. A process of its own: the device changes torch for good.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.device import simulated

simulated.begin()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tests.contracts.test_contracts import ATTACKS, EPS, MOST, attack, labels, scenes, streams, victim  # noqa: E402
from tests.device import jobs  # noqa: E402
from tests.device.rows import BENCH  # noqa: E402
from tests.device.settings import JOBS, STOPPING  # noqa: E402
from tests.device.verbs import VERBS  # noqa: E402

HERE, THERE = simulated.CPU, simulated.DEVICE


def attacked(
    name: str, norm: str | int, steps: int, place: torch.device, eps: float = EPS, **options: bool
) -> tuple[torch.Tensor, int]:
    """Adversarial images, and how often the host waited for them."""
    net, x = victim(), scenes(8)
    y = labels(net, x)
    y[0] = (y[0] + 1) % 10
    run = attack(name, norm, eps, most=MOST | {"steps": steps})
    net, x, y = net.to(place), x.to(place), y.to(place)
    index = torch.arange(8, device=place)
    simulated.WAITS.clear()
    x_adv = run(net, x, y, generator=streams(index), **options)
    waits = simulated.WAITS.total()
    assert x_adv.device == place
    return x_adv.cpu(), waits


def attack_case(name: str) -> dict[str, Any]:
    """Whether both balls' images are the same to the last bit; waits where images fall, and of 4 and 7 steps where none does."""

    def waits(**options: bool) -> list[int]:
        return [attacked(name, "inf", steps, THERE, 1e-6, **options)[1] for steps in (4, 7)]

    balls = ("inf", 2)
    same = [
        torch.equal(attacked(name, ball, 4, HERE)[0], attacked(name, ball, 4, THERE)[0]) for ball in balls
    ]
    stopping = waits(stop_on_success=True) if name in STOPPING else None
    falling = attacked(name, "inf", 4, THERE)[1]
    return {"same": same, "standing": waits(), "falling": falling, "stopping": stopping}


def refused(case: Callable[[torch.Tensor, torch.Tensor], Any]) -> str:
    """What the device says to a pair of tensors, one here and one there; and how often the host waited, if nothing."""
    here = torch.arange(3.0)
    simulated.WAITS.clear()
    try:
        case(here, here.to(THERE))
    except (RuntimeError, TypeError) as error:
        return str(error).partition(":")[2].strip() or str(error)
    return f"waited {simulated.WAITS.total()} times"


ITSELF: Mapping[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "a sum of both": lambda here, there: here + there,
    "written into the other": lambda here, there: torch.add(here, here, out=there),
    "here indexed by there": lambda here, there: here[there.long()],
    "values of here set there": lambda here, there: there.index_put_((there.long(),), here),
    "joined": lambda here, there: torch.stack([here[0], there[0]]),
    "a number here, changed": lambda here, there: here[0].add_(there.sum()),
    "two numbers": lambda here, there: torch.addcmul(there, here[0], here[1]),
    "random numbers": lambda here, there: torch.rand(3, generator=torch.Generator(), device=THERE),
    "numpy": lambda here, there: np.asarray(there),
    "a single number": lambda here, there: there + here[1],
    "copied": lambda here, there: there.copy_(here),
    "an index": lambda here, there: there[there.long()],
    "a value": lambda here, there: float(there[0]),
    "a truth": lambda here, there: bool((there > 1).any()),
    "a mask": lambda here, there: there[there > 1],
    "its places": lambda here, there: (there > 1).nonzero(),
    "brought back": lambda here, there: there.cpu(),
}


def both(case: Callable[[Path], Any]) -> dict[str, Any]:
    """What it finds on the CPU and on the device."""
    with TemporaryDirectory() as here, TemporaryDirectory() as there:
        one = case(Path(here))
        before = simulated.WAITS.total()
        with jobs.on_the_device():
            two = case(Path(there))
        assert simulated.WAITS.total() > before, "it never was on the device"
    return {"here": one, "there": two}


def job_case(name: str) -> dict[str, Any]:
    """A run of these overrides."""
    return both(lambda root: jobs.seen(jobs.run(JOBS[name], root)))


def verb_case(name: str) -> dict[str, Any]:
    """The verb's own."""
    return both(VERBS[name])


GROUPS: Mapping[str, tuple[list[str], Callable[[str], Any]]] = {
    "attacks": (ATTACKS, attack_case),
    "itself": (list(ITSELF), lambda name: refused(ITSELF[name])),
    "jobs": (list(JOBS), job_case),
    "verbs": (list(VERBS), verb_case),
    "bench": (list(BENCH), lambda name: BENCH[name]()),
}


def main() -> None:
    names, case = GROUPS[sys.argv[1]]
    found = {}
    for name in sys.argv[2:] or names:
        began = time.process_time()
        try:
            found[name] = case(name)
        except Exception:
            found[name] = {"failed": traceback.format_exc(limit=-8)}
        print(f"{name}: {time.process_time() - began:.1f} s", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
