"""The copy that is attacked in a network's place: its equal in logits and gradients, always of the weights of the moment."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.agreement import sign_agreement
from advarch.attacks.attack_copy import AttackCopy
from advarch.attacks.instance_pgd import instance_pgd
from advarch.attacks.objectives import cross_entropy
from advarch.attacks.pgd import pgd
from advarch.backbones.cell_net import CellNet
from advarch.backbones.wide_resnet import WideResNet
from advarch.defenses.awp import AWP
from advarch.defenses.contract import TrainStep
from advarch.defenses.iaat import IAAT
from advarch.defenses.mart import mart
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.layers.auxiliary import auxiliary_loss, collecting
from advarch.layers.cell_operations import FactorizedReduce, operation
from advarch.layers.frozen import FrozenDepthwise, FrozenNorm, FrozenReduction
from advarch.layers.normalisation import Normalise
from advarch.layers.winograd import FrozenWide
from advarch.lit.attacked import Attacked
from advarch.lit.module import TrainModule
from advarch.lit.trainer import make_trainer
from advarch.modes import attack_mode, attacked_as
from advarch.threat import Threat, input_gradient
from tests.backbones.lived_in import lived_in
from tests.contracts.test_contracts import backbone
from tests.lit import ranks_driver
from tests.lit.test_mid_epoch import Told, assert_same
from tests.lit.test_train_module import ATTACK, fit, network, recipe, same

FAMILIES = {
    "wide_resnet": 3,
    "preact_resnet18": 4,
    "resnet18": 12,
    "resnext29_2x64d": 13,
    "vgg11": 8,
    "densenet121": 4,
    "mobilenet_v2": 55,
    "ds_net": 22,
    "ark_net": 5,
    "ie_wrn": 0,
    "darts_v2": 18,
    "robnet_free": 78,
    "dilated": 93,
    "timm": 20,
}
"""Backbones, and how many of their norms have nothing before them but a convolution that is called once, or two of a
`FactorizedReduce`."""

Y = torch.arange(4)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*(shape or (4, 3, 16, 16)), generator=torch.Generator().manual_seed(0), dtype=dtype)


def small(**options) -> WideResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = WideResNet(classes=5, in_channels=3, depths=[1, 1, 0], widths=[0.5, 0.5, 1], **options)
    return lived_in(net).double()


def equal(mine: nn.Module, theirs: nn.Module, x: Tensor, tolerance: float) -> None:
    """The same logits and input gradients, within a share of the largest of each."""
    for found, expected in zip(
        input_gradient(mine, x, Y, cross_entropy), input_gradient(theirs, x, Y, cross_entropy), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_and_gradients_of_every_family_are_the_network_s(name: str) -> None:
    net = lived_in(backbone(name)).double()
    with attack_mode(net):
        made = AttackCopy(net)
        assert made.folded == FAMILIES[name]
        if not made.held:
            return
        equal(made.refresh(), net, images(), 1e-10)
    single = net.float()
    with attack_mode(single):
        equal(AttackCopy(single).refresh(), single, images(dtype=torch.float32), 1e-4)


def test_a_convolution_with_bias_and_a_norm_without_scale_are_folded_by_the_formula() -> None:
    net = lived_in(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 2, 1))
    ).double()
    convolution, norm = net[0], net[1]
    with attack_mode(net):
        made = AttackCopy(net)
        made.refresh()
        deviation = (norm.running_var + norm.eps).sqrt()
        own = made.held[0].own
    torch.testing.assert_close(
        own.weight, convolution.weight / deviation[:, None, None, None], rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        own.bias, (convolution.bias - norm.running_mean) / deviation, rtol=1e-12, atol=1e-15
    )
    assert not own.weight.requires_grad and not own.bias.requires_grad


class Shared(nn.Module):
    """One convolution read by two, one called twice, and a norm that has no statistics: nothing to fold but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.twice, self.own, self.last = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3, track_running_stats=n != 1) for n in range(4))
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        read = self.read(x)
        y = self.norms[0](read) + read
        y = self.norms[1](self.own(self.twice(y)))
        return self.head(self.norms[3](self.last(self.norms[2](self.twice(y)))).mean((2, 3)))


