"""The live display and the plain lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from autotl.cli.board import Board, duration
from autotl.cli.display import LiveProgress, PlainProgress, watching


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def text(board: Board) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(board.render())
    return console.file.getvalue()


def story(progress) -> None:
    progress.phase("search", 100.0)
    progress.trial_started(0, "bottleneck")
    progress.trial_ended(0, "bottleneck", "complete", 0.8, 4.0)
    progress.trial_started(1, "scratch")
    progress.epoch(1, 0.25, 0.5)
    progress.trial_ended(1, "scratch", "pruned", None, 3.0)
    progress.trial_started(2, "finetune")
    progress.epoch(2, 0.5, 0.85)


def test_the_board_shows_phase_trials_best_and_time_left():
    clock = Clock()
    board = Board(clock=clock)
    story(board)
    clock.now = 30.0
    shown = text(board)
    assert "trying strategies" in shown
    assert "2 trials (1 pruned) · 0:30 gone · 1:10 left" in shown
    assert "▸ bottleneck" in shown
    assert "0.800" in shown
    assert "trial 2 finetune" in shown
    assert "50 % · 0:30 · 0.850 so far" in shown


def test_the_best_strategy_leads():
    board = Board()
    story(board)
    assert board.best_strategy == "bottleneck"
    board.trial_ended(2, "finetune", "complete", 0.9, 20.0)
    assert board.best_strategy == "finetune"
    assert not board.running


def test_of_a_loss_the_smaller_is_better():
    board = Board(smaller_is_better=True)
    board.trial_started(0, "scratch")
    board.epoch(0, 0.5, -0.7)
    assert board.running[0].value == 0.7
    board.trial_ended(0, "scratch", "complete", 0.7, 1.0)
    board.trial_ended(1, "finetune", "complete", 0.4, 1.0)
    board.trial_ended(2, "finetune", "complete", 0.6, 1.0)
    assert board.best_strategy == "finetune"
    assert board.tallies["finetune"].best == 0.4


def test_steps_belong_to_their_phase():
    board = Board()
    board.phase("decode")
    board.step(1200, 5000)
    assert "1,200 of 5,000" in text(board)
    board.phase("profile")
    assert "1,200" not in text(board)


def test_a_fit_without_a_budget_shows_no_time_left():
    board = Board()
    board.phase("search", None)
    assert "left" not in text(board)
    board.phase("search", float("inf"))
    assert "left" not in text(board)


def test_an_unknown_phase_is_shown_by_its_name():
    board = Board()
    board.phase("dreaming")
    assert "dreaming" in text(board)


def test_names_are_not_taken_for_markup():
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    progress = PlainProgress(console)
    progress.note("2 pictures of class [red] are left out")
    progress.phase("[bold]")
    assert "class [red] are" in console.file.getvalue()
    assert "[bold]" in console.file.getvalue()


def test_the_live_display_draws_the_story_and_keeps_the_notes():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with LiveProgress(console) as progress:
        story(progress)
        progress.note("the hub can't be reached")
    shown = console.file.getvalue()
    assert "note: the hub can't be reached" in shown
    assert "trial 2 finetune" in shown


def test_plain_lines_tell_phases_and_ended_trials():
    console = Console(file=io.StringIO(), width=40)
    progress = PlainProgress(console)
    story(progress)
    assert [line.split("] ")[1] for line in console.file.getvalue().splitlines()] == [
        "trying strategies (1:39 left)",
        "trial 0 bottleneck: 0.800 after 4.0 s, best so far",
        "trial 1 scratch: pruned after 3.0 s",
    ]


@pytest.mark.parametrize("kind", [PlainProgress, LiveProgress])
def test_a_name_does_not_steer_the_terminal(kind):
    console = Console(file=io.StringIO(), width=100, color_system=None)
    progress = kind(console)
    progress.note("unreadable: a\x1b]0;title\x07\x9b2J[red].png")
    assert r"unreadable: a\x1b]0;title\x07\x9b2J[red].png" in console.file.getvalue()


@pytest.mark.parametrize("quiet", [True, False])
def test_without_a_terminal_there_are_plain_lines(quiet):
    with watching(quiet) as progress:
        assert isinstance(progress, PlainProgress)


def test_in_a_terminal_there_is_a_live_display_unless_quiet(monkeypatch):
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    with watching(quiet=True) as progress:
        assert isinstance(progress, PlainProgress)
    with watching() as progress:
        assert isinstance(progress, LiveProgress)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (7.9, "0:07"), (61, "1:01"), (3600, "1:00:00"), (-3, "0:00")],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown
