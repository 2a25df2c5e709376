"""The decision: who wins, by how much, and what became of the rules of thumb."""

import dataclasses

import numpy as np
import pytest

from autotl.errors import InputError
from autotl.metrics import METRICS
from autotl.recommend.cost import Cost
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
    """McNemar's counts: only samples on which exactly one of the two is right matter, and one
    more is counted in the variance."""
    a = first.result.probabilities.argmax(axis=1) == labels
    b = second.result.probabilities.argmax(axis=1) == labels
    n_only_first, n_only_second, n = (a & ~b).sum(), (b & ~a).sum(), len(labels)
    difference = (n_only_first - n_only_second) / n
    variance = ((n_only_first + n_only_second) - (n_only_first - n_only_second) ** 2 / n) / n
    return difference, np.sqrt(variance / (n - 1) + 1 / n**2)


def test_accuracy_takes_the_best(records, labels, make_profile):
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy")
    assert decision.winner.number == 2
    assert 0 < decision.optimism < 0.02
    assert decision.expected == pytest.approx(0.9 - decision.optimism)
    assert decision.n_validated == 400
    assert decision.interval[0] < 0.9 < decision.interval[1]


def test_what_learning_from_all_samples_brings_is_expected_too(records, labels, make_profile):
    profile = dataclasses.replace(make_profile(labels), n_folds=3)
    decision = decide(records, labels, ACCURACY, profile, "accuracy")
    once = decide(records, labels, ACCURACY, make_profile(labels), "accuracy")
    assert decision.growth == pytest.approx(decision.expected - once.expected)
    assert 0.005 < decision.growth < 0.03
    assert decision.interval[1] - decision.expected > 0.6 * (once.interval[1] - once.expected)
    kept = decide(records, labels, ACCURACY, profile, "accuracy", deliverable={2})
    assert (kept.expected, kept.growth) == (once.expected, 0.0)


def test_where_nothing_can_be_trained_any_more_a_trial_with_a_model_wins(
    records, labels, make_profile
):
    profile = make_profile(labels)
    for numbers, winner in (({0, 3}, 0), ({1, 3}, 1), ({3}, 3), (set(), 2)):
        decision = decide(records, labels, ACCURACY, profile, "accuracy", deliverable=numbers)
        assert decision.winner.number == winner


def test_balanced_takes_the_cheapest_within_one_standard_error(records, labels, make_profile):
    difference, error = independent_difference(records[2], records[0], labels)
    assert 0 < difference < error  # else this test tests nothing
    decision = decide(records, labels, ACCURACY, make_profile(labels), "balanced")
    assert decision.winner.number == 0
    assert any("within the noise" in note and "1 min" in note for note in decision.notes)


def test_the_cheaper_must_be_near_in_worth_too(records, labels, make_profile):
    """Near in score, but what is known of others speaks against it: then it isn't taken."""
    profile = make_profile(labels)
    for behind, winner in ((0.005, 0), (0.1, 2)):
        worth = {0: 0.9 - behind, 1: 0.7, 2: 0.9, 3: 0.7}
        assert (
            decide(records, labels, ACCURACY, profile, "balanced", worth=worth).winner.number
            == winner
        )


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
    assert "no finished trial of: scratch" in decision.notes
    assert any(n.startswith("not tried") and n.endswith(": finetune") for n in decision.notes)


def test_no_finished_trial_is_an_error_that_says_why(labels, make_record, make_profile):
    records = [make_record(0, "scratch", labels, None, state="failed", error="loss is nan")]
    with pytest.raises(
        InputError, match=r"(?s)scratch, trial 0: failed, loss is nan.*larger time budget"
    ):
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


def repeat(record, again, k, state="complete", error=None):
    """The k-th repeat of a trial, with the result of another record."""
    result = again.result if state == "complete" else None
    return dataclasses.replace(record, repeat=k, result=result, state=state, error=error)


@pytest.fixture
def close(labels, make_record):
    """Fine-tuning is luckier by 2 images than scratch, which is better with further seeds."""
    finetune = make_record(0, "finetune", labels, 40, seconds=60.0)
    scratch = make_record(1, "scratch", labels, 42, seconds=60.0)
    again = [
        repeat(finetune, make_record(2, "finetune", labels, 60), 1),
        repeat(finetune, make_record(3, "finetune", labels, 62), 2),
        repeat(scratch, make_record(4, "scratch", labels, 42), 1),
        repeat(scratch, make_record(5, "scratch", labels, 44), 2),
    ]
    return [finetune, scratch], again


def test_the_mean_over_seeds_decides(close, labels, make_profile):
    records, again = close
    profile = make_profile(labels)
    assert decide(records, labels, ACCURACY, profile, "accuracy").winner.number == 0
    decision = decide(records, labels, ACCURACY, profile, "accuracy", repeats=again)
    assert decision.winner.number == 1
    scratch, finetune = decision.strategies
    assert scratch.value == pytest.approx(1 - (42 + 42 + 44) / 3 / 400)
    assert (scratch.n_seeds, finetune.n_seeds) == (3, 3)
    assert decision.means[0] == pytest.approx(1 - (40 + 60 + 62) / 3 / 400)
    assert decision.n_seeds == {0: 3, 1: 3}
    deviation = np.sqrt((np.var([40, 60, 62]) * 3 + np.var([42, 42, 44]) * 3) / 4)
    assert decision.seed_deviation == pytest.approx(deviation / 400)
    assert decision.expected <= scratch.value
    assert decision.interval[0] < scratch.value