def test_only_what_is_read_once_and_called_once_is_folded() -> None:
    net = lived_in_except_one(Shared()).double()
    with attack_mode(net):
        made = AttackCopy(net)
        assert [each.layer for each in made.held if each.norm is net.norms[3]] == [net.last]
        # The norms with statistics stand for themselves.
        assert [each.norm for each in made.held[1:]] == [net.norms[0], net.norms[2]]
        assert all(isinstance(each.own, FrozenNorm) and not each.own.relu for each in made.held[1:])
        equal(made.refresh(), net, images(), 1e-10)


def lived_in_except_one(net: Shared) -> nn.Module:
    kept, net.norms[1] = net.norms[1], nn.Identity()
    lived_in(net)
    net.norms[1] = kept
    return net


def test_after_an_optimizer_step_the_copy_follows_weights_and_statistics() -> None:
    net, x = small(), images()
    attacked = Attacked(net, lambda words: None)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    with attack_mode(net):
        before = attacked.now(x)(x)
    for _ in range(2):
        cross_entropy(net(x), Y).sum().backward()
        optimizer.step()
    with attack_mode(net):
        equal(attacked.now(x), net, x, 1e-10)
        assert (attacked.now(x)(x) - before).abs().max() > 0.1


@pytest.mark.parametrize("prefix", [Normalise((0.5, 0.4, 0.3), (0.2, 0.2, 0.3)), nn.Identity()])
def test_the_network_is_left_as_it_was(prefix: nn.Module) -> None:
    net = nn.Sequential(prefix, small())
    before = [(name, module.training, id(module)) for name, module in net.named_modules()]
    state = copy.deepcopy(net.state_dict())
    with attack_mode(net):
        made = AttackCopy(net)
        ATTACK(made.refresh(), images(), Y)
    assert [(name, module.training, id(module)) for name, module in net.named_modules()] == before
    assert same(net.state_dict(), state) and all(p.requires_grad and p.grad is None for p in net.parameters())


class Reading(nn.Module):
    """Five activations read one map; two of them are one function, and the last writes into what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = stem()
        acts = (nn.ReLU(), nn.ReLU(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2), nn.ReLU(inplace=True))
        self.acts = nn.ModuleList(acts)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        first, second, leaky, leakier, inside = self.acts
        return (first(x) - leaky(x) + 3 * second(x) * leakier(x) + inside(1 * x)).flatten(1)


def test_an_activation_of_one_map_is_computed_once() -> None:
    net = lived_in(Reading()).double()
    with attack_mode(net):
        made = AttackCopy(net)
        asked = [str(node.target) for node in made.graph.graph.nodes if node.op == "call_module"]
        assert asked == ["held_1", "0.acts.0", "0.acts.2", "0.acts.3", "0.acts.4"]
        equal(made.refresh(), net, images(), 1e-10)


def test_the_slow_layers_of_a_cell_have_faster_forms_in_the_copy() -> None:
    net = lived_in(CellNet(classes=5, in_channels=3, genotype="racl_v1", cells=3, channels=4)).double()
    with attack_mode(net):
        made = AttackCopy(net)
        count = Counter(type(each.own) for each in made.held)
        # Two dilated convolutions in each reduction cell; after the first of those the older input is halved.
        assert (count[FrozenDepthwise], count[FrozenReduction]) == (2 * 2, 1)
        equal(made.refresh(), net, images(4, 3, 17, 14), 1e-10)


class Normed(nn.Module):
    """Norms that no convolution precedes: behind them a ReLU, one that writes in place, a line that does, two readers, a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(3, affine=n != 1) for n in range(5))
        self.acts = nn.ModuleList((nn.ReLU(), nn.ReLU(inplace=True), nn.SiLU(), nn.ReLU(), nn.ReLU()))
        self.acts[4].register_forward_hook(lambda module, given, output: 2 * output)
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = [norm(x) for norm in self.norms]
        maps[2].add_(1)
        parts = [act(h) for act, h in zip(self.acts, maps, strict=True)]
        return self.head((sum(parts) + maps[3]).mean((2, 3)))


