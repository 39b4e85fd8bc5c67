"""Auxiliary heads, drop-path and two groups of parameters in a whole training, against plain loops."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.defenses.contract import TrainStep
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.layers.drop_path import DropPath
from advarch.lit.optimizers import sgd_decay_kernels
from advarch.noise import ExampleGenerator, derive_seed
from tests.layers.test_auxiliary import TwoHeads
from tests.lit.test_train_module import (
    ATTACK,
    SEED,
    fit,
    network,
    plain,
    recipe,
    same,
    train_loader,
)


def two_heads() -> TwoHeads:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TwoHeads(weight=0.4)


def logits_of_both(net: TwoHeads, x: Tensor) -> tuple[Tensor, Tensor]:
    h = torch.tanh(net.norm(net.hidden(x.flatten(1))))
    return net.head(h), net.second(h)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_an_auxiliary_head_adds_its_weighted_cross_entropy_to_the_defense_s_loss(
    tmp_path: Path, mode: str
) -> None:
    plan = recipe(2, defense=partial(pgd_at, bn_mode=mode))
    run = fit(tmp_path, plan, model=two_heads())
    net = two_heads().train()
    optimizer, step, terms = plan.make_optimizer(params=list(net.parameters())), 0, []
    for epoch in range(2):
        loader = train_loader()
        loader.set_epoch(epoch)
        for x, y, index in loader:
            optimizer.param_groups[0]["lr"] = 0.1 * plan.schedule(step / 2, total=2)
            generator = ExampleGenerator(derive_seed(SEED, "attack", step), index)
            net.train(mode == "train")
            x_adv = ATTACK(net, x, y, generator=generator)
            logits, second = logits_of_both(net.train(), x_adv)
            auxiliary = 0.4 * F.cross_entropy(second, y)
            optimizer.zero_grad()
            (F.cross_entropy(logits, y) + auxiliary).backward()
            optimizer.step()
            step += 1
            terms.append(auxiliary.item())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0, atol=1e-6)
    assert run.model.runs == 4, "once a step, never under attack nor in validation"
    found = [float(row["train_loss_auxiliary"]) for row in run.csv()]
    assert found == pytest.approx([sum(terms[:2]) / 2, sum(terms[2:]) / 2], rel=1e-4)


def test_a_defense_of_two_passes_has_the_mean_of_both_heads(tmp_path: Path) -> None:
    plan = recipe(1, defense=trades, schedule=lambda t, total: 0.0)
    run = fit(tmp_path, plan, model=two_heads())
    assert run.model.runs == 2 * 2
    net, found = two_heads().train(), []
    for step, (x, y, index) in enumerate(train_loader()):
        seen: list[Tensor] = []
        hook = net.hidden.register_forward_hook(lambda module, inputs, h, seen=seen: seen.append(inputs[0]))
        generator = ExampleGenerator(derive_seed(SEED, "attack", step), index)
        trades(net, x, y, attack=ATTACK, step=TrainStep(index, step / 2, 1, generator))
        hook.remove()
        twin = copy.deepcopy(net)  # whose statistics may move
        clean, adversarial = (logits_of_both(twin, passed)[1] for passed in seen[-2:])
        found.append(0.4 * (F.cross_entropy(clean, y) + F.cross_entropy(adversarial, y)).item() / 2)
    assert float(run.csv()[0]["train_loss_auxiliary"]) == pytest.approx(sum(found) / 2, rel=1e-4)


def dropping() -> nn.Module:
    net = network()
    return nn.Sequential(*list(net)[:3], DropPath(0.6), *list(net)[4:])


def test_drop_path_s_probability_follows_the_epoch_also_after_a_stop(tmp_path: Path) -> None:
    seen: list[float] = []

    def defense(model: nn.Module, x: Tensor, y: Tensor, *, stop: int | None = None, **options):
        if len(seen) == stop:
            raise KeyError("stopped")
        seen.append(round(float(model[3].probability), 6))
        return pgd_at(model, x, y, **options)

    whole = fit(tmp_path, recipe(3, defense=defense), model=dropping())
    assert seen == [0.0, 0.0, 0.2, 0.2, 0.4, 0.4]
    (folder := tmp_path / "stopped").mkdir()
    seen.clear()
    with pytest.raises(KeyError):
        fit(folder, recipe(3, defense=partial(defense, stop=3)), model=dropping())
    seen.clear()
    resumed = fit(folder, recipe(3, defense=defense), model=dropping(), resume=True)
    assert seen == [0.2, 0.2, 0.4, 0.4]
    assert same(resumed.model.state_dict(), whole.model.state_dict())


def test_clipping_and_schedule_hold_for_both_groups_of_parameters(tmp_path: Path) -> None:
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    run = fit(tmp_path, recipe(2, make_optimizer=partial(sgd_decay_kernels, **options)), grad_clip=0.5)

    def one_group(params: list[Tensor]) -> torch.optim.SGD:
        """The same by hand: decay added to the gradients of kernels, whose clipping it must not change."""

        class Decaying(torch.optim.SGD):
            def step(self, *args, **kwargs):
                for parameter in params:
                    if parameter.dim() > 1:
                        parameter.grad = parameter.grad + 0.01 * parameter.detach()
                return super().step(*args, **kwargs)

        return Decaying(params, lr=0.1, momentum=0.9)

    model, _ = plain(recipe(2, make_optimizer=one_group), clip=0.5)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0, atol=1e-6)
    assert len(run.trainer.optimizers[0].param_groups) == 2
