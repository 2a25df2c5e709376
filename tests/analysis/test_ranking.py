"""Successive halving of candidates whose worth is known."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from autotl.analysis import ranking
from autotl.analysis.ranking import MAX_CANDIDATES, RankedBackbone, growing_rows, rank_backbones

N, N_CLASSES = 900, 5
LABELS = np.random.default_rng(3).integers(0, N_CLASSES, N)
TRAIN = np.flatnonzero(np.arange(N) % 4)


class Candidates:
    """Makes features in which the classes lie so far apart, and notes who was asked for what."""

    def __init__(self, **distances: float) -> None:
        self.n_parameters = dict.fromkeys(distances, 1_000)
        self.asked: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        rng = np.random.default_rng(0)
        centres = rng.standard_normal((N_CLASSES, 20))
        self.values = {
            name: (distance * centres[LABELS] + rng.standard_normal((N, 20))).astype(np.float32)
            for name, distance in distances.items()
        }

    def features(self, name: str, samples: NDArray[np.int64]) -> NDArray[np.float32]:
        self.asked[name].append(samples)
        return self.values[name][samples]

    def ranked(self, **options: object) -> tuple[RankedBackbone, ...]:
        return rank_backbones(
            self.n_parameters,
            self.features,
            LABELS,
            TRAIN,
            **options,  # type: ignore[arg-type]
        )


def kept(entries: tuple[RankedBackbone, ...]) -> list[str]:
    return [entry.name for entry in entries if entry.kept]


TEN = {f"net{i}": 1.2 / 1.5**i for i in range(10)}


def test_the_best_are_kept_and_all_are_told() -> None:
    entries = Candidates(**TEN).ranked()
    assert sorted(entry.name for entry in entries) == sorted(TEN)
    assert kept(entries)[0] == "net0"
    assert "net1" in kept(entries)
    assert len(kept(entries)) <= MAX_CANDIDATES
    assert not set(kept(entries)) & {f"net{i}" for i in range(4, 10)}
    assert [entry.kept for entry in entries] == sorted((e.kept for e in entries), reverse=True)
    seen = [entry.n_pictures for entry in entries]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == ranking.FIRST_PICTURES


def test_most_candidates_see_few_pictures_and_only_training_ones() -> None:
    candidates = Candidates(**TEN)
    entries = candidates.ranked()
    for entry in entries:
        rounds = candidates.asked[entry.name]
        assert len(rounds[0]) == ranking.FIRST_PICTURES
        assert len(rounds[-1]) == entry.n_pictures <= ranking.MAX_PICTURES
        for fewer, more in pairwise(rounds):
            assert len(more) == 2 * len(fewer)
            assert np.isin(fewer, more).mean() > 0.95
        assert np.isin(rounds[-1], TRAIN).all()
        assert entry.seconds > 0
    first = {tuple(rounds[0]) for rounds in candidates.asked.values()}
    assert len(first) == 1  # the same pictures for all
    assert sum(len(rounds) == 1 for rounds in candidates.asked.values()) >= 3


def test_accuracy_and_its_difference_from_the_best() -> None:
    entries = Candidates(**TEN).ranked()
    best = entries[0]
    assert best.behind == best.standard_error == 0
    for entry in entries:
        assert entry.accuracy is not None
        assert entry.behind is not None
        assert entry.standard_error is not None
        assert 0 <= entry.accuracy <= 1
        if entry.n_pictures == best.n_pictures and best.accuracy is not None:
            assert entry.behind == pytest.approx(best.accuracy - entry.accuracy)
    last = next(entry for entry in entries if entry.name == "net9")
    assert last.accuracy is not None
    assert last.behind is not None
    right_of_both = last.accuracy + last.behind
    assert right_of_both > 0.9  # what the best had on those pictures
    bound = 0.5 / np.sqrt(last.n_pictures) * 2
    assert last.standard_error is not None
    assert 0.3 * bound < last.standard_error < bound


def test_the_order_of_the_candidates_does_not_matter() -> None:
    candidates = Candidates(**{**TEN, "same": 0.8, "twin": 0.8})
    candidates.values["twin"] = candidates.values["same"]
    first = candidates.ranked()
    candidates.n_parameters = dict(reversed(candidates.n_parameters.items()))
    again = candidates.ranked()
    assert [(e.name, e.kept, e.accuracy) for e in first] == [
        (e.name, e.kept, e.accuracy) for e in again
    ]


def test_equals_are_ordered_by_size_then_name() -> None:
    candidates = Candidates(e=1.0, c=1.0, b=1.0, d=1.0, a=1.0)
    for name in "bcde":
        candidates.values[name] = candidates.values["a"]
    candidates.n_parameters["d"] = 10
    entries = candidates.ranked()
    assert [entry.name for entry in entries] == ["d", "a", "b", "c", "e"]
    assert kept(entries) == ["d", "a", "b"]


def test_who_is_near_the_best_sees_more_than_half_would() -> None:
    """Six alike: the noise of the first round drops nobody for good but the last quarter."""
    candidates = Candidates(**{f"net{i}": 0.35 for i in range(8)})
    entries = candidates.ranked()
    n_second = sum(len(rounds) > 1 for rounds in candidates.asked.values())
    assert n_second == 6
    assert 2 <= len(kept(entries)) <= MAX_CANDIDATES
    assert entries[0].n_pictures == ranking.MAX_PICTURES


def test_a_clear_order_leaves_two() -> None:
    entries = Candidates(a=2.0, b=1.0, c=0.1, d=0.05).ranked()
    assert kept(entries) == ["a", "b"]
    assert entries[0].n_pictures == ranking.FIRST_PICTURES


def test_three_standard_errors_are_no_noise() -> None:
    candidates = Candidates(a=1.0, b=1.0, c=0.7, d=0.05)
    entries = candidates.ranked()
    third = entries[2]
    assert third.name == "c"
    assert third.behind is not None
    assert third.standard_error is not None
    assert 2.5 < third.behind / third.standard_error < 4.5
    assert kept(entries) == [entry.name for entry in entries[:2]]


def test_seconds_of_all_rounds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(ranking.time, "perf_counter", lambda: next(ticks))
    candidates = Candidates(**TEN)
    for entry in candidates.ranked():
        assert entry.seconds == len(candidates.asked[entry.name])


def test_features_that_are_not_finite_are_dropped() -> None:
    candidates = Candidates(**TEN)
    candidates.values["net0"][:] = np.nan
    entries = candidates.ranked()
    (broken,) = (entry for entry in entries if entry.name == "net0")
    assert not broken.kept
    assert broken.accuracy is None
    assert "finite" in str(broken)
    assert kept(entries)[0] == "net1"


def test_nothing_known_of_any_keeps_two() -> None:
    candidates = Candidates(**TEN)
    for values in candidates.values.values():
        values[:] = np.inf
    assert kept(candidates.ranked()) == ["net0", "net1"]


def test_out_of_time_the_first_round_decides() -> None:
    candidates = Candidates(**{f"net{i}": 0.35 for i in range(8)})
    entries = candidates.ranked(limit_s=0.0)
    assert {entry.n_pictures for entry in entries} == {ranking.FIRST_PICTURES}
    assert 2 <= len(kept(entries)) <= MAX_CANDIDATES


def test_out_of_time_no_more_than_two_are_kept_that_are_not_near() -> None:
    clear = {"a": 2.0, "b": 1.9, **{f"net{i}": 0.1 for i in range(8)}}
    assert sorted(kept(Candidates(**clear).ranked(limit_s=0.0))) == ["a", "b"]


def test_few_samples_are_all_seen_once() -> None:
    candidates = Candidates(**{f"net{i}": 0.35 for i in range(8)})
    few = TRAIN[:60]
    entries = rank_backbones(candidates.n_parameters, candidates.features, LABELS, few)
    assert all(len(rounds) == 1 for rounds in candidates.asked.values())
    assert {entry.n_pictures for entry in entries} == {60}


def test_groups_do_not_predict_themselves_and_widen_the_error() -> None:
    """One knows the sixty groups, the other the classes a little."""
    rng = np.random.default_rng(2)
    groups = np.arange(N) // 15
    labels = (groups % 2).astype(np.int64)
    known = np.eye(60)[groups].astype(np.float32)
    weak = (labels[:, None] + rng.standard_normal((N, 1))).astype(np.float32)
    values = {"groups": known, "classes": weak, "none": weak * 0, "more": weak * 0}

    def features(name: str, samples: NDArray[np.int64]) -> NDArray[np.float32]:
        return values[name][samples]

    sizes = dict.fromkeys(values, 1)
    alone = rank_backbones(sizes, features, labels, TRAIN)
    apart = rank_backbones(sizes, features, labels, TRAIN, groups)
    assert alone[0].name == "groups"
    assert apart[0].name == "classes"


def test_errors_of_samples_that_are_alike_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers within each group: as sure as so many groups, not as so many samples."""
    rng = np.random.default_rng(4)
    groups = np.arange(N) // 9
    answers = {name: rng.random(N) < p for name, p in {"a": 0.9, "b": 0.7}.items()}
    answers |= {"c": np.zeros(N, dtype=bool), "d": np.zeros(N, dtype=bool)}
    answers["b"] = answers["b"][groups * 9]

    def right(values: NDArray[np.float32], *_: object) -> NDArray[np.bool_]:
        return values[:, 0] > 0

    monkeypatch.setattr(ranking, "left_out_right", right)

    def error(own_groups: NDArray[np.int64] | None) -> float:
        entries = rank_backbones(
            dict.fromkeys(answers, 1),
            lambda name, samples: answers[name][samples, None].astype(np.float32),
            LABELS,
            np.arange(ranking.FIRST_PICTURES),
            own_groups,
        )
        (found,) = (entry.standard_error for entry in entries if entry.name == "b")
        assert found is not None
        return found

    assert error(groups) > 1.8 * error(None)
    assert error(np.zeros(N, dtype=np.int64)) == error(None)


