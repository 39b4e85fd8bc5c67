"""A suite: which attacks an evaluation runs, and how."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len

from advarch.attacks.sequence import sequence
from advarch.threat import Threat
from advarch.types import Attack


@dataclass(frozen=True)
class Suite:
    """Named attacks and how they are run.

    Args:
        attacks: name of the column -> attack, its threat bound.
        checkpoints: which weights: best on robust validation accuracy, last epoch.
        batch_size: images at a time; the outcome does not depend on it.
        limit: the first n test images only.
        worst_case: each attack sees only the images that the attacks before it left standing. False: each column over all
            images, apart; the column `worst` is their worst case per image either way.
        grids: attack -> {eps | steps | restarts: values}: a further column for each value; the step size follows eps.
        shares: attack -> share of the test images it is run on, drawn at random with the experiment's seed.
        precision: what attacks search in. Every verdict is fp32 without TF32.
        compile: attacks search on the network as torch.compile makes it: faster, after up to a minute of compiling.
        fast: attacks search on a copy that is cheaper to attack, where the network has one; `trainer.fast=false` turns that off, too.
        probe: look for the honesty flags that need the network.
        save_images: keep the adversarial images of every column, images/<checkpoint>/<column>.npy.
        gallery: images in gallery.png (clean, adversarial, difference); 0 draws none.
        sources: run folders, or name -> run folder: a further column of each attack, with images made on that run's network.
        targets: run folders, or name -> run folder, that answer in a matrix of `advarch attack`; none: the sources themselves.
    """

    attacks: Mapping[str, Attack]
    checkpoints: Annotated[Sequence[Literal["best", "last"]], Len(1)] = ("best", "last")
    batch_size: Annotated[int, Ge(1)] = 500
    limit: Annotated[int, Ge(1)] | None = None
    worst_case: bool = False
    grids: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[str, Any] = field(default_factory=dict)
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    fast: bool = True
    probe: bool = True
    save_images: bool = False
    gallery: Annotated[int, Ge(0)] = 6
    sources: Sequence[str] | Mapping[str, str] | None = None
    targets: Sequence[str] | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.attacks, Mapping):
            raise ValueError(f"attacks: expected name: attack, came {self.attacks!r}")


def vary(attack: Attack, varied: Mapping[str, float]) -> Attack:
    """The same attack with another radius (its step sizes follow), number of steps or of restarts."""
    for key, value in varied.items():
        attack = _with_eps(attack, value) if key == "eps" else _with(attack, **{key: int(value)})
    return attack


def parts(attack: Attack) -> Mapping[str, Attack]:
    """The attacks of a sequence in order; of any other attack, itself under an empty name."""
    bound = _bound(attack)
    if bound is not None and bound.func is sequence:
        found: Mapping[str, Attack] = bound.keywords["attacks"]
        return found
    return {"": attack}


def setting(attack: Attack, name: str) -> Any:
    """What a bound attack holds under that name, or None."""
    bound = _bound(attack)
    return bound.keywords.get(name) if bound is not None else None


def minimum_norm(attack: Attack) -> bool:
    """Whether it looks for the nearest point beyond the boundary and clips it to the ball at the end."""
    try:
        return "clip_to_ball" in inspect.signature(attack).parameters
    except (TypeError, ValueError):
        return False


def function_name(attack: Attack) -> str:
    """The attack's function."""
    bound = _bound(attack)
    return str(getattr(bound.func if bound is not None else attack, "__name__", type(attack).__name__))


def _with_eps(attack: Attack, eps: float) -> Attack:
    inner = setting(attack, "attacks")
    if inner is not None:
        return _with(attack, attacks={name: _with_eps(part, eps) for name, part in inner.items()})
    threat = setting(attack, "threat")
    assert isinstance(threat, Threat), "the config was checked: every attack of a grid has a threat"
    changed: dict[str, Any] = {"threat": replace(threat, eps=float(eps))}
    for name in ("step_size", "random_step"):
        before = setting(attack, name)
        if before is not None and threat.eps > 0:
            changed[name] = before * float(eps) / threat.eps
    return _with(attack, **changed)


def _with(attack: Attack, **settings: Any) -> Attack:
    return functools.partial(attack, **settings)


def _bound(attack: Attack) -> "functools.partial[Any] | None":
    # partial(partial(f, a=1), a=2) is partial(f, a=2): Python flattens them.
    return attack if isinstance(attack, functools.partial) else None
