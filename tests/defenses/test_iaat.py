"""IAAT: budgets on a scripted sequence, the attacks it asks for, its memory over checkpoints and processes."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.instance_pgd import instance_pgd
from advarch.attacks.pgd import pgd
from advarch.defenses.contract import Remembers, TrainStep
from advarch.defenses.iaat import IAAT
from advarch.errors import InputError
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.defenses.test_losses import (
    FakeAttack,
    batch,
    gradients,
    network,
    plain_pgd_at,
)

EPS, GAMMA, BETA = 8 / 255, 1.9 / 255, 0.1
AFTER = 10.0
"""An epoch after the warm-up."""


PLAIN = {"iaat": plain_pgd_at}
"""While it warms up, whatever the radii: they decide the images alone."""


class Script(nn.Module):
    """Reads its verdict off the image: class 0 unless the first pixel is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        wrong = (x[:, 0, 0, 0] > 0.5).to(x)
        return self.scale * torch.stack([1 - wrong, wrong], dim=1)


class Boundary:
    """An attack that fools image i exactly where its radius reaches holds[i]; it remembers the radii it was given."""

    def __init__(self, holds: list[float]) -> None:
        self.holds, self.radii = torch.tensor(holds), list[Tensor]()

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: Tensor, **options) -> Tensor:
        self.radii.append(eps.clone())
        x = x.clone()
        x[:, 0, 0, 0] = torch.where(eps >= self.holds, 1.0, x[:, 0, 0, 0])
        return x


def started(images: int = 4, **changes) -> IAAT:
    made = IAAT(**({"eps": EPS, "gamma": GAMMA, "beta": BETA} | changes))
    made.start(images=images, device=torch.device("cpu"), rank=0, world_size=1)
    return made


def moment(index: list[int], epoch: float, epochs: int = 110) -> TrainStep:
    index = torch.tensor(index)
    return TrainStep(index, float(epoch), epochs, ExampleGenerator(3, index))


def clean(wrong: list[bool]) -> tuple[Tensor, Tensor]:
    x = torch.zeros(len(wrong), 1, 2, 2, dtype=torch.float64)
    x[:, 0, 0, 0] = torch.tensor(wrong).double()
    return x, torch.zeros(len(wrong), dtype=torch.long)


