from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

import autotl.search.sampler as sampler_module
from autotl.search.sampler import STRATEGY, StrategySampler
from autotl.search.storage import open_storage

NAMES = ("bottleneck", "finetune", "scratch")
REACHES = {"bottleneck": 0.5, "finetune": 0.9, "scratch": 0.6}


def new_study(seed: int = 0, storage: Any = None, names: tuple[str, ...] = NAMES) -> optuna.Study:
    return optuna.create_study(
        study_name="study",
        storage=storage,
        direction="maximize",
        sampler=StrategySampler(names, seed),
        load_if_exists=True,
    )


def ask(study: optuna.Study, names: tuple[str, ...] = NAMES) -> tuple[optuna.Trial, str]:
    trial = study.ask()
    strategy = trial.suggest_categorical(STRATEGY, names)
    trial.suggest_float(f"{strategy}.x", 0, 1)
    trial.suggest_categorical(f"{strategy}.kind", ("a", "b", "c"))
    return trial, strategy


def search(
    study: optuna.Study, n_trials: int, value: Callable[[str, dict[str, Any]], float | None]
) -> list[FrozenTrial]:
    """Run that many trials; None: the trial fails."""
    for _ in range(n_trials):
        trial, strategy = ask(study)
        found = value(strategy, trial.params)
        study.tell(trial, found, state=TrialState.FAIL if found is None else None)
    return study.get_trials()


def chosen(trials: list[FrozenTrial]) -> list[str]:
    return [trial.params[STRATEGY] for trial in trials]


def test_every_strategy_gets_two_trials_before_any_gets_a_third() -> None:
    trials = search(new_study(), 6, lambda strategy, _: REACHES[strategy])
    assert Counter(chosen(trials)) == dict.fromkeys(NAMES, 2)


def test_enqueued_trials_count_as_first_ones() -> None:
    study = new_study()
    for _ in range(2):
        study.enqueue_trial({STRATEGY: "scratch"})
    trials = search(study, 6, lambda strategy, _: REACHES[strategy])
    assert Counter(chosen(trials)) == dict.fromkeys(NAMES, 2)


def test_a_strategy_that_always_fails_does_not_keep_the_others_waiting() -> None:
    value = {"bottleneck": None, "finetune": 0.9, "scratch": 0.6}
    trials = search(new_study(), 40, lambda strategy, _: value[strategy])
    counts = Counter(chosen(trials))
    assert counts["finetune"] > counts["bottleneck"] >= 2
    assert counts["scratch"] >= 2


def test_after_that_the_best_gets_most_and_none_is_given_up() -> None:
    trials = search(new_study(), 80, lambda strategy, _: REACHES[strategy])
    counts = Counter(chosen(trials[6:]))
    assert counts["finetune"] > 0.6 * 74
    assert min(counts[name] for name in NAMES) >= 2


def test_strategies_within_the_noise_share_the_trials() -> None:
    near = {"bottleneck": 0.90, "finetune": 0.905, "scratch": 0.895}
    counts = Counter(chosen(search(new_study(), 80, lambda strategy, _: near[strategy])[6:]))
    assert min(counts[name] for name in NAMES) > 0.2 * 74


def test_the_tpe_of_a_strategy_sees_the_trials_of_that_strategy_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[set[str], int, set[str]]] = []

    def note(study: Any, trial: FrozenTrial, wanted: set[str]) -> None:
        listed = [*study.get_trials(), *study._get_trials(deepcopy=False)]
        strategies = {t.params[STRATEGY] for t in listed if t.number != trial.number}
        seen.append((wanted, len(study.get_trials()), strategies))

    class Spy(TPESampler):
        def sample_relative(self, study: Any, trial: FrozenTrial, search_space: Any) -> Any:
            note(study, trial, set(search_space))
            return super().sample_relative(study, trial, search_space)

        def sample_independent(
            self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
        ) -> Any:
            note(study, trial, {param_name})
            return super().sample_independent(study, trial, param_name, param_distribution)

    monkeypatch.setattr(sampler_module, "TPESampler", Spy)
    search(new_study(), 40, lambda strategy, _: REACHES[strategy])
    wanted = set().union(*(names for names, _, _ in seen))
    assert wanted == {f"{name}.{param}" for name in NAMES for param in ("x", "kind")}
    for names, _, strategies in seen:
        own = {name.partition(".")[0] for name in names}
        assert len(own) <= 1
        if own:
            assert strategies <= own
    assert max(n for names, n, _ in seen if names) > 10  # it does see its own


def test_the_parameters_get_better_with_the_strategy_s_own_trials() -> None:
    def value(strategy: str, params: dict[str, Any]) -> float:
        target = {"bottleneck": 0.2, "finetune": 0.8, "scratch": 0.5}[strategy]
        return 0.9 - 0.01 * abs(params[f"{strategy}.x"] - target)

    trials = search(new_study(), 150, value)
    own = [t.params["finetune.x"] for t in trials if t.params[STRATEGY] == "finetune"]
    late = [abs(x - 0.8) for x in own[-15:]]
    assert sum(late) / len(late) < 0.15  # 0.34 for draws at random


def test_enqueued_parameters_are_kept_and_the_others_drawn() -> None:
    study = new_study()
    study.enqueue_trial({STRATEGY: "scratch", "scratch.x": 0.25})
    study.enqueue_trial({STRATEGY: "bottleneck", "bottleneck.x": 0.75, "bottleneck.kind": "c"})
    first, second = search(study, 2, lambda *_: 0.5)
    assert first.params[STRATEGY] == "scratch"
    assert first.params["scratch.x"] == 0.25
    assert first.params["scratch.kind"] in {"a", "b", "c"}
    assert second.params == {
        STRATEGY: "bottleneck",
        "bottleneck.x": 0.75,
        "bottleneck.kind": "c",
    }


def test_the_same_seed_proposes_the_same() -> None:
    def run(seed: int) -> list[dict[str, Any]]:
        trials = search(new_study(seed), 30, lambda s, p: REACHES[s] + 0.1 * p[f"{s}.x"])
        return [trial.params for trial in trials]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_two_workers_share_the_first_trials(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    workers = [new_study(seed, open_storage(url)) for seed in (0, 1)]
    asked = [ask(workers[turn % 2]) for turn in range(6)]  # none is told before all are asked
    assert Counter(strategy for _, strategy in asked) == dict.fromkeys(NAMES, 2)
    assert [trial.number for trial, _ in asked] == list(range(6))
    for turn, (trial, strategy) in enumerate(asked):
        workers[turn % 2].tell(trial.number, REACHES[strategy])
    assert {t.number: t.value for t in workers[0].get_trials()} == {
        t.number: t.value for t in workers[1].get_trials()
    }


def test_of_one_strategy_everything_is_that_strategy() -> None:
    study = new_study(names=("scratch",))
    for _ in range(10):
        trial, strategy = ask(study, ("scratch",))
        assert strategy == "scratch"
        study.tell(trial, 0.5)


def test_what_an_enqueued_trial_leaves_open_is_modelled_with_its_own_strategy() -> None:
    study = new_study()
    search(study, 12, lambda strategy, _: REACHES[strategy])
    study.enqueue_trial({STRATEGY: "scratch"})
    waiting = next(t for t in study.get_trials() if t.state == TrialState.WAITING)
    space = study.sampler.infer_relative_search_space(study, waiting)
    assert space.keys() == {STRATEGY, "scratch.x", "scratch.kind"}
