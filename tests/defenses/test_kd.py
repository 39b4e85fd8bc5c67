"""kd against its loss written plainly, and its limits."""

import copy

import pytest
import torch
from torch import Tensor, nn

from advarch.defenses.kd import kd
from advarch.defenses.pgd_at import pgd_at
from tests.defenses.test_losses import (
    FakeAttack,
    batch,
    cross_entropy,
    divergence,
    gradients,
    network,
)


def teachers(classes: int = 5) -> dict:
    """Two that look at different pixels, for images and classes of any number."""
    return {
        "standard": lambda x: 4.0 * x.flatten(1)[:, :classes],
        "robust": lambda x: 3.0 * x.flatten(1)[:, -classes:].square(),
    }


def plain_kd(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    weights: tuple[float, float, float] = (0.3, 0.1, 0.6),
    t: float = 2.0,
) -> tuple[Tensor, Tensor]:
    x_adv = FakeAttack.points(x)
    z = net(x_adv)
    standard, robust = teachers(z.shape[1]).values()
    loss = weights[0] * cross_entropy(z, y)
    for weight, teacher in zip(weights[1:], (standard, robust), strict=True):
        loss = loss + weight * t * t / len(y) * divergence(teacher(x_adv) / t, z / t).sum()
    return loss, z


PLAIN = {"kd": plain_kd}


@pytest.mark.parametrize(
    ("weights", "temperature"), [((0.3, 0.1, 0.6), 2.0), ((1.0, 0.0, 0.0), 2.0), ((0.0, 2.0, 0.5), 1.0), ((0.2, 0.3, 0.0), 7.0)]
)  # fmt: skip
def test_value_logits_and_gradients_equal_the_plain_loss(weights: tuple, temperature: float) -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    expected, logits = plain_kd(twin, x, y, weights, temperature)
    names = ("ce_weight", "standard_weight", "robust_weight")
    output = kd(
        net, x, y, attack=FakeAttack(), teachers=teachers(), temperature=temperature, **dict(zip(names, weights, strict=True))
    )  # fmt: skip
    torch.testing.assert_close(output.total, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(output.logits, logits.detach(), rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients(output.total, net), gradients(expected, twin), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
        assert theirs.abs().sum() > 0
    parts = dict(zip(("ce_adv", "kd_standard", "kd_robust"), weights, strict=True))
    whole = sum(weight * output.terms[name] for name, weight in parts.items())
    torch.testing.assert_close(whole, output.total.detach(), rtol=1e-9, atol=1e-9)
    assert output.adversarial and all(output.terms[name] > 0 for name in parts)


def test_without_teaching_it_is_pgd_at_to_the_bit() -> None:
    (x, y), net = batch(), network()
    alone = pgd_at(copy.deepcopy(net), x, y, attack=FakeAttack())
    taught = kd(
        net,
        x,
        y,
        attack=FakeAttack(),
        teachers=teachers(),
        ce_weight=1.0,
        standard_weight=0.0,
        robust_weight=0.0,
    )
    assert torch.equal(taught.total, alone.total)


def test_a_student_that_says_what_its_teachers_say_learns_the_labels_alone() -> None:
    net, (x, y) = network().eval(), batch()
    same = copy.deepcopy(net)
    output = kd(net, x, y, attack=FakeAttack(), teachers={"standard": same, "robust": same})
    torch.testing.assert_close(output.total.detach(), 0.3 * output.terms["ce_adv"], rtol=1e-9, atol=1e-12)
    taught = gradients(output.total, net)
    labels = gradients(0.3 * cross_entropy(net(FakeAttack.points(x)), y), net)
    for mine, theirs in zip(taught, labels, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_the_authors_cross_entropy_with_softened_labels() -> None:
    net, (x, y) = network(), batch()
    twin = copy.deepcopy(net)
    output = kd(
        net,
        x,
        y,
        attack=FakeAttack(),
        teachers=teachers(),
        ce_weight=0.0,
        standard_weight=0.0,
        robust_weight=1.0,
    )
    x_adv = FakeAttack.points(x)
    p, log_q = (teachers()["robust"](x_adv) / 2).softmax(1), (twin(x_adv) / 2).log_softmax(1)
    theirs = -4 * (p * log_q).sum(1).mean()
    entropy = -4 * (p * p.log()).sum(1).mean()
    torch.testing.assert_close(output.total, theirs - entropy, rtol=1e-9, atol=1e-9)
    for a, b in zip(gradients(output.total, net), gradients(theirs, twin), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_teachers_see_the_adversarial_images_once_and_without_a_graph() -> None:
    seen: dict[str, list] = {"standard": [], "robust": []}

    def listening(name: str):
        def teacher(x: Tensor) -> Tensor:
            seen[name].append((x, torch.is_grad_enabled()))
            return teachers()[name](x)

        return teacher

    x, y = batch()
    kd(network(), x, y, attack=FakeAttack(), teachers={name: listening(name) for name in seen})
    for calls in seen.values():
        ((images, graph),) = calls
        assert torch.equal(images, FakeAttack.points(x)) and not graph