def test_budgets_follow_the_rule_on_a_scripted_sequence() -> None:
    """Four images: one that always holds, one with its boundary at 9/255, one always fooled, one misclassified clean."""
    defense, attack = started(), Boundary([9.0, 9 / 255, 0.0, 9.0])
    x, y = clean([False, False, False, True])
    expected = [EPS, EPS, EPS, 0.0]
    for epoch in (0.0, 9.99):
        defense(Script(), x, y, attack=attack, step=moment([0, 1, 2, 3], epoch))
        torch.testing.assert_close(defense.radii.tolist(), expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(attack.radii[-1].tolist(), expected, rtol=1e-6, atol=1e-9)
    assert len(attack.radii) == 2, "nothing is tested during warm-up"
    for _ in range(40):
        attack.radii.clear()
        old = list(expected)
        defense(Script(), x, y, attack=attack, step=moment([0, 1, 2, 3], AFTER))
        tested = [old[0] + GAMMA, old[1], max(old[2] - GAMMA, 0.0), 0.0]
        if old[1] + GAMMA < 9 / 255:
            tested[1] = old[1] + GAMMA
        expected = [BETA * new + (1 - BETA) * kept for new, kept in zip(tested, old, strict=True)]
        torch.testing.assert_close(defense.radii.tolist(), expected, rtol=1e-4, atol=1e-7)
        for found, asked in zip(attack.radii, ([r + GAMMA for r in old], old, expected), strict=True):
            torch.testing.assert_close(found.tolist(), asked, rtol=1e-4, atol=1e-7)
    assert expected[0] > EPS + 0.02 and expected[1] == EPS and expected[2] < 0.2 * EPS and expected[3] == 0


def test_a_budget_above_its_boundary_comes_down_and_one_that_was_lost_comes_back() -> None:
    defense, attack = started(2), Boundary([3 / 255, 9.0])
    defense.radii = torch.tensor([4 / 255, EPS])
    x, y = clean([False, True])
    defense(Script(), x, y, attack=attack, step=moment([0, 1], AFTER))
    lowered, lost = 4 / 255 - BETA * GAMMA, (1 - BETA) * EPS
    torch.testing.assert_close(defense.radii.tolist(), [lowered, lost], rtol=1e-6, atol=0)
    defense(Script(), clean([False])[0], y[:1], attack=Boundary([9.0]), step=moment([1], AFTER))
    back = BETA * (lost + GAMMA) + (1 - BETA) * lost
    torch.testing.assert_close(defense.radii.tolist(), [lowered, back], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("warm_up", "epochs", "last"), [(10.0, 110, 9.99), (10 / 110, 22, 1.99), (0.0, 110, None)]
)
def test_the_warm_up_ends_where_it_should(warm_up: float, epochs: int, last: float | None) -> None:
    for epoch, attacks in [(last, 1)] * (last is not None) + [(round((last or 0) + 0.01), 3)]:
        attack = Boundary([9.0])
        x, y = clean([False])
        started(warm_up=warm_up)(Script(), x, y, attack=attack, step=moment([0], epoch, epochs))
        assert len(attack.radii) == attacks


def test_loss_logits_and_gradients_equal_the_plain_loss() -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    twin(x)  # the clean test in training mode moves the running statistics once
    expected, logits = plain_pgd_at(twin, x, y)
    output = started(7)(net, x, y, attack=FakeAttack(), step=moment([*range(7)], 0.0))
    torch.testing.assert_close(output.total, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(output.logits, logits.detach(), rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(net.buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs)
    assert output.adversarial and set(output.terms) == {"ce_adv", "radius"}


def test_in_warm_up_the_attack_is_pgd_of_images_classified_correctly() -> None:
    net, (x, _) = network().eval(), batch(20)
    y = net(x).argmax(1)
    y[::3] = (y[::3] + 1) % 5
    seen: list[Tensor] = []

    def attack(model: nn.Module, x: Tensor, y: Tensor, *, eps: Tensor, generator: ExampleGenerator) -> Tensor:
        seen.append(
            instance_pgd(
                model, x, y, threat=Threat("inf", 0.1), steps=4, step_size=0.01, eps=eps, generator=generator
            )
        )
        return seen[-1]

    step = moment([*range(20)], 0.0)
    started(20, eps=0.1, bn_mode="eval")(net, x, y, attack=attack, step=step)
    whole = pgd(net, x, y, threat=Threat("inf", 0.1), steps=4, step_size=0.05, generator=step.generator)
    right = net(x).argmax(1) == y
    assert 5 < right.sum() < 18 and torch.equal(seen[0][~right], x[~right])
    torch.testing.assert_close(seen[0][right], whole[right], rtol=0, atol=1e-7)


def test_the_two_tests_and_the_attack_draw_different_starts() -> None:
    drawn: list[Tensor] = []

    def attack(model: nn.Module, x: Tensor, y: Tensor, *, generator: ExampleGenerator, **options) -> Tensor:
        drawn.append(generator.child(0).words(4))
        return x

    x, y = clean([False])
    started()(Script(), x, y, attack=attack, step=moment([2], AFTER))
    assert len(drawn) == 3 and not any(torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_the_memory_comes_back_and_goes_on_as_if_nothing_had_been() -> None:
    x, y = clean([False] * 4)
    attack = Boundary([9 / 255, 0.0, 9.0, 3 / 255])
    whole, broken = started(), started()
    for epoch in range(9, 12):
        whole(Script(), x, y, attack=attack, step=moment([0, 1, 2, 3], epoch))
    broken(Script(), x, y, attack=attack, step=moment([0, 1, 2, 3], 9))
    broken.gather(lambda value: value[None])
    saved = broken.state_dict()
    kept = saved["radii"].clone()
    resumed = started()
    assert isinstance(resumed, Remembers)
    resumed.load_state_dict(saved)
    for epoch in (10, 11):
        resumed(Script(), x, y, attack=attack, step=moment([0, 1, 2, 3], epoch))
    assert torch.equal(resumed.radii, whole.radii) and len(set(whole.radii.tolist())) == 3
    broken(Script(), x, y, attack=attack, step=moment([0, 1, 2, 3], 10))
    assert torch.equal(saved["radii"], kept), "what was saved does not change afterwards"


def test_processes_that_share_the_images_remember_what_one_process_would() -> None:
    """Three processes, two rounds; in each every image lies in one process, in another one than before."""
    holds = [9.0, 9 / 255, 0.0, 8.5 / 255, 9.0, 2 / 255]
    alone, shared = started(6), [started(6) for _ in range(3)]
    wrong = [False, False, False, False, True, False]
    x, y = clean(wrong)
    for epoch in range(8, 14):
        alone(Script(), x, y, attack=Boundary(holds), step=moment([*range(6)], epoch))
        for rank, defense in enumerate(shared):
            index = [*range(6)][(rank + epoch) % 3 :: 3]
            part = Boundary([holds[i] for i in index])
            defense(Script(), x[index], y[index], attack=part, step=moment(index, epoch))
        before = [(d.radii, d.touched) for d in shared]

        def stacked(value: Tensor, before=before) -> Tensor:
            return torch.stack([pair[value.dtype == torch.uint8] for pair in before])

        for defense in shared:
            defense.gather(stacked)
            assert torch.equal(defense.state_dict()["radii"], alone.radii)
    assert len(set(alone.radii.tolist())) >= 4


def test_an_attack_that_takes_no_radii_is_refused_by_name() -> None:
    attack = partial(pgd, threat=Threat("inf", 0.1), steps=1, step_size=0.1)
    with pytest.raises(InputError, match=r"came pgd; set attack=instance_pgd"):
        started(7)(network(), *batch(), attack=attack, step=moment([*range(7)], 0.0))


def test_modes_and_flags_are_restored_also_when_a_test_fails() -> None:
    net = network()
    net[1].eval()
    before = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]

    def fails(*args, **kwargs) -> Callable:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        started(7)(net, *batch(), attack=fails, step=moment([*range(7)], AFTER))
    assert ([m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]) == before