def test_norms_that_stand_alone_are_scales_with_the_relu_that_alone_reads_them() -> None:
    torch.manual_seed(0)
    net = lived_in(Normed()).double()
    with attack_mode(net):
        made = AttackCopy(net)
        assert made.folded == 0 and made.faster == 5
        assert [each.own.relu for each in made.held] == [True, True, False, False, False]
        equal(made.refresh(), net, images(), 1e-10)
        net.norms[1].running_mean += 0.2
        equal(made.refresh(), net, images(), 1e-10)


class Called(nn.Module):
    """A norm that is called by keyword, and one whose forward pass is an instance's own, beside one that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.named, self.own, self.plain = (nn.BatchNorm2d(3) for _ in range(3))
        self.own.forward = lambda x: 2 * x
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.named(input=x) + self.own(x) + self.plain(x)).mean((2, 3)))


def test_what_is_called_otherwise_stays_as_it_is_within_the_copy() -> None:
    net = lived_in(Called()).double()
    with attack_mode(net):
        made = AttackCopy(net)
        assert [each.norm for each in made.held] == [net.plain]
        equal(made.refresh(), net, images(), 1e-10)


class Restless(nn.Module):
    """Works in place in lines whose results nobody reads; a part of it can't be followed to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.part, self.head = Counting(), nn.Linear(4 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.first(x))
        h.add_(0.5)
        return self.head(self.part(h).flatten(1))


class Counting(nn.Module):
    """Halves in place, and asks for a number."""

    def forward(self, h: Tensor) -> Tensor:
        h.mul_(0.5)
        return h + 1 if len(h) > 1 else h


def test_lines_that_work_in_place_are_in_the_copy_and_just_once() -> None:
    torch.manual_seed(0)
    net = lived_in(Restless()).double()
    with attack_mode(net):
        made = AttackCopy(net)
        asked = [str(node.target) for node in made.graph.graph.nodes if node.op.startswith("call")]
        assert asked.count("add_") == 1 and "mul_" not in asked and "0.part" in asked
        equal(made.refresh(), net, images(4, 3, 8, 8), 1e-10)


def test_a_hook_within_a_halving_layer_is_called_as_ever() -> None:
    net = edges()
    net[2].odd.register_forward_hook(lambda module, given, output: 2 * output)
    with attack_mode(net):
        made = AttackCopy(net)
        assert not any(isinstance(each.own, FrozenReduction) for each in made.held)
        equal(made.refresh(), net, images(4, 3, 16, 16), 1e-10)


