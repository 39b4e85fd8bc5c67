"""Evaluation: the outcome of an image depends on the image, never on its company, its place, or an interruption."""

import copy
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.evaluation import evaluate as evaluation
from advarch.evaluation.counted import Counted
from advarch.evaluation.outcomes import (
    COST,
    RIGHT,
    UNKNOWN,
    WRONG,
    Outcome,
    load_outcomes,
    result,
    save_outcomes,
    wilson,
)
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat
from advarch.types import Batch

COUNT = 23
THREAT = Threat("inf", 0.08)
ATTACK = partial(pgd, threat=THREAT, steps=3, step_size=0.03)


def evaluate(model, loader, name, attack, outcome, *, threat, seed, clean=None, save=None) -> None:
    """A column of the evaluation; the images that are right without an attack are attacked."""
    run = evaluation.Run(name, attack, threat, seed)
    standing = None if clean is None else clean == RIGHT
    evaluation.evaluate(model, loader, run, outcome, standing=standing, save=save)


def spent(outcome: Outcome, what: str) -> float:
    return float(outcome.cost[COST.index(what)])


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
        ).double()
    with torch.no_grad():
        net.eval()
        net[4].bias -= net(images()).mean(0)
    return net.train()


def images() -> Tensor:
    return torch.rand(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def labels() -> Tensor:
    """Mostly the network's own, so that it is right on most and wrong on some."""
    net = network().eval()
    y = net(images()).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    return y


INDEX = torch.arange(COUNT) * 7 % 100  # neither sorted nor without gaps


def batches(size: int, order: Tensor | None = None) -> list[Batch]:
    order = torch.arange(COUNT) if order is None else order
    x, y = images(), labels()
    return [Batch(x[part], y[part], INDEX[part]) for part in order.split(size)]


def unknown() -> Outcome:
    return Outcome.unknown(INDEX.numpy().copy())


def run(
    loader: list[Batch],
    attack=ATTACK,
    outcome: Outcome | None = None,
    *,
    seed: int = 0,
    name: str = "pgd",
    **options,
) -> Outcome:
    model = network()
    clean = unknown()
    evaluate(model, loader, "clean", None, clean, threat=THREAT, seed=seed)
    if attack is None:
        return clean
    outcome = unknown() if outcome is None else outcome
    evaluate(model, loader, name, attack, outcome, threat=THREAT, seed=seed, clean=clean.correct, **options)
    return outcome


def equal(one: Outcome, other: Outcome) -> bool:
    same = np.array_equal(one.correct, other.correct)
    return same and np.allclose(one.distance, other.distance, rtol=1e-6, equal_nan=True)


def by_hand() -> tuple[np.ndarray, np.ndarray]:
    """The verdict and distance of every image, attacked alone."""
    net, correct, distance = network().eval(), [], []
    for x, y, index in batches(1):
        x_adv = ATTACK(net, x, y, generator=ExampleGenerator(derive_seed(0, "evaluation", "pgd"), index))
        right = bool(net(x).argmax(1) == y)
        stands = right and bool(net(x_adv).argmax(1) == y)
        correct.append(RIGHT if stands else WRONG)
        distance.append(float((x_adv - x).abs().max()) if right and not stands else math.nan)
    return np.array(correct), np.array(distance)


def test_verdicts_and_distances_are_those_of_images_attacked_one_by_one() -> None:
    correct, distance = by_hand()
    found = run(batches(COUNT))
    assert set(correct.tolist()) == {RIGHT, WRONG} and np.isfinite(distance).sum() >= 3, "an easy test"
    np.testing.assert_array_equal(found.correct, correct)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6)
    assert found.complete and found.correct.dtype == np.int8 and found.distance.dtype == np.float32


@pytest.mark.parametrize("size", [1, 2, 5, 22, 100])
def test_the_outcome_depends_neither_on_batch_size_nor_on_order(size: int) -> None:
    whole = run(batches(COUNT))
    assert equal(run(batches(size)), whole)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(size))
    shuffled = run(batches(size, order))
    assert equal(shuffled, whole) and spent(shuffled, "forwards") == spent(whole, "forwards")


