"""Columns: verdicts verified, parts of a sequence, worst case, resumption, minimum-norm distances."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.cw_l2 import cw_l2
from advarch.attacks.deepfool import deepfool
from advarch.attacks.objectives import margin
from advarch.attacks.pgd import pgd
from advarch.attacks.sequence import sequence
from advarch.attacks.square import square
from advarch.evaluation.evaluate import Run, evaluate, measured_in, note
from advarch.evaluation.outcomes import COST, RIGHT, Outcome, result, worst_case
from advarch.evaluation.suite import parts, vary
from advarch.evaluation.verify import allowed, full_precision, mistaken, verify
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat
from advarch.types import Attack, Batch
from tests.attacks.small_nets import Linear, interior
from tests.evaluation import nets

EPS = 0.1
THREAT = Threat("inf", EPS)
PGD: Attack = partial(pgd, threat=THREAT, steps=5, step_size=EPS / 4)
FGSM: Attack = partial(pgd, threat=THREAT, steps=1, step_size=EPS, start=None)
SQUARE: Attack = partial(square, threat=THREAT, queries=50)
BOTH: Attack = partial(sequence, attacks={"pgd": PGD, "square": SQUARE})


def batches(size: int, count: int = 200, dtype: torch.dtype = torch.float32) -> list[Batch]:
    x, y = nets.digits()
    x = x[:count].to(dtype)
    return [
        Batch(*b)
        for b in zip(x.split(size), y[:count].split(size), torch.arange(count).split(size), strict=True)
    ]


def run(
    attack: Attack | None, *, size: int = 64, net: nn.Module | None = None, name: str = "a", **settings: Any
) -> Outcome:
    """A whole column, from nothing."""
    net = net or nets.sound_net()
    clean = Outcome.unknown(np.arange(200))
    evaluate(net, batches(size), Run("clean", None, THREAT, 0), clean, classes=10)
    if attack is None:
        return clean
    outcome = Outcome.unknown(np.arange(200), tuple(parts(attack)))
    settings.setdefault("standing", clean.correct == RIGHT)
    evaluate(net, batches(size), Run(name, attack, THREAT, 0), outcome, **settings)
    return outcome


def test_a_sequence_in_parts_gives_the_verdicts_of_the_sequence() -> None:
    net, outcome = nets.sound_net(), run(BOTH)
    x, y = nets.digits()
    generator = ExampleGenerator(derive_seed(0, "evaluation", "a"), torch.arange(200))
    x_adv = BOTH(net, x[:200], y[:200], generator=generator)
    with torch.no_grad():
        right = (net(x_adv).argmax(1) == y[:200]).numpy()
    assert np.array_equal(outcome.correct == RIGHT, right)
    assert 20 < right.sum() < 180
    whole = result("a", outcome, "")
    assert [p.name for p in whole.parts] == ["pgd", "square"]
    # The first part sees every image that stands without an attack, the second those that the first left.
    assert whole.parts[1].attacked == whole.parts[0].attacked - whole.parts[0].fooled
    assert whole.correct == whole.parts[1].attacked - whole.parts[1].fooled
    assert whole.attacked == whole.parts[0].attacked
    assert whole.forwards >= sum(p.forwards for p in whole.parts) > 0


def test_neither_batch_size_nor_a_kill_changes_an_outcome() -> None:
    whole, other = run(BOTH, size=64), run(BOTH, size=33)
    assert np.array_equal(whole.correct, other.correct) and np.array_equal(whole.felled_by, other.felled_by)
    assert np.allclose(whole.distance, other.distance, equal_nan=True)

    class Killed(Exception):
        pass

    calls = 0

    def die() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed

    clean, again = run(None), Outcome.unknown(np.arange(200), ("pgd", "square"))
    settings: dict[str, Any] = {"standing": clean.correct == RIGHT}
    with pytest.raises(Killed):
        evaluate(nets.sound_net(), batches(64), Run("a", BOTH, THREAT, 0), again, save=die, **settings)
    assert (again.correct == -1).sum() == 200 - 128
    evaluate(nets.sound_net(), batches(64), Run("a", BOTH, THREAT, 0), again, **settings)
    assert np.array_equal(again.correct, whole.correct)
    timeless = [COST.index(c) for c in ("queries", "forwards", "attacked")]
    assert np.array_equal(again.cost[timeless], whole.cost[timeless])


def test_the_worst_case_is_the_same_one_after_the_other_and_apart() -> None:
    first, second = run(FGSM, name="fgsm"), run(PGD, name="pgd")
    apart = worst_case([first, second])
    after = run(PGD, name="pgd", standing=first.correct == RIGHT)
    assert np.array_equal(apart.correct, after.correct)
    assert apart.correct.sum() <= min(first.correct.sum(), second.correct.sum())
    assert result("worst", apart, "").correct == int((after.correct == RIGHT).sum())


def test_images_of_another_column_are_passed_over() -> None:
    chosen = np.array([150, 3, 77])
    standing = run(None).correct == RIGHT
    outcome = Outcome.unknown(chosen)
    evaluate(nets.sound_net(), batches(64), Run("a", PGD, THREAT, 0), outcome, standing=standing[chosen])
    whole = run(PGD)
    assert outcome.complete and np.array_equal(outcome.correct, whole.correct[chosen])


def broken(change: Callable[[Tensor], Tensor]) -> Attack:
    def attack(model: Any, x: Tensor, y: Tensor, /, **kwargs: Any) -> Tensor:
        return change(PGD(model, x, y, generator=kwargs["generator"]))

    return attack


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 0.3, lambda x: (x - 0.5).clamp(0, 1), lambda x: x * torch.nan, lambda x: x - 2e-6 - EPS],
    ids=["outside the box", "outside the ball", "no number", "a hair outside the ball"],
)
def test_a_point_that_is_not_allowed_fools_nobody(change: Callable[[Tensor], Tensor]) -> None:
    clean, outcome = run(None), run(broken(change))
    column = result("a", outcome, "")
    assert np.array_equal(outcome.correct, clean.correct)
    assert column.flags == ("outside_ball",) and "not counted" in column.note


class Strict(nn.Module):
    """Refuses what lies outside [0, 1], and sees every image beside the batch's brightest pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.sound_net()

    def forward(self, x: Tensor) -> Tensor:
        if not ((x >= 0) & (x <= 1)).all():
            raise ValueError("images must lie in [0, 1]")
        return self.net(x / x.amax().clamp(min=1.0))


