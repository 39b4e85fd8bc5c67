"""BIM and PGD against two libraries, bit for bit."""

import foolbox
import pytest
import torch
import torchattacks

from advarch.attacks.objectives import cross_entropy
from advarch.attacks.pgd import pgd
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.attacks.small_nets import images, predictions, small_net

EPS = 8 / 255
THREAT = Threat("inf", EPS)


@pytest.mark.parametrize(("steps", "step_size"), [(10, 1 / 255), (20, 0.8 / 255), (7, 2 / 255)])
def test_pgd_without_random_start_equals_torchattacks_and_foolbox(steps: int, step_size: float) -> None:
    net, x = small_net(), images(16)
    y = predictions(net, x)
    ours = pgd(net, x, y, threat=THREAT, steps=steps, step_size=step_size, start=None)
    settings = {"eps": EPS, "alpha": step_size, "steps": steps}
    assert torch.equal(ours, torchattacks.PGD(net, random_start=False, **settings)(x, y))
    # Its BIM finds the ball by other sums, which round differently.
    assert torch.allclose(ours, torchattacks.BIM(net, **settings)(x, y), rtol=0, atol=1e-6)
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=step_size, steps=steps)
    assert torch.equal(ours, attack(fmodel, x, y, epsilons=EPS)[1])


def test_l2_pgd_equals_foolbox_up_to_rounding() -> None:
    net, x = small_net(), images(16)
    y = predictions(net, x)
    ours = pgd(net, x, y, threat=Threat(2, 0.5), steps=10, step_size=0.1, start=None)
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.L2BasicIterativeAttack(abs_stepsize=0.1, steps=10)
    assert torch.allclose(ours, attack(fmodel, x, y, epsilons=0.5)[1], atol=1e-5)


def test_stopping_on_success_fools_at_least_as_many() -> None:
    net, x = small_net(), images(32)
    y = predictions(net, x)
    settings = {"threat": Threat("inf", 2 / 255), "steps": 6, "step_size": 1 / 255}
    generator = ExampleGenerator(0, torch.arange(32))
    full = predictions(net, pgd(net, x, y, generator=generator, **settings)) != y
    stopped = predictions(net, pgd(net, x, y, generator=generator, stop_on_success=True, **settings)) != y
    assert full.any() and not full.all()
    assert (stopped >= full).all()


def test_restarts_never_lose_what_one_run_found() -> None:
    net, x = small_net(), images(32)
    y = predictions(net, x)
    settings = {"threat": Threat("inf", 2 / 255), "steps": 2, "step_size": 1 / 255}
    gains = []
    for restarts in (1, 3):
        generator = ExampleGenerator(0, torch.arange(32))
        x_adv = pgd(net, x, y, restarts=restarts, generator=generator, **settings)
        fooled = predictions(net, x_adv) != y
        with torch.no_grad():
            gains.append(torch.where(fooled, torch.inf, cross_entropy(net(x_adv), y)))
    assert (gains[1] >= gains[0]).all() and (gains[1] > gains[0]).any()
