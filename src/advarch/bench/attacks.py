"""Attack images per second: FGSM, PGD and APGD-CE beside the naive loop, torchattacks, foolbox and pyautoattack.

Every attack takes all of its steps on every image; what an evaluation saves by leaving fooled images is in the row `evaluation`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from torch import Tensor, nn

from advarch.attacks.apgd import apgd
from advarch.attacks.fgsm import fgsm
from advarch.attacks.pgd import pgd
from advarch.bench.bench import Bench, Case
from advarch.bench.equal import unlike_counts
from advarch.bench.peers import NAIVE, absent, foolbox_attack, naive_pgd
from advarch.bench.row import OURS, Row, compared
from advarch.bench.timing import alternate
from advarch.bench.trained import attacked, plain_layout, right, tested
from advarch.threat import Threat

DATA, EPS = "mnist_m", 34 / 255
"""What is attacked, and with a radius at which some images stand."""

Run = Callable[[Tensor, Tensor], Tensor]
"""Images and labels -> adversarial images."""

Makers = Mapping[str, Callable[[], Run]]
"""Peer -> what makes its attack, importing it."""


def cases(bench: Bench) -> Iterator[Case]:
    """A row for each attack, all on one trained network."""
    steps = bench.sizes.gradients
    threat = Threat("inf", EPS)
    attacks: dict[str, tuple[Callable[..., Tensor], Callable[[nn.Module], Makers]]] = {
        "FGSM": (partial(fgsm, threat=threat), _fgsm_peers),
        f"PGD-{steps}": (
            partial(pgd, threat=threat, steps=steps, step_size=EPS / 10),
            partial(_pgd_peers, steps=steps),
        ),
        f"APGD-CE-{steps}": (
            partial(apgd, threat=threat, steps=steps, step_size=2 * EPS, stop_on_success=False),
            partial(_apgd_peers, steps=steps),
        ),
    }
    for name, (mine, makers) in attacks.items():
        name = f"attack: {name}, {bench.sizes.trained} on {DATA}"
        yield name, partial(_row, bench, name, mine, makers)


def _row(bench: Bench, name: str, mine: Callable[..., Tensor], makers: Callable[[nn.Module], Makers]) -> Row:
    net, (x, y) = attacked(bench, DATA), tested(DATA, bench.device)
    x, y = x[: bench.sizes.attacked], y[: bench.sizes.attacked]
    plain = plain_layout(net)
    peers = makers(plain)
    gone = absent(who for who in peers if who != NAIVE)
    runs: dict[str, tuple[nn.Module, Run]] = {OURS: (net, partial(mine, net))}
    runs |= {who: (plain, make()) for who, make in peers.items() if who not in gone}
    standing: dict[str, int] = {}

    def attack(who: str) -> None:
        network, run = runs[who]
        standing[who] = int(right(network, run(x, y), y).sum())

    taken = alternate({who: partial(attack, who) for who in runs}, bench.sizes.rounds)
    return compared(
        name,
        taken,
        len(x),
        "images/s",
        refused=unlike_counts(standing, len(x)),
        notes=(f"{standing[OURS]} of {len(x)} images stand", *gone.values()),
    )


def _fgsm_peers(net: nn.Module) -> Makers:
    def torchattacks() -> Run:
        import torchattacks

        made: Run = torchattacks.FGSM(net, eps=EPS)
        return made

    def foolbox() -> Run:
        import foolbox

        return foolbox_attack(net, foolbox.attacks.LinfFastGradientAttack(), EPS)

    one = partial(naive_pgd, net, eps=EPS, step_size=EPS, steps=1, random_start=False)
    return {NAIVE: lambda: one, "torchattacks": torchattacks, "foolbox": foolbox}


def _pgd_peers(net: nn.Module, steps: int) -> Makers:
    def torchattacks() -> Run:
        import torchattacks

        made: Run = torchattacks.PGD(net, eps=EPS, alpha=EPS / 10, steps=steps)
        return made

    def foolbox() -> Run:
        import foolbox

        return foolbox_attack(net, foolbox.attacks.LinfPGD(abs_stepsize=EPS / 10, steps=steps), EPS)

    naive = partial(naive_pgd, net, eps=EPS, step_size=EPS / 10, steps=steps)
    return {NAIVE: lambda: naive, "torchattacks": torchattacks, "foolbox": foolbox}


def _apgd_peers(net: nn.Module, steps: int) -> Makers:
    def torchattacks() -> Run:
        import torchattacks

        made: Run = torchattacks.APGD(net, eps=EPS, steps=steps)
        return made

    def pyautoattack() -> Run:
        from pyautoattack.autopgd_base import APGDAttack

        device = next(net.parameters()).device
        run: Run = APGDAttack(
            net, n_restarts=1, n_iter=steps, eps=EPS, norm="Linf", loss="ce", seed=0, device=device
        ).perturb
        return run

    return {"torchattacks": torchattacks, "pyautoattack": pyautoattack}