def test_a_point_that_is_not_allowed_reaches_no_network_and_moves_no_other_verdict() -> None:
    def first(x: Tensor) -> Tensor:
        return torch.cat([x[:1] + 1000.0, x[1:]])

    plain, outcome = run(PGD, net=Strict()), run(broken(first), net=Strict())
    standing = run(None, net=Strict()).correct == RIGHT
    firsts = [start + int(standing[start : start + 64].argmax()) for start in range(0, 200, 64)]
    assert (outcome.correct[firsts] == RIGHT).all() and (plain.correct == RIGHT).mean() < 0.9
    assert np.array_equal(np.delete(outcome.correct, firsts), np.delete(plain.correct, firsts))
    assert outcome.cost[COST.index("unstable")] == 0 and outcome.cost[COST.index("invalid")] == 4


def test_what_rounding_adds_is_allowed_and_no_more() -> None:
    x = torch.full((3, 1, 2, 2), 0.5)
    x_adv = x + torch.tensor([EPS, EPS + 9e-7, EPS + 2e-6]).view(3, 1, 1, 1)
    assert allowed(x_adv, x, THREAT).tolist() == [True, True, False]
    assert allowed(torch.tensor([[[[1.0000001]]]]), torch.ones(1, 1, 1, 1), THREAT).tolist() == [False]