@pytest.mark.parametrize("n_classes", [2, 10, 100])
def test_rows_hold_every_class_or_enough_of_some(n_classes: int) -> None:
    labels = np.random.default_rng(0).integers(0, n_classes, 2_000)
    rows = growing_rows(labels, 128, seed=1)
    counts = np.bincount(labels[rows], minlength=n_classes)
    assert len(rows) == len(set(rows)) <= 128
    assert len(rows) >= 120
    if n_classes <= 25:
        assert counts.min() >= 0.6 * 128 / n_classes
    else:
        assert counts[counts > 0].min() >= 3
        assert (counts > 0).sum() <= 26


def test_rows_of_rare_classes_and_of_all() -> None:
    labels = np.array([0] * 900 + [1] * 100)
    assert 8 <= (labels[growing_rows(labels, 128, 0)] == 1).sum() <= 18
    np.testing.assert_array_equal(growing_rows(labels, 5_000, 0), np.arange(1_000))
    assert not np.array_equal(growing_rows(labels, 128, 0), growing_rows(labels, 128, 1))


def test_words() -> None:
    entry = RankedBackbone("net@/w/deep/file.pt", 128, 0.5, 0.123, 0.031, 1.0, True)
    assert entry.short_name == "net@file.pt"
    assert str(entry) == "accuracy 0.50 on 128 pictures, 12.3 +- 3.1 points behind"
    assert (
        str(RankedBackbone("net", 256, 0.7, 0.0, 0.0)) == "accuracy 0.70 on 256 pictures, the best"
    )
