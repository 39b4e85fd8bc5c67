"""Attack images per second: FGSM, PGD and APGD-CE beside the naive loop, torchattacks, foolbox and pyautoattack.

Every attack takes all of its steps on every image; what an evaluation saves by leaving fooled images is in the row `evaluation`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from advarch.attacks.apgd import apgd
from advarch.attacks.fgsm import fgsm
from advarch.attacks.pgd import pgd
from advarch.bench.bench import Bench, Case
from advarch.bench.peers import NAIVE, absent, foolbox_attack, naive_pgd
from advarch.bench.row import OURS, Row
from advarch.bench.standing import standing_row
from advarch.bench.trained import plain_layout, right, subject
from advarch.threat import Threat

Run = Callable[[Tensor, Tensor], Tensor]
"""Images and labels -> adversarial images."""

Make = Callable[[nn.Module, float, int], Run]
"""Network, radius and steps -> an attack; a peer is imported here."""


def cases(bench: Bench) -> Iterator[Case]:
    """A row for each attack, all on one trained network."""
    steps = bench.sizes.gradients
    for attack, count in (("FGSM", 1), ("PGD", steps), ("APGD-CE", steps)):
        title = attack if attack == "FGSM" else f"{attack}-{count}"
        name = f"attack: {title}, {bench.sizes.trained} on {bench.sizes.data}"
        yield name, partial(_row, bench, name, ATTACKS[attack], count)


def _row(bench: Bench, name: str, makers: Mapping[str, Make], steps: int) -> Row:
    found = subject(bench, bench.sizes.data)
    x, y = found.images(bench.sizes.attacked)
    plain, eps = plain_layout(found.network), found.half_radius
    gone = absent(who for who in makers if who not in (OURS, NAIVE))
    networks = {who: found.network if who == OURS else plain for who in makers if who not in gone}
    runs = {who: makers[who](network, eps, steps) for who, network in networks.items()}

    def stands(who: str) -> Tensor:
        return right(networks[who], runs[who](x, y), y)

    found_by = {who: partial(stands, who) for who in runs}
    return standing_row(bench, name, found_by, len(x), where=f" at {eps:.3f}", notes=gone.values())


def _fgsm(net: nn.Module, eps: float, steps: int) -> Run:
    del steps
    return partial(fgsm, net, threat=Threat("inf", eps))


def _pgd(net: nn.Module, eps: float, steps: int) -> Run:
    return partial(pgd, net, threat=Threat("inf", eps), steps=steps, step_size=eps / 10)


def _apgd(net: nn.Module, eps: float, steps: int) -> Run:
    return partial(
        apgd, net, threat=Threat("inf", eps), steps=steps, step_size=2 * eps, stop_on_success=False
    )


def _naive_fgsm(net: nn.Module, eps: float, steps: int) -> Run:
    return partial(naive_pgd, net, eps=eps, step_size=eps, steps=steps, random_start=False)


def _naive_pgd(net: nn.Module, eps: float, steps: int) -> Run:
    return partial(naive_pgd, net, eps=eps, step_size=eps / 10, steps=steps)


def _torchattacks(name: str, net: nn.Module, eps: float, steps: int) -> Run:
    import torchattacks

    settings: dict[str, dict[str, Any]] = {
        "FGSM": {},
        "PGD": {"alpha": eps / 10, "steps": steps},
        "APGD": {"steps": steps},
    }
    made: Run = getattr(torchattacks, name)(net, eps=eps, **settings[name])
    return made


def _foolbox_fgsm(net: nn.Module, eps: float, steps: int) -> Run:
    del steps
    import foolbox

    return foolbox_attack(net, foolbox.attacks.LinfFastGradientAttack(), eps)


def _foolbox_pgd(net: nn.Module, eps: float, steps: int) -> Run:
    import foolbox

    return foolbox_attack(net, foolbox.attacks.LinfPGD(abs_stepsize=eps / 10, steps=steps), eps)


def _pyautoattack(net: nn.Module, eps: float, steps: int) -> Run:
    from pyautoattack.autopgd_base import APGDAttack

    device = next(net.parameters()).device
    made: Run = APGDAttack(
        net, n_restarts=1, n_iter=steps, eps=eps, norm="Linf", loss="ce", seed=0, device=device
    ).perturb
    return made


ATTACKS: Mapping[str, Mapping[str, Make]] = {
    "FGSM": {
        OURS: _fgsm,
        NAIVE: _naive_fgsm,
        "torchattacks": partial(_torchattacks, "FGSM"),
        "foolbox": _foolbox_fgsm,
    },
    "PGD": {
        OURS: _pgd,
        NAIVE: _naive_pgd,
        "torchattacks": partial(_torchattacks, "PGD"),
        "foolbox": _foolbox_pgd,
    },
    "APGD-CE": {OURS: _apgd, "torchattacks": partial(_torchattacks, "APGD"), "pyautoattack": _pyautoattack},
}
"""Attack -> competitors."""