def test_a_round_that_was_cut_off_counts_for_nobody(close, labels, make_profile):
    records, again = close
    cut = [*again[:3], repeat(records[1], records[1], 2, "deadline")]
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy", repeats=cut)
    assert decision.n_seeds == {0: 2, 1: 2}
    assert decision.means[0] == pytest.approx(1 - 50 / 400)


def test_failing_with_another_seed_counts_against_a_trial(close, labels, make_profile):
    records, again = close
    failed = [*again[:3], repeat(records[1], records[1], 2, "failed", "the loss is nan")]
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy", repeats=failed)
    assert decision.winner.number == 0
    assert any("trial 1 (scratch)" in n and "the loss is nan" in n for n in decision.notes)


def test_of_a_strategy_those_with_several_seeds_stand_for_it(
    close, labels, make_record, make_profile
):
    """A single run's score isn't on equal terms with a mean."""
    records, again = close
    lucky = make_record(9, "scratch", labels, 30, seconds=60.0)
    decision = decide(
        [*records, lucky], labels, ACCURACY, make_profile(labels), "accuracy", repeats=again
    )
    assert decision.winner.number == 1


def test_what_a_trial_is_worth_ranks_it_in_place_of_its_score(records, labels, make_profile):
    worth = {0: 0.95, 1: 0.8, 2: 0.85, 3: 0.7}
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy", worth=worth)
    assert decision.winner.number == 0
    values = {s.strategy: s.value for s in decision.strategies}
    assert values["bottleneck"] == pytest.approx(1 - 44 / 400)
    assert any("is taken for luck" in note for note in decision.notes)
    assert decision.expected <= values["bottleneck"]
    plain = decide(records, labels, ACCURACY, make_profile(labels), "accuracy")
    assert not any("luck" in note for note in plain.notes)


def test_the_noise_bounds_the_difference(records, labels, make_profile):
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy")
    _, bottleneck, scratch = decision.strategies
    assert bottleneck.noise == pytest.approx(
        abs(bottleneck.difference) + 1.645 * bottleneck.standard_error
    )
    assert not bottleneck.is_clear
    assert scratch.is_clear


def test_of_equals_the_one_that_predicts_from_fewer_stages_is_cheaper(
    labels, make_record, make_profile
):
    profile = make_profile(labels)
    speed = dataclasses.replace(
        profile.backbones["embedded"].speed, forward_to=(0.0, 1e-3, 2e-3, 3e-3, 5e-3, 9e-3)
    )
    backbone = dataclasses.replace(profile.backbones["embedded"], speed=speed)
    profile = dataclasses.replace(profile, backbones={"embedded": backbone})
    records = [
        make_record(0, "finetune", labels, 40, seconds=10.0),
        make_record(1, "bottleneck", labels, 41, seconds=10.0, layers="third_last"),
    ]
    decision = decide(records, labels, ACCURACY, profile, "balanced")
    assert decision.winner.number == 1
    assert decision.strategies[1].predict_s == pytest.approx(3e-3)
    assert decision.strategies[0].cost == pytest.approx(3**0.5)
    assert any("9 ms instead of 3 ms" in note for note in decision.notes)


def test_cost_by_rule_decides_whatever_was_measured(labels, make_record, make_profile):
    profile = make_profile(labels)
    costs = {0: Cost(60.0, 9e-3), 1: Cost(2.0, 3e-3)}
    told = []
    for measured_s in (2.0, 600.0):
        records = [
            make_record(0, "finetune", labels, 40, seconds=60.0),
            make_record(1, "bottleneck", labels, 41, seconds=measured_s),
        ]
        decision = decide(records, labels, ACCURACY, profile, "balanced", costs=costs)
        assert decision.winner.number == 1
        assert {s.strategy: s.cost for s in decision.strategies} == pytest.approx(
            {"bottleneck": 1.0, "finetune": (30 * 3) ** 0.5}
        )
        told.append(decision.notes)
    assert told[0] == told[1]
    assert "30 times as long to train and 3 times as long to predict with" in told[0][0]


def test_only_strategies_that_were_asked_for_are_missed(labels, make_record, make_profile):
    records = [make_record(0, "bottleneck", labels, 40)]
    decision = decide(
        records, labels, ACCURACY, make_profile(labels), "balanced", strategies=("bottleneck",)
    )
    assert not any("no finished trial" in note for note in decision.notes)


def test_one_that_failed_with_another_seed_does_not_stand_for_its_strategy(
    labels, make_record, make_profile
):
    records = [
        make_record(0, "finetune", labels, 40, seconds=60.0),
        make_record(1, "finetune", labels, 60, seconds=60.0),
    ]
    again = [repeat(records[0], records[0], 1, "failed", "the loss is nan")]
    decision = decide(records, labels, ACCURACY, make_profile(labels), "accuracy", repeats=again)
    assert decision.winner.number == 1


def test_one_that_failed_with_another_seed_is_not_taken_for_its_cost(
    labels, make_record, make_profile
):
    records = [
        make_record(0, "finetune", labels, 40, seconds=60.0),
        make_record(1, "scratch", labels, 41, seconds=5.0),
    ]
    profile = make_profile(labels)
    assert decide(records, labels, ACCURACY, profile, "cheap").winner.number == 1
    again = [
        repeat(records[0], records[0], 1),
        repeat(records[1], records[1], 1, "failed", "out of memory"),
    ]
    decision = decide(records, labels, ACCURACY, profile, "cheap", repeats=again)
    assert decision.winner.number == 0