def test_a_verdict_that_changes_with_the_batch_counts_against_the_network() -> None:
    class LikesLargeBatches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(torch.full((len(x),), int(len(x) < 9)), 2).float()

    x, y = torch.rand(9, 1, 2, 2), torch.zeros(9, dtype=torch.long)
    verdict = verify(LikesLargeBatches(), x, x, y, THREAT, mistaken(LikesLargeBatches(), x, y))
    assert verdict.fooled.all() and verdict.unstable.all() and not verdict.invalid.any()
    column = result("a", run(FGSM, net=nets.OwnBatch()), "")
    assert column.flags == ("batch_dependent",)


def test_tf32_is_off_while_judging_and_given_back() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    try:
        with full_precision():
            assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
            with torch.autocast("cpu", torch.bfloat16), full_precision():
                assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("norm", [None, "l2"])
def test_deepfool_reports_the_distance_and_counts_the_clipped_point(norm: Any) -> None:
    net, x = Linear(5), interior(40)
    with torch.no_grad():
        y = net(x).argmax(1)
    # Between two images: at the very distance of one its verdict would be rounding's.
    threat = Threat("inf", float(net.distance(x, y, 1).sort().values[19:21].mean()))
    attack = partial(deepfool, threat=threat, norm=norm, candidates=None)
    outcome = Outcome.unknown(np.arange(40))
    evaluate(
        net,
        [Batch(x, y, torch.arange(40))],
        Run("deepfool", attack, threat, 0),
        outcome,
        standing=np.ones(40, bool),
    )
    optimum = net.distance(x, y, 1 if norm is None else 2).numpy()
    # On a linear network one step reaches the nearest boundary: the distance is the closed form, plus the overshoot.
    assert np.allclose(outcome.distance, 1.02 * (optimum + 1e-4), rtol=1e-3)
    if norm is None:
        # Clipped to the ball, the point lies in the steepest direction still: it fools where the boundary is near enough.
        assert np.array_equal(outcome.correct == RIGHT, optimum > threat.eps)
    assert measured_in(attack, threat).linf == (norm is None)
    assert "unclipped" in note(attack, threat) and ("l_2" in note(attack, threat)) == (norm is not None)
    assert "l_2" in note(partial(cw_l2, threat=threat, clip_to_ball=True), threat)


def test_a_search_in_bf16_is_judged_in_fp32() -> None:
    clean = run(None)
    outcome = Outcome.unknown(np.arange(200))
    seen = []

    def spy(model: Any, x: Tensor, y: Tensor, /, **kwargs: Any) -> Tensor:
        seen.append(bool(model.bf16))
        return PGD(model, x, y, **kwargs)

    evaluate(
        nets.sound_net(),
        batches(64),
        Run("a", spy, THREAT, 0, bf16=True),
        outcome,
        standing=clean.correct == RIGHT,
    )
    exact = run(PGD)
    assert seen[0] and abs(int(outcome.correct.sum()) - int(exact.correct.sum())) <= 4
    assert result("a", outcome, "").flags == ()


def test_vary_scales_the_step_with_the_radius_also_inside_a_sequence() -> None:
    both = vary(BOTH, {"eps": 0.2})
    inner = parts(both)["pgd"].keywords  # type: ignore[attr-defined]
    assert inner["threat"] == Threat("inf", 0.2) and inner["step_size"] == pytest.approx(0.05)
    assert parts(BOTH)["pgd"].keywords["threat"] == THREAT  # type: ignore[attr-defined]
    assert vary(PGD, {"steps": 7.0}).keywords["steps"] == 7  # type: ignore[attr-defined]
    assert vary(PGD, {}) is PGD


def test_a_detached_network_is_evaluated_and_stands() -> None:
    net = nets.Detached()
    outcome = run(partial(pgd, threat=THREAT, steps=3, step_size=0.05, start=None, objective=margin), net=net)
    assert np.array_equal(outcome.correct, run(None).correct)
