"""No group on two sides, every class to train on, shares kept, equal seeds equal splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data import Part
from autotl.data.splits import MAX_HELD_OUT, Split, expected_test_size, make_split
from autotl.errors import InputError

UNASSIGNED, TRAIN, VALIDATION, TEST = Part


def check(split: Split, labels: np.ndarray, groups: np.ndarray | None = None) -> None:
    """What holds for every split."""
    groups = np.arange(len(labels)) if groups is None else groups
    everything = np.concatenate([split.development, split.test, split.dropped])
    assert sorted(everything) == list(range(len(labels)))
    assert not set(groups[split.development]) & set(groups[split.test])
    assert set(groups[split.dropped]) <= set(groups[split.test])
    assert split.test.size
    assert split.folds
    seen: set[int] = set()
    labels_dev, groups_dev = labels[split.development], groups[split.development]
    for indices in (split.development, split.test, split.dropped):
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
    for fold in split.folds:
        assert fold.validation.size
        assert not set(fold.train) & set(fold.validation)
        assert not set(groups_dev[fold.train]) & set(groups_dev[fold.validation])
        assert set(labels_dev[fold.train]) == set(labels_dev)
        assert not seen & set(fold.validation)
        seen |= set(fold.validation)


def counts(labels: np.ndarray, indices: np.ndarray, n_classes: int) -> np.ndarray:
    return np.bincount(labels[indices], minlength=n_classes)


class TestUngrouped:
    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.integers(2, 40), min_size=2, max_size=12), st.integers(0, 1000))
    def test_properties(self, sizes: list[int], seed: int) -> None:
        labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
        split = make_split(labels, None, seed=seed)
        check(split, labels)
        n_dev = counts(labels, split.development, len(sizes))
        n_test = counts(labels, split.test, len(sizes))
        assert (n_dev >= 1).all()
        for size, held_out in zip(sizes, n_test, strict=True):
            if size >= 3:
                assert held_out >= 1
                assert abs(held_out - 0.2 * size) <= 1
        if (n_dev >= 2).all():
            validated = np.concatenate([fold.validation for fold in split.folds])
            assert sorted(validated) == list(range(len(split.development)))
            assert len(split.folds) == min(5, *n_dev)
            per_fold = [
                counts(labels[split.development], fold.validation, len(sizes))
                for fold in split.folds
            ]
            assert np.ptp(per_fold, axis=0).max() <= 1
            totals = [fold.validation.size for fold in split.folds]
            assert max(totals) - min(totals) <= 1

    @pytest.mark.parametrize(
        ("n", "n_folds"), [(100, 5), (620, 5), (640, 3), (1240, 3), (1260, 1), (30_000, 1)]
    )
    def test_fold_count(self, n: int, n_folds: int) -> None:
        split = make_split(np.arange(n) % 4, None, seed=0)
        assert len(split.folds) == n_folds

    def test_large_data_holds_out_no_more_than_the_limit(self) -> None:
        labels = np.random.default_rng(0).integers(0, 10, 30_000)
        labels[:5] = 10  # rare, and yet in the test set
        split = make_split(labels, None, seed=0)
        check(split, labels)
        assert abs(split.test.size - MAX_HELD_OUT) <= 11
        assert abs(split.folds[0].validation.size - MAX_HELD_OUT) <= 11
        assert 10 in labels[split.test]

    def test_two_of_each_class(self) -> None:
        for n_classes in (2, 3, 10, 50):
            labels = np.repeat(np.arange(n_classes), 2)
            split = make_split(labels, None, seed=0)
            check(split, labels)
            assert split.test.size <= max(1, 0.2 * len(labels))

    def test_rare_class_among_common_ones(self) -> None:
        labels = np.array([0] * 50 + [1] * 50 + [2] * 2)
        split = make_split(labels, None, seed=0)
        check(split, labels)
        assert len(split.folds) == 2
        assert (labels[split.development] == 2).sum() == 2

    def test_class_with_a_single_sample_always_trains(self) -> None:
        labels = np.array([0] * 20 + [1] * 20 + [2])
        split = make_split(labels, None, seed=0)
        check(split, labels)
        assert len(split.folds) == 5

    def test_given_fold_count_and_fraction(self) -> None:
        labels = np.arange(300) % 3
        split = make_split(labels, None, seed=0, test_fraction=0.5, n_folds=4)
        assert len(split.folds) == 4
        assert split.test.size == 150
        single = make_split(labels, None, seed=0, n_folds=1)
        assert [fold.validation.size for fold in single.folds] == [48]

    @pytest.mark.parametrize("samples_per_group", [1, 3])
    def test_large_test_fraction_leaves_two_groups_per_class(self, samples_per_group: int) -> None:
        labels = np.repeat(np.arange(4), 6 * samples_per_group)
        groups = np.arange(len(labels)) // samples_per_group
        split = make_split(labels, groups, seed=0, test_fraction=0.95)
        check(split, labels, groups)
        assert (counts(labels, split.development, 4) == 2 * samples_per_group).all()

    def test_equal_seeds_equal_splits(self) -> None:
        labels = np.arange(200) % 3
        first, again, other = (make_split(labels, None, seed=seed) for seed in (1, 1, 2))
        assert (first.test == again.test).all()
        for a, b in zip(first.folds, again.folds, strict=True):
            assert (a.train == b.train).all()
            assert (a.validation == b.validation).all()
        assert not np.array_equal(first.test, other.test)

    def test_numbering_of_classes_and_groups_does_not_matter(self) -> None:
        labels, groups = np.arange(60) % 3, np.arange(60) // 2
        plain = make_split(labels, groups, seed=0)
        renamed = make_split((labels + 5) * 7, 1000 - groups, seed=0)
        assert (plain.test == renamed.test).all()


class TestGrouped:
    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25)), min_size=20, max_size=120),
        st.integers(0, 100),
    )
    def test_properties(self, samples: list[tuple[int, int]], seed: int) -> None:
        """Groups of mixed classes, tangled as they come."""
        labels, groups = np.array(samples, dtype=np.int64).T
        if len(np.unique(labels)) < 2:
            return
        try:
            split = make_split(labels, groups, seed=seed)
        except InputError as error:
            assert "group" in str(error)  # noqa: PT017 - few groups: an honest no
            return
        check(split, labels, groups)

    @pytest.mark.parametrize("n_groups", [3, 4, 6, 20])
    def test_each_group_holds_all_classes(self, n_groups: int) -> None:
        """Speakers, drawers, patients: whole ones are held out, about a fifth of them."""
        labels = np.tile(np.arange(10), 12 * n_groups)
        groups = np.repeat(np.arange(n_groups), 120)
        split = make_split(labels, groups, seed=0)
        check(split, labels, groups)
        assert len(np.unique(groups[split.test])) == max(1, round(0.2 * n_groups))

    def test_pure_groups_are_stratified(self) -> None:
        rng = np.random.default_rng(0)
        group_label = rng.choice(3, 400, p=[0.7, 0.2, 0.1])
        groups = np.repeat(np.arange(400), rng.integers(1, 5, 400))
        labels = group_label[groups]
        split = make_split(labels, groups, seed=0)
        check(split, labels, groups)
        share = counts(labels, split.test, 3) / np.bincount(labels)
        assert np.abs(share - 0.2).max() < 0.04
        n_dev = counts(labels, split.development, 3)
        for fold in split.folds:
            validated = counts(labels[split.development], fold.validation, 3)
            assert np.abs(validated / n_dev - 1 / len(split.folds)).max() < 0.05

    def test_mixed_groups_are_stratified(self) -> None:
        rng = np.random.default_rng(0)
        groups = rng.integers(0, 120, 1500)
        labels = rng.choice(3, 1500, p=[0.7, 0.2, 0.1])
        split = make_split(labels, groups, seed=0)
        check(split, labels, groups)
        share = counts(labels, split.test, 3) / np.bincount(labels)
        assert np.abs(share - 0.2).max() < 0.06

    def test_class_in_a_single_group_always_trains(self) -> None:
        labels = np.array([0, 1] * 30 + [2] * 6)
        groups = np.concatenate([np.arange(60) // 2, np.full(6, 99)])
        split = make_split(labels, groups, seed=0)
        check(split, labels, groups)
        assert (labels[split.development] == 2).sum() == 6

    def test_fold_count_follows_the_groups(self) -> None:
        labels, groups = np.tile([0, 1], 40), np.repeat(np.arange(4), 20)
        split = make_split(labels, groups, seed=0)
        check(split, labels, groups)
        assert len(split.folds) == 3  # one of the four groups is the test set

    @pytest.mark.parametrize("n_groups", [1, 2])
    def test_too_few_groups(self, n_groups: int) -> None:
        labels, groups = np.tile([0, 1], 40), np.repeat(np.arange(n_groups), 80 // n_groups)
        with pytest.raises(InputError, match="at least 3 groups"):
            make_split(labels, groups, seed=0)

    def test_group_per_class(self) -> None:
        labels = np.repeat([0, 1, 2], 20)
        with pytest.raises(InputError, match="group"):
            make_split(labels, labels, seed=0)

    def test_many_groups(self) -> None:
        rng = np.random.default_rng(0)
        labels, groups = rng.integers(0, 10, 100_000), rng.integers(0, 60_000, 100_000)
        split = make_split(labels, groups, seed=0)
        assert not set(groups[split.development]) & set(groups[split.test])
        assert 4500 < split.test.size <= 5500


class TestGivenParts:
    def test_test_part_is_the_test_set(self) -> None:
        labels = np.arange(100) % 2
        parts = np.where(np.arange(100) < 70, TRAIN, TEST).astype(np.int8)
        split = make_split(labels, None, parts, seed=0)
        check(split, labels)
        assert split.test.tolist() == list(range(70, 100))
        assert len(split.folds) == 5

    def test_validation_part_is_the_fold(self) -> None:
        labels = np.arange(100) % 2
        parts = np.repeat([TRAIN, VALIDATION, TEST], [60, 20, 20]).astype(np.int8)
        split = make_split(labels, None, parts, seed=0)
        check(split, labels)
        (fold,) = split.folds
        assert split.development[fold.validation].tolist() == list(range(60, 80))
        assert split.development[fold.train].tolist() == list(range(60))

    def test_validation_part_without_test_part(self) -> None:
        labels = np.arange(100) % 2
        parts = np.repeat([UNASSIGNED, VALIDATION], [80, 20]).astype(np.int8)
        split = make_split(labels, None, parts, seed=0)
        check(split, labels)
        assert split.test.max() < 80
        assert split.test.size == 16
        assert split.development[split.folds[0].validation].tolist() == list(range(80, 100))

    def test_training_copies_of_the_test_part_are_dropped(self) -> None:
        labels = np.arange(40) % 2
        groups = np.arange(40)
        groups[[3, 5]] = groups[[38, 39]]
        parts = np.repeat([TRAIN, TEST], [30, 10]).astype(np.int8)
        split = make_split(labels, groups, parts, seed=0)
        check(split, labels, groups)
        assert split.dropped.tolist() == [3, 5]
        assert split.test.tolist() == list(range(30, 40))

    def test_training_copies_of_the_validation_part_do_not_train(self) -> None:
        labels = np.arange(40) % 2
        groups = np.arange(40)
        groups[3] = groups[25]
        parts = np.repeat([TRAIN, VALIDATION, TEST], [20, 10, 10]).astype(np.int8)
        split = make_split(labels, groups, parts, seed=0)
        check(split, labels, groups)
        assert 3 in split.development
        assert 3 not in split.development[split.folds[0].train]

    @pytest.mark.parametrize("part", [TEST, VALIDATION])
    def test_given_parts_that_share_all_groups(self, part: Part) -> None:
        labels, groups = np.arange(60) % 3, np.arange(60) % 6
        parts = np.repeat([TRAIN, part], 30).astype(np.int8)
        with pytest.raises(InputError, match="given"):
            make_split(labels, groups, parts, seed=0)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 60), st.sampled_from(list(Part))),
            min_size=20,
            max_size=100,
        )
    )
    def test_properties(self, samples: list[tuple[int, int, Part]]) -> None:
        labels, groups, parts = np.array(samples, dtype=np.int64).T
        if len(np.unique(labels)) < 2:
            return
        try:
            split = make_split(labels, groups, parts.astype(np.int8), seed=0)
        except InputError:
            return
        if (parts == TEST).any():
            assert split.test.tolist() == np.flatnonzero(parts == TEST).tolist()
        else:
            assert not (parts[split.test] == VALIDATION).any()
        labels_dev = labels[split.development]
        groups_dev = groups[split.development]
        assert not set(groups_dev) & set(groups[split.test])
        for fold in split.folds:
            assert not set(groups_dev[fold.train]) & set(groups_dev[fold.validation])
            assert set(labels_dev[fold.train]) == set(labels_dev)


def test_bad_arguments_are_listed_together() -> None:
    with pytest.raises(InputError) as caught:
        make_split(
            np.zeros(4, np.int64), np.zeros(3, np.int64), seed=0, test_fraction=1.5, n_folds=0
        )
    for part in ("groups must be as many", "at least 2 classes", "1.5", "n_folds"):
        assert part in str(caught.value)


@pytest.mark.parametrize("n", [23, 100, 40_000])
def test_the_size_of_a_test_set_is_known_beforehand(n: int) -> None:
    split = make_split(np.arange(n) % 2, None, seed=0)
    assert 0.8 * expected_test_size(n) <= len(split.test) <= expected_test_size(n)


def test_that_of_a_given_one_too() -> None:
    parts = np.repeat([TRAIN, VALIDATION, TEST], [60, 20, 33]).astype(np.int8)
    assert expected_test_size(113, parts) == 33
    assert expected_test_size(100, parts[:60]) == 20
