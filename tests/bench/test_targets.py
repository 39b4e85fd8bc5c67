"""What is asked for, and whether a bench reached it."""

import pytest
import torch

from advarch.bench import data, evaluation, search, startup, training
from advarch.bench.bench import Bench
from advarch.bench.row import Row
from advarch.bench.sizes import CPU, CUDA
from advarch.bench.targets import TARGETS, verdicts

STEP = "training: PGD-10 AT, WRN-16-4, batch 16"
ALL = ("avx2", "avx512_bf16")


def said(row: Row, device: str = "cpu", flags: tuple[str, ...] = ALL) -> list[str]:
    return [verdict.words for verdict in verdicts([row], device, flags)]


def test_a_ratio_is_ahead_from_its_target_on() -> None:
    assert said(Row(STEP, {"naive loop, images/s": 1}, {"naive loop": 4.5})) == ["ahead (4.5)"]
    assert said(Row(STEP, {"naive loop, images/s": 1}, {"naive loop": 4.49})) == ["behind (4.49)"]
    both = Row(STEP, {"advarch, images/s": 9.0}, {"naive loop": 5.0, "torchattacks": 2.0})
    assert said(both) == ["ahead (5)", "behind (2)"]


def test_a_figure_may_be_asked_for_at_most() -> None:
    name = "data path: mnist_m"
    assert said(Row(name, {data.SHARE: 1.9})) == ["ahead (1.9)"]
    assert said(Row(name, {data.SHARE: 2.1})) == ["behind (2.1)"]


def test_another_processor_than_asked_for_is_said_with_the_verdict() -> None:
    row = Row(STEP, {"naive loop, images/s": 1}, {"naive loop": 1.66})
    assert said(row, flags=("avx2",)) == ["behind (1.66); asked for on a CPU with AVX-512 bf16"]
    assert said(Row("start-up", {startup.HELP: 0.06}), flags=()) == ["ahead (0.06)"]


def test_a_gpu_s_targets_are_not_a_cpu_s() -> None:
    row = Row("training: PGD-10 AT, WRN-34-10, batch 256", {"advarch, images/s": 1300.0})
    assert said(row, "cuda", ()) == ["ahead (1,300)"]
    assert said(row, "cpu") == []


def test_the_better_way_counts_and_other_verdicts_than_the_peer_s_never() -> None:
    name, peer = "AutoAttack: digits", "pyautoattack, s per 100 images"
    ways = {"pyautoattack": 2.4, evaluation.PEER_COMPILED: 3.1}
    assert said(Row(name, {peer: 9.0}, ways)) == ["ahead (3.1)"]
    assert said(Row(name, {peer: 9.0})) == ["not comparable"]


def test_a_row_without_its_peer_has_no_verdict() -> None:
    assert said(Row("AutoAttack: digits", {"advarch, s per 100 images": 9.0})) == []
    assert said(Row(STEP, notes=("failed: of something",))) == []


@pytest.mark.parametrize("device, sizes", [("cpu", CPU), ("cuda", CUDA)])
def test_every_target_has_a_row(device: str, sizes) -> None:
    bench = Bench(torch.device("cpu"), sizes, print, lambda _: pytest.fail("nothing is trained here"))
    rooms = (
        startup.cases,
        training.cases,
        evaluation.cases,
        evaluation.autoattack_cases,
        search.cases,
        data.cases,
    )
    names = [name for cases in rooms for name, _ in cases(bench)]
    asked = [target.row for target in TARGETS if target.device in (None, device)]
    assert asked and all(any(name.startswith(row) for name in names) for row in asked)
