"""RobNet's supernet: what a step trains, that paths are drawn alike, and that a path is the discrete network."""

import copy
from collections import Counter
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from advarch.backbones.cell_net import CellNet
from advarch.backbones.supernet import inherited
from advarch.defenses.contract import TrainStep
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.errors import InputError
from advarch.genotype.robnet_code import decode
from advarch.genotype.space import ROBNET_OPERATIONS, Space
from advarch.genotype.stored import to_plain
from advarch.search.architecture import Path, Softmax
from advarch.search.robnet import RobNet
from tests.search.small import ATTACK, at, batches, optimizers, supernet

SPACE = Space(ROBNET_OPERATIONS, nodes=1, inputs=None, layout="shared")


def robnet(defense=natural, space: Space = SPACE, **options) -> RobNet:
    return RobNet(supernet(Path, space=space), defense=defense, attack=ATTACK, **options)


def test_a_step_is_one_of_sgd_on_the_path_alone() -> None:
    method = robnet()
    given, progress = batches(), at(3)
    optimizer = optimizers(method)["weights"]
    method.step(given, {"weights": optimizer}, at(2))
    before, twin = copy.deepcopy(method.supernet), copy.deepcopy(method)
    momentum = copy.deepcopy(optimizer.state_dict()["state"])
    method.step(given, {"weights": optimizer}, progress)
    # By hand: the same path, its loss, SGD with momentum and weight decay where there is a gradient.
    drawn = twin._draw("path", progress, "path")
    twin.supernet.arch.choose(drawn)
    torch.nn.functional.cross_entropy(twin.supernet(given.weights.x), given.weights.y).backward()
    on_path = set()
    for number, ((name, weight), old, new) in enumerate(
        zip(twin.supernet.named_parameters(), before.parameters(), method.supernet.parameters(), strict=True)
    ):
        if weight.grad is None:
            assert torch.equal(old, new), name
            assert number not in momentum or torch.equal(
                momentum[number]["momentum_buffer"], optimizer.state[new]["momentum_buffer"]
            )
            continue
        on_path.add(name)
        drift = momentum[number]["momentum_buffer"] if number in momentum else 0.0
        assert_close(new, old - 0.05 * (0.9 * drift + weight.grad + 3e-4 * old), msg=name)
    assert len(on_path) < len(list(before.parameters()))
    convolutions = {int(name.split(".")[3]) for name in on_path if ".operations.2." in name}
    assert convolutions == {source for op, source in drawn.cells[0].nodes[0] if op == "sep_conv_3x3"} == {1}


def test_the_attack_meets_the_sub_network_and_afterwards_all_operations_run() -> None:
    method, seen = robnet(pgd_at), []

    def watching(model, x, y, *, attack, step: TrainStep):
        def attacked(net, *given, **options):
            seen.append(net.arch())
            return attack(net, *given, **options)

        return pgd_at(model, x, y, attack=attacked, step=step)

    method.defense = watching
    everything = method.arch()
    terms = method.step(batches(), optimizers(method), at(1))
    assert seen == [method_path(method, at(1))] and seen[0] != everything
    assert method.arch() == everything and torch.isfinite(terms["ce_adv"])


def method_path(method: RobNet, progress):
    twin = Path(method.supernet.space)
    twin.choose(method._draw("path", progress, "path"))
    return twin()


def test_paths_are_drawn_alike_and_are_functions_of_seed_and_step() -> None:
    method = robnet()
    counts = Counter(method._draw("path", at(step), "path").digest for step in range(20 * SPACE.size))
    # Chi-square of 14 degrees of freedom: 36.1 is passed by one in a thousand.
    assert len(counts) == SPACE.size == 15
    assert sum((count - 20) ** 2 / 20 for count in counts.values()) < 36.1
    assert method._draw("path", at(5), "path") == robnet()._draw("path", at(5), "path")
    dense = robnet(probability=0.9)
    operations = [len(dense._draw("path", at(step), "p").cells[0].nodes[0]) for step in range(100)]
    # 100 draws of 4 operations: 360 with a deviation of 6.
    assert 330 < sum(operations) < 390


@pytest.mark.parametrize("training", [True, False])
def test_a_path_of_all_four_codes_is_the_discrete_network(training: bool) -> None:
    genotype = decode("11 01 | 10 00 01 | 00 11 10 01 | 01 00 00 11 10", "codes")
    space = Space(ROBNET_OPERATIONS, nodes=4, inputs=None, layout="shared")
    net = supernet(Path, space=space).train()
    x = batches().weights.x
    net(x)
    twin = CellNet(classes=2, in_channels=1, genotype=to_plain(genotype), cells=3, channels=2, affine=False)
    twin.load_state_dict(inherited(net, genotype))
    twin.train(training), net.train(training).arch.choose(genotype)
    assert_close(net(x), twin(x), rtol=0, atol=1e-6)
    assert_close(inherited(net, genotype), dict(twin.state_dict()), rtol=1e-5, atol=1e-6)


def test_it_has_weights_only_and_derives_a_cell_of_its_space() -> None:
    method = robnet()
    assert list(method.parameters()) == ["weights"] and method.state_dict() == {}
    found = method.derive(at(3), "one")
    assert SPACE.contains(found) and found.name == "one" and found == method.derive(at(3), "one")
    with pytest.raises(InputError, match="arch: expected Path for RobNet, came Softmax"):
        RobNet(supernet(partial(Softmax), space=SPACE), defense=natural, attack=ATTACK)
