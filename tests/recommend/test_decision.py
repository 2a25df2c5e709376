"""The decision: who wins, by how much, and what became of the rules of thumb."""

import dataclasses

import numpy as np
import pytest

from autotl.errors import InputError
from autotl.metrics import METRICS, paired_difference
from autotl.recommend.decision import decide

ACCURACY = METRICS["accuracy"]


@pytest.fixture
def records(labels, make_record):
    """Fine-tuning misses 40 of 400, the SVM 44, scratch 80; they cost 60 s, 2 s and 90 s."""
    return [
        make_record(0, "bottleneck", labels, 44, seconds=2.0, first_wrong=10),
        make_record(1, "bottleneck", labels, 60, seconds=1.0),
        make_record(2, "finetune", labels, 40, seconds=60.0),
        make_record(3, "scratch", labels, 80, seconds=90.0),
        make_record(4, "scratch", labels, None, state="pruned", seconds=5.0),
        make_record(5, "finetune", labels, None, state="failed", seconds=3.0, error="no memory"),
    ]


def independent_difference(first, second, labels):
    """McNemar's counts: only samples on which exactly one of the two is right matter."""
    a = first.result.probabilities.argmax(axis=1) == labels
    b = second.result.probabilities.argmax(axis=1) == labels
    n_only_first, n_only_second, n = (a & ~b).sum(), (b & ~a).sum(), len(labels)
    difference = (n_only_first - n_only_second) / n
    variance = ((n_only_first + n_only_second) - (n_only_first - n_only_second) ** 2 / n) / n
    return difference, np.sqrt(variance / (n - 1))


def test_paired_difference_agrees_with_mcnemar_counts(records, labels):
    first, second = records[2], records[0]
    difference, error = paired_difference(
        ACCURACY, labels, first.result.probabilities, second.result.probabilities
    )
    assert (difference, error) == pytest.approx(independent_difference(first, second, labels))


def test_paired_bootstrap_agrees_with_the_formula(records, labels):
    """Any other metric goes through the bootstrap: balanced accuracy is accuracy on equal classes,
    and resampling within classes can only take variance away."""
    first, second = records[2], records[0]
    difference, error = paired_difference(
        METRICS["balanced_accuracy"],
        labels,
        first.result.probabilities,
        second.result.probabilities,
        n_resamples=2000,
    )
    expected, formula = independent_difference(first, second, labels)
    assert difference == pytest.approx(expected)
    assert 0.8 * formula < error < 1.1 * formula


def test_accuracy_takes_the_best(records, labels, make_profile):
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy")
    assert decision.winner.number == 2
    assert 0 < decision.optimism < 0.02
    assert decision.expected == pytest.approx(0.9 - decision.optimism)
    assert decision.n_validated == 400
    assert decision.interval[0] < 0.9 < decision.interval[1]


def test_balanced_takes_the_cheapest_within_one_standard_error(records, labels, make_profile):
    difference, error = independent_difference(records[2], records[0], labels)
    assert 0 < difference < error  # else this test tests nothing
    decision = decide(records, labels, ACCURACY, make_profile(labels), "balanced")
    assert decision.winner.number == 0
    assert any("within the noise" in note and "1 min" in note for note in decision.notes)


def test_a_little_cheaper_is_not_a_reason(labels, make_record, make_profile):
    records = [
        make_record(0, "finetune", labels, 40, seconds=31.0),
        make_record(1, "scratch", labels, 42, seconds=30.0),
    ]
    decision = decide(records, labels, ACCURACY, make_profile(labels), "balanced")
    assert decision.winner.number == 0
    assert not any("instead of" in note for note in decision.notes)


def test_cheap_goes_twice_as_far_as_balanced(labels, make_record, make_profile):
    records = [
        make_record(0, "finetune", labels, 40, seconds=60.0),
        make_record(1, "bottleneck", labels, 49, seconds=2.0, first_wrong=25),
    ]
    difference, error = independent_difference(*records, labels)
    assert error < difference < 2 * error
    profile = make_profile(labels)
    assert decide(records, labels, ACCURACY, profile, "balanced").winner.number == 0
    assert decide(records, labels, ACCURACY, profile, "cheap").winner.number == 1


@pytest.mark.parametrize("prefer", ["accuracy", "balanced", "cheap"])
def test_a_clear_winner_wins_whatever_is_preferred(prefer, labels, make_record, make_profile):
    records = [
        make_record(0, "finetune", labels, 20, seconds=60.0),
        make_record(1, "bottleneck", labels, 120, seconds=2.0),
    ]
    decision = decide(records, labels, ACCURACY, make_profile(labels), prefer)
    assert decision.winner.number == 0


def test_strategies_are_summarised_best_first(records, labels, make_profile):
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy")
    assert [s.strategy for s in decision.strategies] == ["finetune", "bottleneck", "scratch"]
    finetune, bottleneck, scratch = decision.strategies
    assert (finetune.n_complete, finetune.n_pruned, finetune.n_other) == (1, 0, 1)
    assert (scratch.n_complete, scratch.n_pruned, scratch.n_other) == (1, 1, 0)
    assert bottleneck.best == 0
    assert bottleneck.total_seconds == pytest.approx(3.0)
    assert scratch.total_seconds == pytest.approx(95.0)
    assert finetune.difference == 0.0
    assert (scratch.difference, scratch.standard_error) == pytest.approx(
        independent_difference(records[2], records[3], labels)
    )


