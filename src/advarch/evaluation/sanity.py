"""The honesty flags: their names, what each means, and those that compare finished columns with each other. No torch.

The flags that need the network itself are raised in `probes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from advarch.evaluation.outcomes import wilson

TEXTS: Mapping[str, str] = {
    "random_outputs": "the network answers the same image differently; attack it with attack=autoattack_rand",
    "softmax_output": "the network returns probabilities, whose gradients vanish; let it return logits",
    "detached_input": "the logits do not depend on the images through any gradient, so no gradient attack can work",
    "zero_gradients": "the input gradient of some images is exactly zero, as behind a quantised input: gradients are masked",
    "gradient_in_forward": "the network computes gradients while it answers: a defense that adapts to its input",
    "logit_scale": "a cross-entropy attack fools more images once the logits are shifted or scaled: they saturate",
    "eps0_not_clean": "an attack of radius 0 changes verdicts: the network does not answer the same image alike",
    "unbounded_not_zero": "an attack free to use the whole box leaves images standing: it fails, the network does not resist",
    "black_box_beats_white_box": "Square fools more images than every white-box attack: gradients are masked",
    "transfer_beats_white_box": "images made on another network fool more than those made on the network itself",
    "pgd_aa_gap": "PGD lies more than 8 points above AutoAttack: PGD overstates this network's robustness",
    "not_monotone_eps": "accuracy rises with the radius, although a larger ball holds the smaller one",
    "not_monotone_steps": "accuracy rises with the number of steps: the attack does not converge",
    "not_monotone_restarts": "accuracy rises with the number of restarts",
    "single_step_stronger": "a single-step attack fools more images than the iterative ones: gradients are masked",
    "outside_ball": "an attack returned points outside the ball or the box, or no numbers; they were not counted as fooling",
    "batch_dependent": "verdicts change with the batch size",
    "selected_on_test": "the checkpoint was chosen on the images it is evaluated on",
    "fewer_than_1000_images": "fewer than 1,000 images",
}
"""Every flag and what it says. The true robust accuracy of a flagged result may be lower."""

TABLE_WIDE = frozenset({"fewer_than_1000_images"})
"""Flags that hold for a whole table and are said once below it."""

TOLERANCE = 0.2
"""Points by which a weaker attack may beat a stronger one before it counts (AutoAttack's own check for Square)."""

GAP = 8.0
"""Points between PGD and AutoAttack; sound adversarial training on CIFAR-10 shows 2 to 6."""

FEW_IMAGES = 1000
BLACK_BOX = "advarch.attacks.square.square"
SEQUENCE = "advarch.attacks.sequence.sequence"
MINIMUM_NORM = ("advarch.attacks.deepfool.deepfool", "advarch.attacks.cw_l2.cw_l2")
PGD = "advarch.attacks.pgd.pgd"
SINGLE_STEP = ("advarch.attacks.fgsm.fgsm", "advarch.attacks.rfgsm.rfgsm")


@dataclass(frozen=True)
class Seen:
    """A finished column: its attack's settings and, for each image it was run on, whether that kept its label.

    `lost_to` counts the images that each part of a sequence fooled; `source` is where they were made, empty: on the network itself.
    """

    name: str
    attack: Mapping[str, Any]
    index: np.ndarray
    right: np.ndarray
    lost_to: Mapping[str, int] = field(default_factory=dict)
    source: str = ""

    @property
    def target(self) -> str:
        """The attack's function."""
        return str(self.attack.get("_target_", ""))

    @property
    def eps(self) -> float:
        """The radius it was run with; not a number for a sequence, whose parts hold it."""
        node = self.attack
        if self.target == SEQUENCE:
            node = next(iter(self.attack["attacks"].values()))
        return float(node.get("threat", {}).get("eps", float("nan")))

    @property
    def single_step(self) -> bool:
        """Whether it takes one gradient step."""
        return self.target in SINGLE_STEP or self.attack.get("steps") == 1

    @property
    def iterative(self) -> bool:
        """Whether it is a white-box attack inside the ball that takes several steps."""
        if self.target == SEQUENCE:
            return any(part.get("_target_") != BLACK_BOX for part in self.attack["attacks"].values())
        weak = self.target in (BLACK_BOX, *MINIMUM_NORM)
        return not weak and int(self.attack.get("steps", 0)) > 1


def relations(columns: Sequence[Seen]) -> dict[str, tuple[str, ...]]:
    """The flags of each column that only a comparison with the others can raise: column -> flags."""
    found: dict[str, tuple[str, ...]] = {
        c.name: ("transfer_beats_white_box",) for c in columns if transfer_beats_white_box(c, columns)
    }
    columns = [column for column in columns if not column.source]
    for column in columns:
        flags = []
        if black_box_beats_white_box(column, columns):
            flags.append("black_box_beats_white_box")
        if pgd_aa_gap(column, columns):
            flags.append("pgd_aa_gap")
        if single_step_stronger(column, columns):
            flags.append("single_step_stronger")
        flags += [f"not_monotone_{key}" for key in not_monotone(column, columns)]
        if flags:
            found[column.name] = tuple(flags)
    return found


def beats(weaker: np.ndarray, stronger: np.ndarray) -> bool:
    """Whether the attack that ought to be weaker leaves fewer images: by more than 0.2 points, and more than one image."""
    more = int(stronger.sum()) - int(weaker.sum())
    return more > 1 and 100.0 * more / len(weaker) > TOLERANCE


def common(a: Seen, b: Seen) -> tuple[np.ndarray, np.ndarray]:
    """The verdicts of two columns on the images that both were run on."""
    _, first, second = np.intersect1d(a.index, b.index, return_indices=True)
    return a.right[first], b.right[second]


def black_box_beats_white_box(column: Seen, columns: Sequence[Seen]) -> bool:
    """Square against the white-box attacks of the same radius.

    Raised if Square leaves over 0.2 points (and more than one image) fewer than the strongest of them, or, as part of a
    sequence, takes that many from what they left.
    Explanation: who sees gradients can do all that one who doesn't can. If that gains nothing, the gradients mislead
    (Athalye et al. 2018), and every white-box number of this network is too high.
    """
    lost = column.lost_to.get("square", 0)
    if len(column.lost_to) > 1 and lost > 1 and 100.0 * lost / len(column.right) > TOLERANCE:
        return True
    white = [c for c in columns if c.iterative and c.eps == column.eps and c is not column]
    return bool(column.target == BLACK_BOX and white) and all(beats(*common(column, c)) for c in white)


def transfer_beats_white_box(column: Seen, columns: Sequence[Seen]) -> bool:
    """Images made on another network against the same attack on this one.

    Raised if they leave over 0.2 points (and more than one image) fewer.
    Explanation: the attack that sees this network's gradients has more to go by. Where it does worse, they mislead.
    """
    own = [c for c in columns if column.source and not c.source and c.attack == column.attack]
    return any(beats(*common(column, c)) for c in own)


def pgd_aa_gap(column: Seen, columns: Sequence[Seen]) -> bool:
    """PGD (10 steps or more) against a sequence such as AutoAttack, of the same radius.

    Raised if, on the images that both were run on, the share that it leaves beyond the sequence lies over 8 points with
    its whole 95 % Wilson interval: 4 of 16 images, 16 of 125, 97 of 1,000.
    Explanation: sound adversarial training shows 2 to 6 points on CIFAR-10; larger gaps went with gradient masking
    (16 for ELLE, 13 for SSAT).
    """
    if column.target != PGD or int(column.attack.get("steps", 0)) < 10:
        return False
    for other in columns:
        if other.target == SEQUENCE and other.eps == column.eps:
            pgd, sequence = common(column, other)
            more = int(pgd.sum()) - int(sequence.sum())
            # Chance alone brings a sound network's few points above 8 on few images.
            if more > 0 and 100.0 * wilson(more, len(pgd))[0] > GAP:
                return True
    return False


def single_step_stronger(column: Seen, columns: Sequence[Seen]) -> bool:
    """A single-step attack against the iterative ones of the same radius.

    Raised if it leaves over 0.2 points (and more than one image) fewer than every one of them.
    Explanation: an iterative attack can take the single step first. If it ends up worse, the loss around the images
    misleads it, as after catastrophic overfitting or behind masked gradients.
    """
    iterative = [c for c in columns if c.iterative and c.eps == column.eps]
    return bool(column.single_step and iterative) and all(beats(*common(column, c)) for c in iterative)


def not_monotone(column: Seen, columns: Sequence[Seen]) -> tuple[str, ...]:
    """A column against those that differ from it in radius, steps or restarts alone (the step size may follow).

    Raised if a smaller value leaves over 0.2 points (and more than one image) fewer than this column.
    Explanation: a larger ball holds the smaller one, and more steps or restarts can only search more. Where accuracy
    rises all the same, the attack did not find what is there.
    """
    keys = []
    for key in ("eps", "steps", "restarts"):
        mine = _value(column, key)
        others = [c for c in columns if c is not column and _alike(column, c, key)]
        smaller = [c for c in others if mine is not None and (_value(c, key) or 0.0) < mine]
        if any(beats(*common(c, column)) for c in smaller):
            keys.append(key)
    return tuple(keys)


def selected_on_test(chosen: np.ndarray, evaluated: np.ndarray) -> bool:
    """The images that chose the checkpoint against those it is evaluated on, both uint8 (images, ...).

    Raised if over 1 % of the evaluated images are among the others, byte for byte. (Public sets hold a few twins.)
    Explanation: the best of many epochs on the test set is too good on that set, by 1 to 3 points (Rice et al. 2020).
    """
    known = {image.tobytes() for image in chosen}
    return 100 * sum(image.tobytes() in known for image in evaluated) > len(evaluated)


def _value(column: Seen, key: str) -> float | None:
    value = column.eps if key == "eps" else column.attack.get(key)
    return None if value is None else float(value)


def _alike(a: Seen, b: Seen, key: str) -> bool:
    """Whether two attacks differ at most in that key and in the step size."""

    def rest(attack: Mapping[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in attack.items() if k not in (key, "step_size", "stop_on_success")}
        if key == "eps":
            kept["threat"] = {k: v for k, v in attack.get("threat", {}).items() if k != "eps"}
            if "attacks" in kept:
                kept["attacks"] = {name: rest(part) for name, part in kept["attacks"].items()}
        return kept

    # One step and many are different methods, compared by `single_step_stronger`.
    steps = key == "steps" and (a.single_step or b.single_step)
    return a.target == b.target and not steps and rest(a.attack) == rest(b.attack)
