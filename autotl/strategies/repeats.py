"""Runs of a trial with further seeds, on equal terms."""

from __future__ import annotations

from collections.abc import Sequence

from autotl.strategies.base import TrialRecord


def of_whole_rounds(repeats: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those of the rounds that every repeated trial has ended: so all have as many seeds.

    Args:
        repeats: in any order; a trial's k-th has ``repeat`` k, from 1 on.
    """
    ended: dict[int, int] = {record.number: 0 for record in repeats}
    for record in repeats:
        ended[record.number] += record.state in ("complete", "failed")
    n_rounds = min(ended.values(), default=0)
    return [record for record in repeats if record.repeat <= n_rounds]