def test_the_clean_outcome_is_the_network_s_own_accuracy() -> None:
    found = run(batches(6), attack=None)
    expected = (network().eval()(images()).argmax(1) == labels()).numpy()
    np.testing.assert_array_equal(found.correct == RIGHT, expected)
    assert 0 < expected.sum() < COUNT
    assert np.isnan(found.distance).all() and spent(found, "forwards") == COUNT


@pytest.mark.parametrize("size", [4, 9, COUNT])
def test_an_outcome_that_is_half_filled_is_completed_to_the_same_result(size: int) -> None:
    whole = run(batches(size))
    half = unknown()
    known = np.arange(COUNT) % 2 == 0
    half.correct[known], half.distance[known] = whole.correct[known], whole.distance[known]
    assert not half.complete
    assert equal(run(batches(size), outcome=half), whole) and half.complete


def test_a_batch_that_is_known_is_neither_attacked_nor_changed() -> None:
    outcome, seen = unknown(), []
    first = batches(5)[0]
    made_up = np.array([RIGHT, WRONG, WRONG, RIGHT, WRONG], np.int8)
    outcome.correct[:5] = made_up

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        seen.extend(options["generator"].index.tolist())
        return x

    run(batches(5), attack, outcome)
    np.testing.assert_array_equal(outcome.correct[:5], made_up)
    assert seen and not set(seen) & set(first.index.tolist())
    complete = copy.deepcopy(outcome)
    run(batches(5), lambda *a, **k: pytest.fail("attacked again"), outcome)
    assert equal(outcome, complete) and spent(outcome, "forwards") == spent(complete, "forwards")


def test_an_evaluation_killed_between_batches_goes_on_to_the_same_result() -> None:
    whole, killed, saves = run(batches(4)), unknown(), []

    def save() -> None:
        saves.append(killed.correct.copy())
        if len(saves) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(batches(4), outcome=killed, save=save)
    assert (saves[2] != UNKNOWN).sum() == 12 and not killed.complete
    assert equal(run(batches(4), outcome=killed), whole)
    assert spent(killed, "forwards") == spent(whole, "forwards") and spent(killed, "seconds") > 0


def test_images_that_are_wrong_anyway_count_as_wrong_and_are_not_attacked() -> None:
    seen, clean = [], run(batches(5), attack=None)

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        assert len(x) == len(y) == len(options["generator"].index)
        seen.extend(options["generator"].index.tolist())
        return x

    outcome = run(batches(5), attack)
    assert seen == INDEX[torch.from_numpy(clean.correct == RIGHT)].tolist()
    np.testing.assert_array_equal(outcome.correct, clean.correct)
    assert np.isnan(outcome.distance).all(), "nothing was fooled"


def test_distances_are_measured_in_the_threat_s_norm_where_the_attack_fooled() -> None:
    shift = 0.25 * torch.cos(torch.arange(16.0, dtype=torch.float64)).view(1, 1, 4, 4)
    clean, net = run(batches(5), attack=None), network().eval()
    moved = (images() + shift).clamp(0, 1)
    fooled = (net(moved).argmax(1) != labels()).numpy() & (clean.correct == RIGHT)
    assert 0 < fooled.sum() < COUNT
    for norm in ("inf", 2):
        outcome = unknown()
        evaluate(
            network(), batches(5), "a", lambda m, x, y, **_: (x + shift).clamp(0, 1), outcome, threat=Threat(norm, 0.9), seed=0, clean=clean.correct
        )  # fmt: skip
        length = (moved - images()).flatten(1).norm(dim=1, p=float(norm)).numpy()
        np.testing.assert_allclose(outcome.distance, np.where(fooled, length, np.nan), rtol=1e-6)


def test_streams_differ_by_seed_and_by_the_attack_s_name() -> None:
    seeds = []

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        seeds.append(options["generator"].seed)
        return x

    for seed, name in ((0, "pgd"), (1, "pgd"), (0, "fgsm")):
        run(batches(COUNT), attack, seed=seed, name=name)
    assert seeds == [derive_seed(s, "evaluation", n) for s, n in ((0, "pgd"), (1, "pgd"), (0, "fgsm"))]
    assert len(set(seeds)) == 3


