"""The sums over a fit's trials."""

from __future__ import annotations

from dataclasses import replace

from autotl.recommend.work import Work
from autotl.strategies.base import TrialRecord

READ = {"images_per_s": 10.0, "store_reads": 30.0, "store_misses": 10.0, "saved_seconds": 2.5}


def record(number: int, **changes: object) -> TrialRecord:
    plain = TrialRecord(number, "finetune", {}, "pruned", seconds=4.0, figures=READ)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_trials_that_did_not_finish_count_too() -> None:
    work = Work.of([record(0), record(1, state="failed", figures={})], cache_bytes=5_000_000)
    assert work == Work(8.0, 2.5, 30, 10, 0, 5_000_000)
    assert work.metrics()["saved_seconds"] == 2.5
    facts = dict(work.facts())
    assert facts["Trials took"] == "8.0 s"
    assert facts["Without reuse they would have taken"] == "about 10 s"
    assert facts["Activations read instead of computed"] == "30 (75 %)"
    assert facts["Kept on disk for later fits"] == "5 MB"


def test_without_trials() -> None:
    assert dict(Work.of([], 0).facts())["Activations read instead of computed"] == "0"
