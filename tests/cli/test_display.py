"""What a terminal shows of one job."""

from functools import partial

import pytest
from rich.console import Console

from advarch.cli import display
from advarch.cli.display import duration
from advarch.records import Progress


def test_a_terminal_shows_the_picture_below_the_bar_and_other_output_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Progress("search", 1, 4, "step", None, "clean 50.0%", "normal cell\n2 ← skip(k−2)")
    monkeypatch.setattr(display, "LINE_SECONDS", 0.0)
    with display.JobDisplay() as plain:
        plain.report(told)
    assert capsys.readouterr().out.split("\n")[0].strip() == "search 25%  clean 50.0%"
    monkeypatch.setattr(display, "Console", partial(Console, force_terminal=True, width=90))
    with display.JobDisplay() as live:
        live.report(told)
        live.say("a line that stays")
    shown = capsys.readouterr().err
    assert "25 %" in shown and "2 ← skip(k−2)" in shown and "a line that stays" in shown
    assert shown.index("clean 50.0%") < shown.index("2 ← skip(k−2)")


@pytest.mark.parametrize(
    ("days", "said"), [(3.2, "3.2 d"), (730, "730.0 d"), (731, "2 years"), (54286.7, "149 years")]
)
def test_from_two_years_on_a_duration_is_in_years(days: float, said: str) -> None:
    assert duration(days * 86400) == said