def test_flags_statistics_gradients_and_the_global_random_state_are_left_as_found() -> None:
    net = network()
    net[1].eval()
    net[4].bias.requires_grad_(False)
    before = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    buffers, state = [b.clone() for b in net.buffers()], torch.get_rng_state()
    clean, outcome = unknown(), unknown()
    evaluate(net, batches(5), "clean", None, clean, threat=THREAT, seed=0)
    evaluate(net, batches(5), "pgd", ATTACK, outcome, threat=THREAT, seed=0, clean=clean.correct)

    def fails(*args, **kwargs):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(net, batches(5), "x", fails, unknown(), threat=THREAT, seed=0, clean=clean.correct)
    assert ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]) == before
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), buffers, strict=True))
    assert all(p.grad is None for p in net.parameters()) and torch.equal(torch.get_rng_state(), state)


def test_cost_counts_a_forward_once_and_a_backward_as_one_more() -> None:
    clean, found = run(batches(5), attack=None), run(batches(5))
    # PGD-3: three gradients at two each, then the verdict in one batch and in halves.
    assert spent(found, "forwards") == int((clean.correct == RIGHT).sum()) * (3 * 2 + 2)
    net = Counted(network().eval())
    x = images()
    with torch.no_grad():
        net(x[:4])
    net(x[:3])
    assert net.forwards == 7
    net(x[:5].requires_grad_())
    assert net.forwards == 7 + 10
    assert torch.equal(net(x), network().eval()(x))


@pytest.mark.parametrize(
    ("correct", "total"), [(0, 10), (10, 10), (1, 2), (37, 360), (8123, 10000), (1, 1), (0, 1)]
)
def test_wilson_is_scipy_s_interval(correct: int, total: int) -> None:
    expected = binomtest(correct, total).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_column_says_what_its_outcome_amounts_to() -> None:
    outcome = Outcome(
        np.arange(4),
        np.array([1, 0, 0, 1], np.int8),
        np.array([np.nan, 0.25, 0.75, np.nan], np.float32),
    )
    outcome.add(forwards=40, seconds=1.5)
    column = result("pgd", outcome, "abcd")
    assert (column.name, column.correct, column.total, column.settings) == ("pgd", 2, 4, "abcd")
    assert (column.mean_distance, column.median_distance, column.forwards, column.seconds) == (
        0.5,
        0.5,
        40,
        1.5,
    )
    assert (column.low, column.high) == wilson(2, 4) and column.accuracy == 0.5
    untouched = result(
        "clean", Outcome(np.arange(2), np.ones(2, np.int8), np.full(2, np.nan, np.float32)), ""
    )
    assert untouched.mean_distance is None and untouched.median_distance is None


def test_outcomes_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    outcomes = {"best/pgd20": run(batches(5)), "last/clean": unknown()}
    outcomes["last/clean"].correct[3] = WRONG
    path = tmp_path / "outcomes.npz"
    with path.open("wb") as file:
        save_outcomes(outcomes, {"best/pgd20": "0a1b2c3d", "last/clean": ""}, file)
    found, digests = load_outcomes(path)
    assert digests == {"best/pgd20": "0a1b2c3d", "last/clean": ""} and set(found) == set(outcomes)
    for key, outcome in outcomes.items():
        for array in ("index", "correct", "distance"):
            mine, theirs = getattr(found[key], array), getattr(outcome, array)
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(found[key].cost, outcome.cost)
    assert equal(run(batches(5), outcome=found["best/pgd20"]), outcomes["best/pgd20"])


class Trap:
    def __reduce__(self) -> tuple:
        return pytest.fail, ("a pickle ran",)


def test_an_outcome_file_from_a_stranger_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.npz"
    trap = np.empty(1, dtype=object)
    trap[0] = Trap()
    np.savez(path, **{"best/x/correct": trap, "best/x/cost": trap})
    with pytest.raises(ValueError, match="allow_pickle"):
        load_outcomes(path)


def test_an_attack_in_gradient_mode_works_although_the_caller_has_none() -> None:
    with torch.no_grad():
        assert equal(run(batches(5)), run(batches(5)))

    def once() -> Iterator[Batch]:
        yield from batches(5)

    clean, outcome = run(batches(5), attack=None), unknown()
    evaluate(network(), once(), "pgd", ATTACK, outcome, threat=THREAT, seed=0, clean=clean.correct)
    assert equal(outcome, run(batches(COUNT)))