def broad() -> nn.Module:
    """Two wide convolutions, one with a normalisation behind it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = [nn.Conv2d(3, 96, 3, padding=1, bias=False), nn.BatchNorm2d(96), nn.ReLU()]
        second = [nn.Conv2d(96, 96, 3, padding=1, bias=False), nn.BatchNorm2d(96), nn.SiLU()]
        third = [nn.Conv2d(96, 96, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 5)]
        return lived_in(nn.Sequential(*first, *second, *third)).double()


def test_wide_convolutions_have_winograd_s_form_in_the_copy() -> None:
    net = broad()
    with attack_mode(net):
        made = AttackCopy(net)
        assert [each.norm is not None for each in made.held if isinstance(each.own, FrozenWide)] == [
            True,
            False,
        ]
        equal(made.refresh(), net, images(4, 3, 8, 7), 1e-10)
        with torch.no_grad():
            net[3].weight.mul_(0.5)
            net[6].weight.add_(0.01)
        equal(made.refresh(), net, images(4, 3, 8, 7), 1e-10)
    with attack_mode(net), torch.autocast("cpu", torch.bfloat16):
        assert not any(isinstance(each.own, FrozenWide) for each in AttackCopy(net, torch.bfloat16).held)


# One training step -------------------------------------------------------------------------------------------------------


def iaat() -> IAAT:
    made = IAAT(eps=0.1, gamma=0.02, warm_up=0.0, beta=0.5, bn_mode="eval")
    made.start(images=4, device=torch.device("cpu"), rank=0, world_size=1)
    return made


DEFENSES: dict[str, Callable] = {
    "pgd_at": lambda: pgd_at,
    "trades": lambda: trades,
    "mart": lambda: mart,
    "awp": lambda: AWP(pgd_at, 0.01),
    "trades-awp": lambda: AWP(trades, 0.01),
    "iaat": iaat,
}


def step(
    defense: Callable, *, fast: bool, mode: dict, make: Callable[[], nn.Module] = small
) -> tuple[nn.Module, Tensor, list[nn.Module]]:
    """A network after two training steps, the last adversarial images, and what was attacked."""
    net, made, asked = make(), [], []
    craft = partial(
        instance_pgd if isinstance(defense, IAAT) else pgd, threat=Threat("inf", 0.1), steps=3, step_size=0.04
    )

    def attack(model: nn.Module, x: Tensor, y: Tensor, eps: Tensor | None = None, **options) -> Tensor:
        asked.append(model)
        statistics = [buffer.clone() for buffer in net.buffers()]
        made.append(craft(model, x, y, **options, **({} if eps is None else {"eps": eps})))
        assert all(torch.equal(*pair) for pair in zip(net.buffers(), statistics, strict=True))
        return made[-1]

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    attacked = Attacked(net, lambda words: None)
    for seed in range(2):
        optimizer.zero_grad()
        moment = TrainStep(index=torch.arange(4), generator=torch.Generator().manual_seed(seed))
        with attacked_as(net if fast else nn.Identity(), partial(attacked.now, images())):
            output = defense(net, images(), Y, attack=attack, step=moment, **mode)
        output.total.backward()
        if isinstance(defense, AWP):
            defense.after_backward(net)
        optimizer.step()
    return net, made[-1], asked


@pytest.mark.parametrize("name", DEFENSES)
def test_training_steps_with_the_copy_are_those_without(name: str) -> None:
    net, x_adv, asked = step(DEFENSES[name](), fast=True, mode={})
    plain, expected, of_plain = step(DEFENSES[name](), fast=False, mode={})
    assert all(isinstance(each, torch.fx.GraphModule) for each in asked) and set(of_plain) == {plain}
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-10)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(net.state_dict()[key], value, rtol=0, atol=1e-10)
    assert not same(plain.state_dict(), small().state_dict())


def edges() -> nn.Module:
    """A row of what has a faster form: dilated at stride 2, separable, halved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = [operation("dil_conv_3x3", 3, 2), operation("sep_conv_5x5", 3, 1)]
        halved = FactorizedReduce(3, 6, affine=True, act="silu")
        return lived_in(nn.Sequential(*made, halved, nn.Flatten(), nn.Linear(96, 5))).double()


FORMS = [(edges, ["FrozenReduction()", "FrozenDepthwise()"]), (broad, ["FrozenWide()", "FrozenWide()"])]


