"""The compiled network: the same logits and gradients, the same verdicts, and no compiler needed."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from advarch.attacks.apgd import apgd
from advarch.attacks.sequence import sequence
from advarch.attacks.square import square
from advarch.evaluation import compiled as compiled_module
from advarch.evaluation.compiled import compiled
from advarch.evaluation.evaluate import Run, evaluate
from advarch.evaluation.outcomes import COST, RIGHT, Outcome
from advarch.evaluation.suite import parts
from advarch.threat import Threat
from advarch.types import Batch
from tests.evaluation import nets

THREAT = Threat("inf", 0.1)
BOTH = partial(
    sequence,
    attacks={
        "apgd": partial(apgd, threat=THREAT, steps=10, step_size=0.2),
        "square": partial(square, threat=THREAT, queries=60),
    },
)


@pytest.fixture(autouse=True)
def afresh():
    compiled.cache_clear()
    yield
    compiled.cache_clear()
    torch.compiler.reset()


def verdicts(net: nn.Module, attack=BOTH, *, compile: bool) -> Outcome:
    """The sequence over a hundred digits, in batches of 64 and 36."""
    x, y = nets.digits()
    batches = [Batch(x[part], y[part], part) for part in torch.arange(100).split(64)]
    clean, outcome = (Outcome.unknown(np.arange(100), names) for names in ((), tuple(parts(attack))))
    evaluate(net, batches, Run("clean", None, THREAT, 0), clean)
    run = Run("a", attack, THREAT, 0, compile=compile)
    evaluate(net, batches, run, outcome, standing=clean.correct == RIGHT)
    return outcome


def randomised() -> nn.Module:
    """A small network whose batch normalisation has something to do."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    assert norm.running_mean is not None and norm.running_var is not None
    nn.init.normal_(norm.running_mean, std=0.1)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), norm, nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.Flatten(), nn.Linear(32, 10)
    ).eval()


@pytest.mark.slow
def test_logits_and_gradients_are_the_network_s_at_every_batch_size_and_after_new_weights() -> None:
    net = randomised()
    fast = compiled(net)
    assert compiled(net) is fast
    for size in (5, 1, 8):
        if size == 8:
            net.load_state_dict(
                {k: v * 0.9 if v.is_floating_point() else v for k, v in net.state_dict().items()}
            )
        images = torch.rand(size, 1, 8, 8)
        slopes = []
        for model in (net, fast):
            x = images.clone().requires_grad_()
            logits = model(x)
            (slope,) = torch.autograd.grad(logits.square().sum(), x)
            slopes.append((logits.detach(), slope))
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(fast(images), net(images), rtol=1e-4, atol=1e-5)
    graphs = counters["stats"]["unique_graphs"]
    with torch.no_grad():
        for images in (
            torch.rand(9, 1, 8, 8),
            torch.rand(9, 8, 8, 1).permute(0, 3, 1, 2),
            torch.rand(4, 1, 8, 9)[..., 1:],
        ):
            fast(images)
    assert counters["stats"]["unique_graphs"] == graphs, "compiled once more for other strides"


@pytest.mark.slow
def test_a_compiled_search_gives_the_verdicts_of_the_plain_one() -> None:
    plain = verdicts(nets.sound_net(), compile=False)
    fast = verdicts(nets.sound_net(), compile=True)
    assert np.array_equal(fast.correct, plain.correct) and 10 < (plain.correct == RIGHT).sum() < 90
    assert np.array_equal(fast.felled_by, plain.felled_by)


def test_an_image_fooled_in_the_search_alone_is_attacked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # A search on a network that is always wrong stops at once; the verdicts must be the plain ones all the same.
    def wrong(model: nn.Module):
        return lambda x: -model(x)

    monkeypatch.setattr("advarch.evaluation.evaluate.compiled", wrong)
    attack = partial(apgd, threat=THREAT, steps=10, step_size=0.2)
    plain = verdicts(nets.sound_net(), attack, compile=False)
    fast = verdicts(nets.sound_net(), attack, compile=True)
    assert np.array_equal(fast.correct, plain.correct)
    assert fast.cost[COST.index("searched")] > 0


def test_without_a_compiler_the_network_runs_as_it_is_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("no compiler here")

    compile_with = torch.compile
    monkeypatch.setattr(compiled_module.torch, "compile", partial(compile_with, backend=broken))
    net, x = randomised(), torch.rand(3, 1, 8, 8)
    fast = compiled(net)
    with pytest.warns(UserWarning, match=r"evaluation\.compile: .* uncompiled.*"):
        assert torch.equal(fast(x), net(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(fast(x), net(x))
