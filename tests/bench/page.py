"""What was measured, as the tables of docs/benchmarks.md and as targets reached or not."""

from collections.abc import Mapping

Figures = Mapping[str, float]

PGD_TARGET, AUTOATTACK_TARGET, HELP_TARGET = 2.0, 2.5, 1.5
"""Times as fast as torchattacks; as pyautoattack; seconds until the help is there."""


def targets(found: Mapping[str, Figures]) -> dict[str, str]:
    """What was asked for, and whether it is reached: "ahead (...)" or "behind (...)"."""
    help_seconds = found["start-up"]["advarch --help, s"]
    said = {f"help in under {HELP_TARGET} s": _compare(help_seconds < HELP_TARGET, f"{help_seconds:.2f} s")}
    for name, figures in found.items():
        if name.startswith("PGD-20"):
            said[f"{name}, {PGD_TARGET:g} times torchattacks"] = _compare(
                figures["ratio"] >= PGD_TARGET, f"{figures['ratio']:.2f}"
            )
        if name.startswith("AutoAttack"):
            said[f"{name}, {AUTOATTACK_TARGET:g} times pyautoattack"] = _autoattack(figures)
    return said


def _autoattack(figures: Figures) -> str:
    """Speed counts only beside the peer's verdict on every image."""
    ways = {"ratio": "same verdict", "ratio, compiled": "same verdict, compiled"}
    reached = any(
        figures[ratio] >= AUTOATTACK_TARGET and figures[same] == figures["images"]
        for ratio, same in ways.items()
    )
    same = min(figures[name] for name in ways.values())
    told = (
        f"{figures['ratio']:.2f}, compiled {figures['ratio, compiled']:.2f}; "
        f"same verdict on {same:.0f} of {figures['images']:.0f}"
    )
    return _compare(reached, told)


def _compare(reached: bool, told: str) -> str:
    return f"{'ahead' if reached else 'behind'} ({told})"


def markdown(found: Mapping[str, Figures], machine: Mapping[str, object]) -> str:
    """Machine, targets, and a table of each group's figures, to be taken over into docs/benchmarks.md."""
    lines = ["Measured with " + ", ".join(f"{name} {value}" for name, value in machine.items()) + ".", ""]
    lines += ["| asked for | reached |", "|---|---|"]
    lines += [f"| {name} | {verdict} |" for name, verdict in targets(found).items()]
    for group, figures in found.items():
        lines += ["", f"### {group}", "", "| what | figure |", "|---|---:|"]
        lines += [f"| {what} | {value:,.2f} |" for what, value in figures.items()]
    return "\n".join(lines) + "\n"
