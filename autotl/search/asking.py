"""The next trial of a study: what a worker does in its turn, while others wait for theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotl.search.plan import ARM, n_counted
from autotl.search.published import CLOSED
from autotl.search.sampler import StrategySampler
from autotl.search.warm_start import HELD, release


def begin_trial(
    study: optuna.Study,
    sampler: StrategySampler,
    n_trials: int | None,
    attributes: Mapping[str, str],
    note: Callable[[str], None],
) -> tuple[int, Sequence[FrozenTrial]] | None:
    """Begin the next trial: one that waits, or what the plan chooses.

    It is in the storage with its arm at once, so that nobody else chooses that.

    Args:
        study: in whose turn this is called, see :func:`autotl.search.turns.turn`.
        sampler: of the study.
        n_trials: that it may have; None: no limit.
        attributes: that the trial gets; with some, it is that of a worker elsewhere, which leaves
            once the study is closed.
        note: told why the search ends.

    Returns:
        Optuna's id of the trial, and the trials before it; None if the search ends here.
    """
    told = study.user_attrs
    if attributes and told.get(CLOSED):
        return None
    if told.get(HELD):
        release(study)
    trials = study.get_trials(deepcopy=False)
    if n_trials is not None and n_counted(trials) >= n_trials:
        return None
    storage = study._storage
    if any(trial.state == TrialState.WAITING for trial in trials):
        waiting = study._pop_waiting_trial_id()
        if waiting is not None:
            for name, value in attributes.items():
                storage.set_trial_user_attr(waiting, name, value)
            return waiting, trials
    choice = sampler.plan(trials)
    if choice is None:
        return None
    if n_trials is None and not choice.is_worth_it:
        expected = f"less than {100 * choice.improvement:.1g} points are expected"
        note(f"the search ends here: {expected} of any further trial")
        return None
    arm = choice.arm
    begun = create_trial(
        state=TrialState.RUNNING,
        system_attrs={ARM: [arm.strategy, arm.recipe, arm.backbone]},
        user_attrs=dict(attributes),
    )
    return storage.create_new_trial(study._study_id, begun), trials


def asked(study: optuna.Study, trial_id: int) -> optuna.Trial:
    """A trial that has begun, to be asked for its parameters."""
    study._thread_local.cached_all_trials = None  # as Study.ask does
    return optuna.Trial(study, trial_id)
