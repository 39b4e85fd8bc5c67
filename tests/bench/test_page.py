"""A bench's figures as targets and as a page."""

from tests.bench.page import markdown, targets

FAST = {
    "images": 10.0,
    "ratio": 3.0,
    "ratio, compiled": 2.0,
    "same verdict": 10.0,
    "same verdict, compiled": 10.0,
}
FOUND = {
    "start-up": {"advarch --help, s": 0.25},
    "PGD-20 evaluation, mnist_m": {"ratio": 1.99},
    "AutoAttack, many stand": FAST,
}


def verdict(**changes: float) -> str:
    figures = FAST | {name.replace("_", " "): value for name, value in changes.items()}
    return targets(FOUND | {"AutoAttack, many stand": figures})[
        "AutoAttack, many stand, 2.5 times pyautoattack"
    ]


def test_a_target_says_ahead_or_behind_with_what_was_measured() -> None:
    assert targets(FOUND) == {
        "help in under 1.5 s": "ahead (0.25 s)",
        "PGD-20 evaluation, mnist_m, 2 times torchattacks": "behind (1.99)",
        "AutoAttack, many stand, 2.5 times pyautoattack": "ahead (3.00, compiled 2.00; same verdict on 10 of 10)",
    }


def test_autoattack_may_reach_its_target_compiled_but_not_with_another_verdict() -> None:
    assert verdict(ratio=2.4).startswith("behind")
    compiled = {"ratio, compiled": 2.6}
    assert verdict(ratio=2.4, **compiled).startswith("ahead")
    assert verdict(ratio=2.4, **compiled, **{"same verdict, compiled": 9.0}).startswith("behind")
    assert verdict(same_verdict=9.0) == "behind (3.00, compiled 2.00; same verdict on 9 of 10)"


def test_the_page_has_the_machine_every_target_and_every_figure() -> None:
    text = markdown(FOUND, {"date": "2030-01-02", "torch": "9.9"})
    assert text.startswith("Measured with date 2030-01-02, torch 9.9.\n")
    assert "| PGD-20 evaluation, mnist_m, 2 times torchattacks | behind (1.99) |" in text
    assert (
        "### AutoAttack, many stand\n\n| what | figure |\n|---|---:|\n| images | 10.00 |\n| ratio | 3.00 |"
        in text
    )