def test_a_strategy_without_finished_trial_is_last_and_noted(labels, make_record, make_profile):
    records = [
        make_record(0, "scratch", labels, None, state="pruned"),
        make_record(1, "bottleneck", labels, 40),
    ]
    decision = decide(records, labels, ACCURACY, make_profile(labels), "balanced")
    assert [s.strategy for s in decision.strategies] == ["bottleneck", "scratch"]
    assert decision.strategies[1].best is None
    assert np.isnan(decision.strategies[1].value)
    assert any("finetune, scratch" in note for note in decision.notes)


def test_no_finished_trial_is_an_error_that_says_why(labels, make_record, make_profile):
    records = [make_record(0, "scratch", labels, None, state="failed", error="loss is nan")]
    with pytest.raises(InputError, match=r"loss is nan.*larger time budget"):
        decide(records, labels, ACCURACY, make_profile(labels), "balanced")
    with pytest.raises(InputError, match="none was run"):
        decide([], labels, ACCURACY, make_profile(labels), "balanced")


def outcome(decision, name):
    return next(rule for rule in decision.rules if rule.name == name)


def test_rules_hold_are_overturned_undecided_and_untested(labels, make_record, make_profile):
    records = [
        make_record(0, "bottleneck", labels, 100, seconds=1.0, head="svm"),
        make_record(1, "bottleneck", labels, 100, seconds=1.0, head="logistic", first_wrong=2),
        make_record(2, "finetune", labels, 30, lr_ratio=0.1, freeze_depth=2),
        make_record(3, "finetune", labels, 90, lr_ratio=1.0, freeze_depth=2),
    ]
    decision = decide(records, labels, ACCURACY, make_profile(labels), "balanced")
    few = outcome(decision, "few samples: linear SVM")
    assert few.verdict == "overturned"
    assert (few.favoured, few.others) == (pytest.approx(0.75), pytest.approx(0.925))
    assert "400 samples" in few.figures
    assert outcome(decision, "10x smaller rate").verdict == "held"
    assert outcome(decision, "SVM rather than a dense layer").verdict == "undecided"
    frozen = outcome(decision, "freeze the first layers")
    assert frozen.verdict == "untested"
    assert frozen.favoured == pytest.approx(0.925)
    assert frozen.others is None


def test_rules_that_do_not_apply_are_left_out(labels, make_record, make_profile):
    records = [make_record(0, "bottleneck", labels, 40)]
    close = make_profile(labels, similarity=0.9, n_samples=5_000)
    names = {r.name for r in decide(records, labels, ACCURACY, close, "balanced").rules}
    assert {"close domain: transfer", "moderate data: fine-tune"} <= names
    assert not {"far domain: scratch", "few samples: linear SVM"} & names
    unknown = make_profile(labels, similarity=None)
    names = {r.name for r in decide(records, labels, ACCURACY, unknown, "balanced").rules}
    assert not {"close domain: transfer", "far domain: scratch"} & names


def test_negative_transfer_is_said(labels, make_record, make_profile):
    scratch = make_record(0, "scratch", labels, 20, seconds=60.0)
    far_behind = make_record(1, "finetune", labels, 90, seconds=60.0)
    close_behind = make_record(2, "finetune", labels, 22, seconds=60.0, first_wrong=5)
    profile = make_profile(labels)
    notes = decide([scratch, far_behind], labels, ACCURACY, profile, "balanced").notes
    assert any("negative transfer" in note and "17.5 ± " in note for note in notes)
    notes = decide([scratch, close_behind], labels, ACCURACY, profile, "balanced").notes
    assert not any("negative transfer" in note for note in notes)


def test_a_loss_is_won_by_the_smaller_value_and_told_in_nats(labels, make_record, make_profile):
    records = [
        make_record(0, "scratch", labels, 10, metric="log_loss", seconds=60.0),
        make_record(1, "finetune", labels, 150, metric="log_loss", seconds=70.0),
    ]
    decision = decide(records, labels, METRICS["log_loss"], make_profile(labels), "balanced")
    assert decision.winner.number == 0
    scratch, finetune = decision.strategies
    assert scratch.value < finetune.value
    assert finetune.difference == pytest.approx(finetune.value - scratch.value)
    assert any("nats better" in note for note in decision.notes)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_score_that_is_not_a_number_never_wins(labels, make_record, make_profile):
    metric = METRICS["log_loss"]
    good = make_record(1, "finetune", labels, 100, metric="log_loss")
    bad = make_record(0, "bottleneck", labels, 10, seconds=1.0, metric="log_loss")
    nothing = np.full_like(bad.result.probabilities, np.nan)
    result = dataclasses.replace(bad.result, probabilities=nothing, score=float("nan"))
    bad = dataclasses.replace(bad, result=result)
    for prefer in ("accuracy", "balanced", "cheap"):
        decision = decide([bad, good], labels, metric, make_profile(labels), prefer)
        assert decision.winner.number == 1
        assert np.isnan(decision.strategies[1].value)
