"""A compiled network: the same losses, gradients and attacks; the same names; and what happens without a compiler."""

import copy
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func

from advarch.backbones.wide_resnet import WideResNet
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.lit import trainer as trainers
from advarch.lit.averaging import Ema
from advarch.lit.trainer import compiler_problem
from advarch.modes import attack_mode
from advarch.runs.weights import from_checkpoint
from tests.lit.test_train_module import ATTACK, fit, network, recipe

COMPILE = torch.compile


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are captured and differentiated as ever but run without generated code, whose compilation takes half a minute."""
    monkeypatch.setattr(torch, "compile", partial(COMPILE, backend="aot_eager"))


def small() -> WideResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WideResNet(
            classes=3, in_channels=1, depths=[1, 1, 0], widths=[0.5, 0.5, 1], drop_path=0.1
        ).train()


X = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(8) % 3


def equal_in_loss_gradients_and_attack(defense, rtol: float = 1e-9) -> None:
    # In double precision, or another rounding could turn the sign of a gradient near zero, and with it a whole step.
    eager, compiled = small().double(), small().double()
    compiled.compile()
    for _ in range(2):
        expected, found = (defense(net, X, Y, attack=ATTACK) for net in (eager, compiled))
        torch.testing.assert_close(found.total, expected.total, rtol=rtol, atol=rtol)
        torch.testing.assert_close(found.logits, expected.logits, rtol=rtol, atol=rtol)
        for net, output in ((eager, expected), (compiled, found)):
            net.zero_grad()
            output.total.backward()
        for mine, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=rtol, atol=rtol)
        with attack_mode(eager), attack_mode(compiled):
            torch.testing.assert_close(ATTACK(compiled, X, Y), ATTACK(eager, X, Y), rtol=0, atol=rtol)
    assert list(compiled.state_dict()) == list(eager.state_dict())


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("defense", [pgd_at, trades], ids=["pgd_at", "trades"])
def test_a_captured_network_gives_the_same_loss_gradients_and_attack(defense) -> None:
    equal_in_loss_gradients_and_attack(defense)


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_loss_gradients_and_attack() -> None:
    if compiler_problem(torch.device("cpu")) is not None:
        pytest.skip("no compiler on this machine")
    equal_in_loss_gradients_and_attack(pgd_at)


@pytest.mark.usefixtures("traced")
def test_compiled_training_equals_eager_training_and_leaves_names_alone(tmp_path: Path) -> None:
    runs = {}
    for name, compiled in (("eager", None), ("compiled", True)):
        (folder := tmp_path / name).mkdir()
        runs[name] = fit(folder, recipe(3, defense=natural, averaging=Ema(0.5)), compile=compiled)
    assert runs["compiled"].model._compiled_call_impl is not None
    for checkpoint in ("best", "last"):
        theirs, mine = (run.checkpoint(checkpoint)["state_dict"] for run in runs.values())
        assert list(mine) == list(theirs) and not any("_orig_mod" in key for key in mine)
        if checkpoint == "last":
            for key, value in theirs.items():
                torch.testing.assert_close(mine[key], value, rtol=1e-4, atol=1e-5)
        path = runs["compiled"].folder / "checkpoints" / f"{checkpoint}.ckpt"
        network().load_state_dict(from_checkpoint(path))
    resumed = fit(
        tmp_path / "compiled", recipe(4, defense=natural, averaging=Ema(0.5)), compile=True, resume=True
    )
    assert [row["epoch"] for row in resumed.rows] == [4]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("fast", [False, None])
def test_validation_makes_no_graphs(tmp_path: Path, fast: bool | None) -> None:
    torch._dynamo.utils.counters.clear()
    run = fit(tmp_path, recipe(2), compile=True, fast=fast)
    copies = [words for words in run.trainer.lightning_module.fast if "1 of 1 batch norm" in words]
    assert len(copies) == (fast is None)
    # One tries the compiler, one is the training step's, one the attack's on it or on its copy. Validation would add many sizes of batches.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3


def test_under_attack_the_compiled_backward_pass_holds_no_weight_gradients() -> None:
    given: list[int] = []

    def backward(graph: torch.fx.GraphModule, inputs: list) -> object:
        (outputs,) = next(node for node in graph.graph.nodes if node.op == "output").args
        given.append(sum(output is not None for output in outputs))
        return make_boxed_func(graph.forward)

    def forward(graph: torch.fx.GraphModule, inputs: list) -> object:
        return make_boxed_func(graph.forward)

    net = small().double()
    net.compile(backend=aot_autograd(fw_compiler=forward, bw_compiler=backward))
    net(X).sum().backward()
    assert given == [len(list(net.parameters()))]
    with attack_mode(net, "train_frozen_stats"):
        assert not any(p.requires_grad for p in net.parameters())
        x = X.clone().requires_grad_()
        torch.autograd.grad(net(x).sum(), x)
    assert given[1:] == [1]
    assert all(p.requires_grad for p in net.parameters())


def missing(*args, **options):
    raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable")


def test_without_a_compiler_training_warns_once_and_goes_on_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers.torch, "compile", missing)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = fit(tmp_path, recipe(2), compile=True)
    said = [str(w.message) for w in caught if "compile" in str(w.message)]
    assert len(said) == 1 and "\n" not in said[0]
    assert said[0].startswith(
        "trainer.compile: no working compiler, the network runs as it is (RuntimeError: "
    )
    (folder := tmp_path / "eager").mkdir()
    eager = fit(folder, recipe(2))
    assert all(
        torch.equal(a, b) for a, b in zip(run.model.parameters(), eager.model.parameters(), strict=True)
    )
    assert isinstance(run.model, nn.Sequential) and run.model._compiled_call_impl is None


def test_a_compiler_that_is_not_there_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with config.patch(force_disable_caches=True):
        problem = compiler_problem(torch.device("cpu"))
    assert problem is not None and "ompiler" in problem


def test_a_copy_of_a_compiled_network_is_a_network() -> None:
    net = small()
    net.compile()
    assert copy.deepcopy(net)._compiled_call_impl is None
