from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState
from search_helpers import drawn_arms, plan_of

import autotl.search.sampler as sampler_module
from autotl.search.knowledge import Arm
from autotl.search.plan import ARM, STATE, STRATEGY, Plan
from autotl.search.sampler import StrategySampler
from autotl.search.storage import open_storage

NAMES = ("bottleneck", "finetune", "scratch")
ONE = ("finetune",)
REACHES = {"bottleneck": 0.5, "finetune": 0.9, "scratch": 0.6}


def new_study(
    seed: int = 0,
    storage: Any = None,
    names: tuple[str, ...] = NAMES,
    plan: Plan | None = None,
) -> optuna.Study:
    plan = plan or plan_of(drawn_arms(names))
    return optuna.create_study(
        study_name="study",
        storage=storage,
        direction="maximize",
        sampler=StrategySampler(plan, seed),
        load_if_exists=True,
    )


def ask(study: optuna.Study, names: tuple[str, ...] = NAMES) -> tuple[optuna.Trial, str]:
    trial = study.ask()
    strategy = trial.suggest_categorical(STRATEGY, names)
    trial.suggest_float(f"{strategy}.x", 0, 1)
    trial.suggest_categorical(f"{strategy}.kind", ("a", "b", "c"))
    return trial, strategy


def search(
    study: optuna.Study,
    n_trials: int,
    value: Callable[[str, dict[str, Any]], float | None],
    names: tuple[str, ...] = NAMES,
) -> list[FrozenTrial]:
    """Run that many trials; None: the trial fails."""
    for _ in range(n_trials):
        trial, strategy = ask(study, names)
        found = value(strategy, trial.params)
        trial.set_user_attr(STATE, "failed" if found is None else "complete")
        study.tell(trial, found, state=TrialState.FAIL if found is None else None)
    return study.get_trials()


def in_turns(study: optuna.Study, n_trials: int) -> optuna.Study:
    """The study with that many trials waiting, of one strategy after the other."""
    for index in range(n_trials):
        study.enqueue_trial({STRATEGY: NAMES[index % len(NAMES)]})
    return study


def chosen(trials: list[FrozenTrial]) -> list[str]:
    return [trial.params[STRATEGY] for trial in trials]


def test_most_trials_go_to_the_best_strategy() -> None:
    near = {"bottleneck": 0.88, "finetune": 0.9, "scratch": 0.7}
    counts = Counter(chosen(search(new_study(), 60, lambda strategy, _: near[strategy])))
    assert counts["finetune"] > 0.5 * 60


def test_a_strategy_that_always_fails_is_given_up() -> None:
    value = {"bottleneck": None, "finetune": 0.9, "scratch": 0.6}
    counts = Counter(chosen(search(new_study(), 30, lambda strategy, _: value[strategy])))
    assert 1 <= counts["bottleneck"] <= 3
    assert counts["finetune"] > 20


def test_an_arm_answers_its_own_parameters_and_the_nearest_value_of_a_range() -> None:
    arm = Arm("finetune", "a", "embedded")
    answers = {"finetune.x": 7.0, "finetune.kind": "b"}
    study = new_study(plan=plan_of([arm], params=lambda _: answers))
    trial, strategy = ask(study, ONE)
    assert strategy == "finetune"
    assert trial.params == {STRATEGY: "finetune", "finetune.x": 1.0, "finetune.kind": "b"}
    assert study.get_trials()[0].system_attrs[ARM] == ["finetune", "a", "embedded"]


def test_what_an_arm_answers_is_not_drawn_jointly_with_the_rest() -> None:
    plan = plan_of(drawn_arms(ONE), params=lambda _: {"finetune.kind": "c"})
    trials = search(new_study(plan=plan), 30, lambda _, params: params["finetune.x"], ONE)
    assert {trial.params["finetune.kind"] for trial in trials} == {"c"}
    assert sum(trial.params["finetune.x"] for trial in trials[-10:]) / 10 > 0.7


def test_the_tpe_of_a_strategy_sees_the_trials_of_that_strategy_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[set[str], int, set[str]]] = []

    def note(study: Any, trial: FrozenTrial, wanted: set[str]) -> None:
        listed = [*study.get_trials(), *study._get_trials(deepcopy=False)]
        ended = [t for t in listed if t.state.is_finished()]
        strategies = {t.params[STRATEGY] for t in ended}
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
    search(in_turns(new_study(), 40), 40, lambda strategy, _: REACHES[strategy])
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

    trials = search(in_turns(new_study(), 150), 150, value)
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


def test_a_study_that_goes_on_in_other_processes_proposes_the_same(tmp_path: Path) -> None:
    def value(strategy: str, params: dict[str, Any]) -> float:
        return REACHES[strategy] + 0.1 * params[f"{strategy}.x"]

    whole = search(new_study(), 12, value)
    for _ in range(4):  # each with a sampler of its own, as a process that goes on has
        study = new_study(storage=open_storage(f"sqlite:///{tmp_path / 'optuna.db'}"))
        parts = search(study, 3, value)
    assert [trial.params for trial in parts] == [trial.params for trial in whole]


def test_two_workers_share_the_recipes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    arms = [Arm(name, recipe, "embedded") for name in NAMES for recipe in ("a", "b")]
    workers = [new_study(seed, open_storage(url), plan=plan_of(arms)) for seed in (0, 1)]
    asked = [ask(workers[turn % 2]) for turn in range(6)]  # none is told before all are asked
    assert Counter(strategy for _, strategy in asked) == dict.fromkeys(NAMES, 2)
    assert [trial.number for trial, _ in asked] == list(range(6))
    assert len({tuple(t.system_attrs[ARM]) for t in workers[0].get_trials()}) == 6


def test_of_one_strategy_everything_is_that_strategy() -> None:
    study = new_study(names=("scratch",))
    for _ in range(10):
        trial, strategy = ask(study, ("scratch",))
        assert strategy == "scratch"
        study.tell(trial, 0.5)


def test_what_an_enqueued_trial_leaves_open_is_modelled_with_its_own_strategy() -> None:
    study = in_turns(new_study(), 12)
    search(study, 12, lambda strategy, _: REACHES[strategy])
    study.enqueue_trial({STRATEGY: "scratch"})
    waiting = next(t for t in study.get_trials() if t.state == TrialState.WAITING)
    space = study.sampler.infer_relative_search_space(study, waiting)
    assert space.keys() == {STRATEGY, "scratch.x", "scratch.kind"}
