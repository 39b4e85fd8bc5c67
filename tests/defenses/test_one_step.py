"""Fast adversarial training and N-FGSM against their algorithms written plainly, in double precision."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.defenses.contract import TrainStep, runs_attack
from advarch.defenses.fast import fast
from advarch.defenses.n_fgsm import n_fgsm
from advarch.defenses.pgd_at import pgd_at
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.defenses.test_losses import (
    FakeAttack,
    batch,
    close,
    cross_entropy,
    gradients,
    network,
)

EPS = 0.2  # of digits, which the contracts compose with


def drawn(x: Tensor, seed: int = 0) -> Tensor:
    """What one stream for the whole batch draws: uniform in [-1, 1)."""
    return 2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.dtype) - 1


def plain_images(
    net: nn.Module, x: Tensor, y: Tensor, *, noise: float, length: float, ball: float | None
) -> Tensor:
    """x_0 = x + noise U(-1, 1) in the box; one step; clipped to the ball where there is one; the box again."""
    start = (x + noise * drawn(x)).clamp(0, 1).requires_grad_()
    # The crafting must not count: the loss that follows is taken on the same statistics.
    (gradient,) = torch.autograd.grad(cross_entropy(copy.deepcopy(net)(start), y), start)
    delta = (start + length * gradient.sign() - x).detach()
    delta = delta if ball is None else delta.clamp(-ball, ball)
    return (x + delta).clamp(0, 1)


def plain_fast(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    z = net(plain_images(net, x, y, noise=EPS, length=1.25 * EPS, ball=EPS))
    return cross_entropy(z, y), z


def plain_n_fgsm(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    z = net(plain_images(net, x, y, noise=2 * EPS, length=EPS, ball=None))
    return cross_entropy(z, y), z


PLAIN = {"fast": plain_fast, "n_fgsm": plain_n_fgsm}
LINF = Threat("inf", EPS)
ONE_STEP: dict[str, Callable] = {
    "fast": partial(fast, threat=LINF, step_size=1.25 * EPS),
    "n_fgsm": partial(n_fgsm, threat=LINF, step_size=EPS),
}
each = pytest.mark.parametrize("name", ONE_STEP)


def seeded(seed: int = 0) -> TrainStep:
    return TrainStep(generator=torch.Generator().manual_seed(seed))


@each
def test_value_logits_and_gradients_equal_the_plain_algorithm(name: str) -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    output = ONE_STEP[name](net, x, y, step=seeded())
    expected, logits = PLAIN[name](twin, x, y)
    close(output.total, expected)
    close(output.logits, logits.detach())
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        close(mine, theirs)
        assert theirs.abs().sum() > 0
    assert output.adversarial and torch.equal(output.terms["ce_adv"], output.total.detach())


def test_fast_is_pgd_at_with_one_step_from_a_uniform_start() -> None:
    (x, y), attack = batch(), partial(pgd, threat=LINF, steps=1, step_size=0.25)
    one = fast(network(), x, y, threat=LINF, step_size=0.25, step=seeded())
    other = pgd_at(network(), x, y, attack=attack, bn_mode="train", step=seeded())
    assert torch.equal(one.total, other.total) and torch.equal(one.logits, other.logits)


@each
def test_the_attack_of_the_config_is_never_run(name: str) -> None:
    attack = FakeAttack()
    with_it = ONE_STEP[name](network(), *batch(), attack=attack, step=seeded())
    assert attack.calls == [] and not runs_attack(ONE_STEP[name]) and runs_attack(pgd_at)
    assert torch.equal(with_it.total, ONE_STEP[name](network(), *batch(), step=seeded()).total)


class Seen(nn.Module):
    """Remembers the images it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.images: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.images.append(x.detach().clone())
        return self.inner(x)


@pytest.mark.parametrize("norm", ["inf", 2])
def test_fast_s_images_lie_in_the_ball_and_n_fgsm_s_reach_beyond_it(norm) -> None:
    x = 0.4 + 0.2 * batch(20)[0]
    y = batch(20)[1]
    threat, far = Threat(norm, 0.02), {}
    for name, defense in (
        ("fast", partial(fast, step_size=0.025)),
        ("n_fgsm", partial(n_fgsm, step_size=0.02)),
    ):
        net = Seen()
        defense(net, x, y, threat=threat, step=TrainStep(generator=ExampleGenerator(0, torch.arange(20))))
        start, end = net.images
        far[name] = threat.distance(start, x), threat.distance(end, x)
        length = threat.distance(end, start)
        assert length.max() <= {"fast": 0.025, "n_fgsm": 0.02}[name] + 1e-12
        if name == "n_fgsm":
            close(length, torch.full_like(length, 0.02))
    assert far["fast"][0].max() <= 0.02 + 1e-12 and far["fast"][1].max() <= 0.02 + 1e-12
    assert 0.02 < far["n_fgsm"][0].max() <= 0.04 + 1e-12
    assert 0.04 < far["n_fgsm"][1].max() <= 0.06 + 1e-12


def test_n_fgsm_s_images_stay_images() -> None:
    net = Seen()
    n_fgsm(net, *batch(), threat=Threat("inf", 0.7), step_size=0.7, step=seeded())
    assert all(0 <= images.min() and images.max() <= 1 for images in net.images)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        n_fgsm(net, 255 * batch()[0], batch()[1], threat=LINF, step_size=0.1)


def test_n_fgsm_without_noise_is_a_step_from_the_image_itself() -> None:
    net, (x, y) = Seen(), batch()
    n_fgsm(net, x, y, threat=LINF, noise=0.0, step_size=0.1, step=seeded())
    assert torch.equal(net.images[0], x)


@pytest.mark.parametrize(("mode", "moved"), [("train", 2), ("eval", 1), ("train_frozen_stats", 1)])
@each
def test_running_statistics_are_moved_by_both_passes_only_in_mode_train(
    name: str, mode: str, moved: int
) -> None:
    net = network()
    ONE_STEP[name](net, *batch(), bn_mode=mode, step=seeded())
    assert int(net[1].num_batches_tracked) == moved


@each
def test_an_image_s_noise_is_its_own_whatever_the_batch(name: str) -> None:
    net, (x, y) = network().eval(), batch()
    whole = ONE_STEP[name](
        net, x, y, bn_mode="eval", step=TrainStep(generator=ExampleGenerator(0, torch.arange(7)))
    )
    part = torch.tensor([5, 2])
    alone = ONE_STEP[name](
        net, x[part], y[part], bn_mode="eval", step=TrainStep(generator=ExampleGenerator(0, part))
    )
    close(alone.logits, whole.logits[part])