@pytest.mark.parametrize(("make", "forms"), FORMS, ids=["cells", "wide"])
def test_training_steps_with_faster_forms_are_those_without(
    make: Callable[[], nn.Module], forms: list[str]
) -> None:
    net, x_adv, asked = step(pgd_at, fast=True, mode={}, make=make)
    plain, expected, _ = step(pgd_at, fast=False, mode={}, make=make)
    assert all(str(asked[0]).count(form) == forms.count(form) for form in forms)
    torch.testing.assert_close(x_adv, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(net.state_dict(), plain.state_dict(), rtol=0, atol=1e-8)
    assert not same(plain.state_dict(), make().state_dict())


def test_with_the_batch_s_statistics_the_network_itself_is_attacked() -> None:
    mode = {"bn_mode": "train_frozen_stats"}
    net, x_adv, asked = step(pgd_at, fast=True, mode=mode)
    plain, expected, _ = step(pgd_at, fast=False, mode=mode)
    assert set(asked) == {net}
    assert torch.equal(x_adv, expected) and same(net.state_dict(), plain.state_dict())


@pytest.mark.parametrize(("defense", "of_copy", "of_network"), [(pgd_at, 3, 1), (trades, 4, 2), (mart, 3, 2)])
def test_every_clean_logit_is_computed_once(defense: Callable, of_copy: int, of_network: int) -> None:
    # TRADES' reference in eval mode and the clean logits of its loss in training mode are different numbers.
    net, passes = small(), {"copy": 0, "network": 0}

    def count(who: str, *_: object) -> None:
        passes[who] += 1

    attacked = Attacked(net, lambda words: None)
    with attack_mode(net):
        attacked.now(images()).register_forward_hook(partial(count, "copy"))
    net.register_forward_hook(partial(count, "network"))
    with attacked_as(net, partial(attacked.now, images())):
        defense(net, images(), Y, attack=partial(pgd, threat=Threat("inf", 0.1), steps=3, step_size=0.04))
    assert passes == {"copy": of_copy, "network": of_network}


def test_an_auxiliary_head_trains_and_is_not_attacked() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CellNet(
            classes=5, in_channels=3, genotype="darts_v2", cells=3, channels=4, auxiliary=0.4
        ).double()
    attacked = Attacked(net, lambda words: None)
    x = images(4, 3, 32, 32)
    with collecting() as heads, attacked_as(net, partial(attacked.now, x)):
        pgd_at(net, x, Y, attack=ATTACK)
    assert len(heads) == 1 and auxiliary_loss(heads, Y) > 0 and attacked.copy is not None
    with attack_mode(net):
        equal(attacked.now(x), net, x, 1e-10)


# What can't be copied ----------------------------------------------------------------------------------------------------


class Branching(nn.Module):
    """Looks at a number: it can't be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x if x.mean() > 0.4 else -x)


class Growing(nn.Module):
    """A forward pass that depends on a number which the training moves."""

    strength = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.strength * x.flatten(1)[:, :5]


def stem() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))


def test_a_module_that_can_t_be_followed_stays_as_it_is_within_the_copy() -> None:
    net = lived_in(nn.Sequential(stem(), Branching(), nn.Flatten(), nn.Linear(3 * 144, 5))).double()
    with attack_mode(net):
        made = AttackCopy(net)
        assert made.folded == 1
        for x in (images(), 0.1 * images()):
            equal(made.refresh(), net, x, 1e-10)


def test_hooks_are_called_under_attack_as_ever() -> None:
    net = lived_in(nn.Sequential(stem(), stem(), nn.Flatten(), nn.Linear(3 * 144, 5))).double()
    net[1].register_forward_hook(lambda module, given, output: 2 * output)
    with attack_mode(net):
        made = AttackCopy(net)
        assert made.folded == 1
        equal(made.refresh(), net, images(), 1e-10)


def test_a_network_that_changes_what_it_does_is_attacked_itself_from_the_next_epoch_on() -> None:
    net, said = nn.Sequential(stem(), Growing()).double(), []
    attacked = Attacked(net, said.append)
    with attack_mode(net):
        assert attacked.now(images()) is not net
        net[1].strength, attacked.proven = 2.0, False
        assert attacked.now(images()) is net and attacked.now(images()) is net
    assert said == [
        "a copy of the network is attacked: 1 of 1 batch normalisations folded",
        "the network itself is attacked, because a copy of its forward pass gave other logits",
    ]


def test_where_nothing_is_to_be_folded_or_cast_the_network_itself_is_attacked() -> None:
    net, said = nn.Sequential(nn.GroupNorm(1, 3), nn.Conv2d(3, 5, 16), nn.Flatten()).double(), []
    with attack_mode(net):
        assert Attacked(net, said.append).now(images()) is net
    assert said == ["the network itself is attacked: 0 of 0 batch normalisations folded, no weight to cast"]


# Half precision ----------------------------------------------------------------------------------------------------------


def test_under_autocast_weights_cast_once_give_the_same_bits() -> None:
    net, x = (
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 5)),
        images().float(),
    )
    with attack_mode(net), torch.autocast("cpu", torch.bfloat16):
        made = AttackCopy(net, torch.bfloat16)
        assert [each.own.weight.dtype for each in made.held] == [torch.bfloat16] * 2
        for found, expected in zip(
            input_gradient(made.refresh(), x, Y, cross_entropy),
            input_gradient(net, x, Y, cross_entropy),
            strict=True,
        ):
            assert torch.equal(found, expected) and found.any()


def test_in_bf16_most_signs_of_the_gradient_are_those_of_float64() -> None:
    net = small().float()
    found = sign_agreement(net, images(dtype=torch.float32), Y, torch.bfloat16)
    assert 0.85 < found < 1.0
    assert all(p.dtype == torch.float32 for p in net.parameters()) and net.training


def test_in_bf16_training_the_copy_s_weights_are_bf16_and_the_network_s_are_not(tmp_path: Path) -> None:
    asked = []

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        asked.append((model.held_1.weight.dtype, model.held_2.weight.dtype, model(x).dtype))
        return ATTACK(model, x, y, **options)

    run = fit(tmp_path, recipe(1, attack=attack), precision="bf16", fast=None)
    assert set(asked) == {(torch.bfloat16,) * 3} and len(asked) == 2
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())
    said = "a copy of the network is attacked: 1 of 1 batch normalisations folded, weights in bfloat16 once a step"
    assert run.trainer.lightning_module.fast == ["channels_last", said]


# A run -------------------------------------------------------------------------------------------------------------------


def test_the_fast_path_is_the_default_and_trains_as_the_plain_one(tmp_path: Path) -> None:
    runs = {}
    for name, fast in (("fast", None), ("plain", False)):
        (folder := tmp_path / name).mkdir()
        runs[name] = fit(folder, recipe(2), fast=fast)
    module = runs["fast"].trainer.lightning_module
    assert module.fast == [
        "channels_last",
        "a copy of the network is attacked: 1 of 1 batch normalisations folded",
    ]
    assert runs["plain"].trainer.lightning_module.attacked is None
    mine, theirs = (run.checkpoint("last")["state_dict"] for run in runs.values())
    assert list(mine) == list(theirs) and not same(mine, theirs)
    for key, value in theirs.items():
        torch.testing.assert_close(mine[key], value, rtol=0, atol=1e-3)


def test_a_fast_run_that_goes_on_ends_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("whole", "resumed")]
    for folder in folders:
        folder.mkdir()
    whole = fit(folders[0], recipe(3), fast=None)
    fit(folders[1], recipe(2), fast=None)
    resumed = fit(folders[1], recipe(3), fast=None, resume=True)
    assert same(resumed.checkpoint("last")["state_dict"], whole.checkpoint("last")["state_dict"])


@pytest.mark.parametrize("moment", [2, 11])
def test_stopped_within_an_epoch_it_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    monkeypatch.setattr(ranks_driver, "network", network)
    whole = ranks_driver.train(tmp_path / "whole", pgd_at, epochs=2)
    stopped = ranks_driver.train(tmp_path / "run", pgd_at, epochs=2, process=Told(moment))
    assert stopped["error"] == "Interrupted 10"
    assert_same(ranks_driver.train(tmp_path / "run", pgd_at, epochs=2, resume=True), whole)


def test_no_copy_is_made_where_the_attack_is_not_run(tmp_path: Path) -> None:
    run = fit(tmp_path, recipe(1, defense=natural), fast=None)
    assert run.trainer.lightning_module.attacked is None
    assert run.trainer.lightning_module.fast == ["channels_last"]


def test_the_layout_is_left_where_it_corrupts_memory() -> None:
    trainer = make_trainer(max_epochs=1, accelerator="cpu", devices=1)
    (callback,) = (each for each in trainer.callbacks if type(each).__name__ == "Fast")
    module = TrainModule(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1, 2)), recipe())
    callback.setup(trainer, module, "fit")
    assert module.fast == [] and module.attacked is not None


def test_with_the_fast_path_off_the_network_is_the_one_that_is_attacked(tmp_path: Path) -> None:
    asked = []

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        asked.append(type(model))
        return ATTACK(model, x, y, **options)

    fit(tmp_path, recipe(1, attack=attack), fast=False)
    assert set(asked) == {type(network())}
