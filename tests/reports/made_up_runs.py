"""A made-up demo sweep: eight networks on 360 digits, as records."""

import math
from dataclasses import replace
from typing import Any

from advarch.records import (
    AttackResult,
    EvalRecord,
    Progress,
    RunRecord,
    Size,
    TrainRecord,
)

SWEEP: dict[str, Any] = {
    "name": "demo",
    "title": "Adversarially trained depth grid on handwritten digits",
    "question": "Does more depth make a small wide residual network more robust, and in which stage?",
    "rows": ["backbone.depths"],
    "columns": ["parameters", "macs", "clean", "fgsm", "pgd20"],
    "checkpoints": ["best", "last"],
    "figure": {"x": "parameters", "y": "pgd20", "checkpoint": "best"},
    "published": [],
    "seeds": [0],
}

DEPTHS = tuple((a, b, c) for a in (1, 2) for b in (1, 2) for c in (1, 2))

CORRECT = {
    (1, 1, 1): ((347, 268, 228), (348, 262, 219)),
    (1, 1, 2): ((348, 272, 233), (349, 268, 224)),
    (1, 2, 1): ((349, 281, 241), (350, 276, 233)),
    (1, 2, 2): ((350, 280, 240), (350, 273, 228)),
    (2, 1, 1): ((350, 287, 249), (351, 283, 242)),
    (2, 1, 2): ((351, 288, 247), (351, 281, 236)),
    (2, 2, 1): ((351, 294, 258), (352, 290, 251)),
    (2, 2, 2): ((352, 291, 253), (352, 286, 243)),
}


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson interval, written plainly."""
    z, p = 1.959963984540054, correct / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return middle - half, middle + half


def result(name: str, correct: int, total: int = 360, flags: tuple[str, ...] = ()) -> AttackResult:
    """One attack's result with its interval."""
    low, high = wilson(correct, total)
    far = None if name == "clean" else 0.1874
    return AttackResult(name, correct, total, low, high, far, far, 40 * total, 0.84, flags)


def evaluation(checkpoint: str, counts: tuple[int, int, int], total: int = 360) -> EvalRecord:
    """Clean, FGSM and PGD-20 of one checkpoint."""
    results = tuple(
        result(name, n, total) for name, n in zip(("clean", "fgsm", "pgd20"), counts, strict=True)
    )
    return EvalRecord(checkpoint, "digits", "inf", 0.2, results)


def run(depths: tuple[int, ...], *, seed: int = 0, shift: int = 0, total: int = 360) -> RunRecord:
    """A finished run; `shift` more images of every column keep their label."""
    best, last = CORRECT[depths]  # type: ignore[index]
    words = "-".join(str(d) for d in depths)
    parameters = 17_000 + 4_800 * depths[0] + 18_700 * depths[1] + 74_112 * depths[2] - 60_000
    moved = {"best": tuple(n + shift for n in best), "last": tuple(n + shift for n in last)}
    return RunRecord(
        name=f"digits-wide_resnet-pgd_at-depths={words}-s{seed}",
        folder=f"outputs/demo/digits-wide_resnet-pgd_at-depths={words}-s{seed}-{hash_of(words, seed)}",
        config={
            "seed": seed,
            "dataset": {"name": "digits", "image_size": 8},
            "backbone": {
                "_target_": "advarch.backbones.wide_resnet.WideResNet",
                "depths": list(depths),
                "widths": [1, 1, 1],
            },
            "threat": {"norm": "inf", "eps": 0.2},
            "optimizer": {"lr": 0.1, "weight_decay": 5e-4},
            "evaluation": {"attacks": {"fgsm": {"steps": 1}, "pgd20": {"steps": 20}}},
            "outputs": "outputs",
        },
        state="done",
        size=Size(parameters, 1_181_000 + 310_000 * sum(depths)),
        train=TrainRecord(20, 17, best[2] / 360, last[2] / 360, 21.4 + sum(depths), 1313.2, "cpu"),
        evaluations={name: evaluation(name, counts, total) for name, counts in moved.items()},  # type: ignore[arg-type]
        curves=curves(best[0] / 360, best[2] / 360),
    )


def hash_of(words: str, seed: int) -> str:
    """Eight digits that look like a folder's digest."""
    return f"{(int(words.replace('-', '')) * 7919 + seed) * 104729 % 16**8:08x}"


def curves(clean: float, robust: float, epochs: int = 20) -> tuple[dict[str, float], ...]:
    """A training that rises, peaks at epoch 17 and loses a little."""
    rows = []
    for epoch in range(1, epochs + 1):
        wobble = 0.012 * math.sin(2.6 * epoch + 40 * robust)
        late = 0.015 * max(0, epoch - 17)
        rise = 1 - math.exp(-epoch / 3.5)
        rows.append(
            {
                "epoch": float(epoch),
                "loss": 2.3 * math.exp(-epoch / 8) + 0.35,
                "val_clean": min(1.0, 0.1 + (clean - 0.1) * (1 - math.exp(-epoch / 2)) + wobble / 2),
                "val_robust": 0.1 + (robust - 0.08) * rise + wobble - late,
                "lr": 0.1 if epoch < 15 else 0.01,
            }
        )
    return tuple(rows)


def full() -> list[RunRecord]:
    """Eight of eight done."""
    return [run(depths) for depths in DEPTHS]


def broken() -> list[RunRecord]:
    """Four done, one of them flagged; one missing, one failed, one running, one interrupted."""
    runs = full()
    bare = {"evaluations": {}, "train": None}
    runs[1] = replace(runs[1], state="missing", curves=(), size=None, **bare)  # type: ignore[arg-type]
    error = "Traceback (most recent call last):\n  File ...\nRuntimeError: [enforce fail] out of memory: tried to allocate 2 GB\n"
    runs[3] = replace(runs[3], state="failed", error=error, curves=runs[3].curves[:6], **bare)  # type: ignore[arg-type]
    progress = Progress("train", 8, 20, "epoch", 12.0)
    runs[5] = replace(runs[5], state="running", progress=progress, curves=runs[5].curves[:8], **bare)  # type: ignore[arg-type]
    runs[7] = replace(runs[7], state="interrupted", curves=runs[7].curves[:11], **bare)  # type: ignore[arg-type]
    best = runs[2].evaluations["best"]
    flagged = replace(best.results[2], flags=("zero_gradient",))
    best = replace(best, results=(*best.results[:2], flagged))
    runs[2] = replace(runs[2], evaluations={**runs[2].evaluations, "best": best})
    return runs
