"""Repeats of trials: only whole rounds count."""

from __future__ import annotations

import pytest

from autotl.strategies.base import TrialRecord
from autotl.strategies.repeats import of_whole_rounds


def ran(number: int, repeat: int, state: str = "complete") -> TrialRecord:
    return TrialRecord(number, "finetune", {}, state, 1.0, repeat=repeat)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["complete", "failed"])
def test_a_round_counts_once_all_of_it_has_ended(state: str) -> None:
    whole = [ran(3, 1), ran(5, 1, state)]
    assert of_whole_rounds(whole) == whole
    assert of_whole_rounds([*whole, ran(3, 2)]) == whole
    assert of_whole_rounds([*whole, ran(3, 2), ran(5, 2, "interrupted")]) == whole


def test_without_repeats_there_is_no_round() -> None:
    assert of_whole_rounds([]) == []
