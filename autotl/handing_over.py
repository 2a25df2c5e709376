"""How a fit ends: its report, its model, the end of its record, the recommendation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.allowance import tidy_up
from autotl.config import FitConfig
from autotl.naming import without_secrets
from autotl.preparation import Prepared
from autotl.recommend.decision import Decision, TestScore
from autotl.recommend.evaluation import write_evaluation
from autotl.recommend.explain import explain, leaderboard
from autotl.recommend.model import Recommendation
from autotl.recommend.report import ReportContents, SamplePicture, write_report
from autotl.recommend.verdict import Verdict, verdict
from autotl.recommend.words import sentence
from autotl.recommend.work import Work
from autotl.recording import log_json
from autotl.resuming import end_part
from autotl.runtime import Deadline, environment
from autotl.search.evidence import Evidence
from autotl.search.records import TrialStore
from autotl.strategies.base import TrialRecord
from autotl.strategies.fitted import FittedModel
from autotl.tracking.mlflow import MlflowFitRun
from autotl.tracking.serving import save_served
from autotl.workspace import Workspace

_N_PICTURES = 24
_MIN_WAIT_S, _MAX_WAIT_S = 2.0, 60.0
"""Of a fit's end, for a tracking store that hasn't got everything; as the time budget leaves."""


def hand_over(
    decision: Decision,
    evidence: Evidence,
    model: FittedModel,
    test: TestScore | None,
    prepared: Prepared,
    config: FitConfig,
    place: Workspace,
    run: MlflowFitRun,
    seconds: float,
    deadline: Deadline,
) -> Recommendation:
    """Write the report and the model, close the record, and make the recommendation."""
    records = evidence.records
    text = explain(decision, prepared.profile, test, seconds=seconds)
    table = leaderboard(records, decision)
    figures = _summary(decision, verdict(decision, prepared.profile), test, place, seconds)
    work = Work.of([*records, *evidence.repeats], prepared.task.store.disk_used_bytes)
    contents = ReportContents(
        title=f"{prepared.name}: {place.study_name}",
        explanation=text,
        decision=decision,
        profile=prepared.profile,
        records=tuple(records),
        labels=prepared.task.labels,
        test=test,
        samples=_pictures(model, test, prepared),
        environment=environment(),
        seconds=seconds,
        tracking_hint=f"autotl ui --output {config.output_dir}",
        work=work,
    )
    report = write_report(place.report, contents)
    recommendation = Recommendation(
        strategy=decision.winner.strategy,
        config=dict(decision.winner.config),
        class_names=prepared.profile.class_names,
        model=model,
        profile=prepared.profile,
        metric=decision.metric,
        text=text,
        table=table,
        figures=figures,
        device=config.device,
        report_path=report,
        model_path=place.model,
        tracking_uri=without_secrets(place.tracking_uri),
        decision=decision,
        test=test,
    )
    recommendation.save(place.model)
    run.log_metrics(work.metrics())
    state = "interrupted" if evidence.interrupted else "complete"
    _close(run, recommendation, records, prepared, place, state)
    if config.register_as is not None and place.served.is_dir():
        run.register_model(config.register_as, place.served.name)
    run.end(state, wait_s=min(max(deadline.left_s(), _MIN_WAIT_S), _MAX_WAIT_S))
    finalists = [s.best for s in decision.strategies if s.best is not None]
    TrialStore(place.trials).keep_models(finalists)
    tidy_up(config, place)
    return recommendation


def _close(
    run: MlflowFitRun,
    recommendation: Recommendation,
    records: Sequence[TrialRecord],
    prepared: Prepared,
    place: Workspace,
    state: str,
) -> None:
    decision, test = recommendation.decision, recommendation.test
    assert decision is not None
    assert decision.winner.result is not None
    winner = decision.winner.result
    run.log_metrics({f"validation_{name}": value for name, value in winner.metrics.items()})
    run.log_metrics({"validation_score": winner.score})
    if test is not None:
        run.log_metrics({f"test_{name}": value for name, value in test.metrics.items()})
    run.log_metrics({"n_trials": float(len(records))})
    run.set_tags(
        {
            "strategy": recommendation.strategy,
            "state": state,
            "recommendation": recommendation.text,
            "mlflow.note.content": f"```\n{recommendation.text}\n```",
        }
    )
    by_number = {record.number: record for record in records}
    store = TrialStore(place.trials)
    for rank, summary in enumerate(decision.strategies, start=1):
        if summary.best is None:
            continue
        run_id = by_number[summary.best].run_id
        run.tag_trial(run_id, {"finalist": rank, "winner": summary.best == decision.winner.number})
        if store.model_file(summary.best).is_file():
            run.log_file(store.model_file(summary.best), "model", run_id)
    log_json(run, place.decision, recommendation.summary())
    run.log_file(place.report)
    run.log_file(place.model, "model")
    labels, predicted = prepared.task.labels[winner.samples], winner.probabilities
    if test is not None:
        labels, predicted = test.labels, test.probabilities
    names = prepared.profile.class_names
    run.log_file(write_evaluation(place.evaluation, labels, predicted, names), "evaluation")
    try:
        run.log_file(save_served(place.model, place.served), "served")
    except OSError as error:  # such as a full disk; the model itself is saved
        warnings.warn(f"the model to serve with MLflow can't be written: {error}", stacklevel=2)
    end_part(place)


def _summary(
    decision: Decision,
    found: Verdict,
    test: TestScore | None,
    place: Workspace,
    seconds: float,
) -> dict[str, Any]:
    def scored(value: float, interval: tuple[float, float]) -> dict[str, float]:
        return {"value": value, "low": interval[0], "high": interval[1]}

    return {
        "strategy": decision.winner.strategy,
        "config": dict(decision.winner.config),
        "verdict": found.kind,
        "headline": sentence(found.headline),
        "more_data": sentence(found.more_data),
        "metric": decision.metric,
        "optimism": decision.optimism,
        "growth": decision.growth,
        "seed_deviation": decision.seed_deviation,
        "expected": scored(decision.expected, decision.interval),
        "test": None if test is None else scored(test.value, test.interval),
        "seconds": round(seconds, 1),
        "strategies": {
            s.strategy: None
            if s.best is None
            else {
                **scored(s.value, s.interval),
                "trial": s.best,
                "seconds": round(s.seconds, 1),
                "n_complete": s.n_complete,
                "n_pruned": s.n_pruned,
                "n_seeds": s.n_seeds,
                "difference": s.difference,
                "standard_error": s.standard_error,
                "noise": s.noise,
                "is_clear": s.is_clear,
                "predict_s": s.predict_s,
                "cost": s.cost,
            }
            for s in decision.strategies
        },
        "notes": list(decision.notes),
        "study": place.study_name,
        "report": str(place.report),
        "model": str(place.model),
        "tracking_uri": without_secrets(place.tracking_uri),
    }


def _pictures(
    model: FittedModel, test: TestScore | None, prepared: Prepared
) -> tuple[SamplePicture, ...]:
    """Test pictures with predictions, up to half of them wrong ones."""
    if test is None:
        return ()
    rng = np.random.default_rng(prepared.task.seed)
    predicted = test.probabilities.argmax(axis=1)
    wrong = rng.permutation(np.flatnonzero(predicted != test.labels))[: _N_PICTURES // 2]
    right = rng.permutation(np.flatnonzero(predicted == test.labels))[: _N_PICTURES - len(wrong)]
    samples: NDArray[np.int64] = np.concatenate([wrong, right])
    pixels = prepared.test.pixels(model.backbone.image_size)[samples]
    names = prepared.profile.class_names
    return tuple(
        SamplePicture(
            pixels=pixels[i],
            name=prepared.test.table.name(int(prepared.test.samples[sample])),
            label=names[test.labels[sample]],
            predicted=names[predicted[sample]],
            probability=float(test.probabilities[sample].max()),
        )
        for i, sample in enumerate(samples)
    )
