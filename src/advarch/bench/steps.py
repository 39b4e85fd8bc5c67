"""One step of training: as a run takes it, as the papers' codes write it, and with the attacks of torchattacks."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from advarch.attacks.pgd import pgd
from advarch.bench.bench import channels_last
from advarch.bench.peers import naive_pgd
from advarch.bench.sizes import Method
from advarch.defenses.contract import Remembers
from advarch.defenses.fast import fast
from advarch.defenses.free import Free
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.lit.module import TrainModule
from advarch.lit.recipe import Recipe
from advarch.lit.schedules import constant
from advarch.lit.trainer import compiler_problem
from advarch.threat import Threat
from advarch.types import Batch, LossOutput

Step = Callable[[], Tensor]
"""Takes one step and returns its loss."""

EPS, STEP_SIZE, BETA = 8 / 255, 2 / 255, 6.0
THREAT = Threat("inf", EPS)

make_optimizer = partial(SGD, lr=0.01, momentum=0.9)


def _defense(method: Method) -> Callable[..., LossOutput]:
    made: dict[Method, Callable[..., LossOutput]] = {
        "pgd_at": pgd_at,
        "trades": partial(trades, beta=BETA),
        "free": Free(THREAT, EPS),
        "fast": partial(fast, threat=THREAT, step_size=1.25 * EPS),
    }
    return made[method]


def run_step(
    network: nn.Module,
    method: Method,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    precision: str = "fp32",
    compile: bool = False,
) -> Step:
    """The step of `lit.module.TrainModule` with its optimizer, as Lightning's loop takes it; the network becomes channels_last."""
    attack = partial(pgd, threat=THREAT, steps=steps, step_size=STEP_SIZE)
    defense = _defense(method)
    if isinstance(defense, Remembers):
        defense.start(images=len(x), device=x.device, rank=0, world_size=1)
    recipe = Recipe(
        defense=defense,
        attack=attack,
        validation_attack=attack,
        make_optimizer=make_optimizer,
        schedule=constant,
        epochs=1,
        steps_per_epoch=1,
        seed=0,
        images=len(x),
    )
    module = TrainModule(channels_last(network), recipe).train()
    if compile and compiler_problem(x.device) is None:
        module.compile_network()
    optimizer = recipe.make_optimizer(network.parameters())
    batch = Batch(x, y, torch.arange(len(x), device=x.device))

    def step() -> Tensor:
        module.on_train_batch_start(batch, 0)
        optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step(batch, 0)
        loss.backward()
        module.on_after_backward()
        optimizer.step()
        return loss.detach()

    return step


def naive_step(network: nn.Module, method: Method, x: Tensor, y: Tensor, *, steps: int) -> Step:
    """The same as the codes of Madry, TRADES, Free and Fast adversarial training write it, in fp32."""
    optimizer = make_optimizer(network.parameters())
    delta = torch.zeros_like(x)

    def adversarial() -> Tensor:
        network.eval()
        x_adv = naive_pgd(network, x, y, eps=EPS, step_size=STEP_SIZE, steps=steps)
        network.train()
        return x_adv

    def free() -> Tensor:
        network.train()
        leaf = delta.clone().requires_grad_()
        optimizer.zero_grad()
        loss = F.cross_entropy(network((x + leaf).clamp(0, 1)), y)
        loss.backward()
        assert leaf.grad is not None
        delta.copy_((leaf.detach() + EPS * leaf.grad.sign()).clamp(-EPS, EPS))
        optimizer.step()
        return loss.detach()

    return {
        "pgd_at": lambda: _descend(optimizer, network, adversarial, y),
        "trades": lambda: _descend_trades(optimizer, network, lambda: _naive_trades(network, x, steps), x, y),
        "free": free,
        "fast": lambda: _descend(optimizer, network, lambda: _naive_fast(network, x, y), y),
    }[method]


def torchattacks_step(network: nn.Module, method: Method, x: Tensor, y: Tensor, *, steps: int) -> Step | None:
    """The same around an attack of torchattacks; None for FreeAT, of which it has none."""
    import torchattacks

    if method == "free":
        return None
    optimizer = make_optimizer(network.parameters())
    network.train()
    if method == "trades":
        kl = torchattacks.TPGD(network, eps=EPS, alpha=STEP_SIZE, steps=steps)
        return lambda: _descend_trades(optimizer, network, lambda: kl(x, y), x, y)
    if method == "pgd_at":
        attack = torchattacks.PGD(network, eps=EPS, alpha=STEP_SIZE, steps=steps)
    else:
        attack = torchattacks.FFGSM(network, eps=EPS, alpha=1.25 * EPS)
        # As in the code of Fast adversarial training.
        attack.set_model_training_mode(model_training=True, batchnorm_training=True)
    return lambda: _descend(optimizer, network, lambda: attack(x, y), y)


def _descend(optimizer: Optimizer, network: nn.Module, adversarial: Step, y: Tensor) -> Tensor:
    x_adv = adversarial()
    optimizer.zero_grad()
    loss = F.cross_entropy(network(x_adv), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _descend_trades(
    optimizer: Optimizer, network: nn.Module, adversarial: Step, x: Tensor, y: Tensor
) -> Tensor:
    x_adv = adversarial()
    optimizer.zero_grad()
    logits = network(x)
    kl = F.kl_div(network(x_adv).log_softmax(1), logits.softmax(1), reduction="batchmean")
    loss = F.cross_entropy(logits, y) + BETA * kl
    loss.backward()
    optimizer.step()
    return loss.detach()


def _naive_trades(network: nn.Module, x: Tensor, steps: int) -> Tensor:
    """TRADES' attack as its authors' code has it: the clean logits anew at every step, with their graph."""
    network.eval()
    x_adv = x + 0.001 * torch.randn_like(x)
    for _ in range(steps):
        x_adv.requires_grad_()
        kl = F.kl_div(network(x_adv).log_softmax(1), network(x).softmax(1), reduction="sum")
        (gradient,) = torch.autograd.grad(kl, [x_adv])
        x_adv = x_adv.detach() + STEP_SIZE * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)
    network.train()
    return x_adv


def _naive_fast(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    network.train()
    delta = torch.empty_like(x).uniform_(-EPS, EPS)
    delta = ((x + delta).clamp(0, 1) - x).requires_grad_()
    F.cross_entropy(network(x + delta), y).backward()
    assert delta.grad is not None
    moved = (delta.detach() + 1.25 * EPS * delta.grad.sign()).clamp(-EPS, EPS)
    return (x + moved).clamp(0, 1)
