"""How MLflow's UI first shows the runs of autotl's experiment: a table, and charts beside it."""

from __future__ import annotations

from typing import Any

VIEW = "autotl"
"""A view of the experiment's runs that MLflow's UI opens with ``?viewStateShareKey=autotl``."""
DESCRIPTION = """\
[All trials, best first](#/experiments/{experiment_id}/runs?viewStateShareKey={view}), and \
[as charts](#/experiments/{experiment_id}/runs?viewStateShareKey={view}&compareRunsMode=CHART). A \
parent run for each fit, and in it a child run for each trial; `validation_score` is that of the \
metric that decides, greater is better. Trials with a `finalist` tag are the best of their \
strategy."""

_SECTION = "autotl-trials"


def _chart(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    fixed = {"metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    return {"uuid": f"autotl-{name}", "type": kind, "runsCountToCompare": 100, **settings, **fixed}


VIEW_STATE: dict[str, Any] = {
    "orderByKey": "metrics.`validation_score`",
    "orderByAsc": False,
    "selectedColumns": [
        "metrics.`validation_score`",
        "metrics.`validation_accuracy`",
        "params.`strategy`",
        "params.`backbone`",
        "tags.`state`",
        "tags.`finalist`",
        "tags.`winner`",
    ],
    "compareRunSections": [
        {
            **{"uuid": _SECTION, "name": "Trials", "display": True, "deleted": False},
            **{"isReordered": False, "isGenerated": False},
        }
    ],
    "compareRunCharts": [
        _chart(
            "parallel",
            "PARALLEL",
            showAllRuns=True,
            selectedParams=["strategy", "backbone"],  # all trials have them; others drop out
            selectedMetrics=["seconds", "validation_score"],
        ),
        _chart("scores", "BAR", metricKey="validation_score"),
        _chart(
            "cost",
            "SCATTER",
            xaxis={"key": "seconds", "type": "METRIC"},
            yaxis={"key": "validation_score", "type": "METRIC"},
        ),
    ],
}
"""In the words of MLflow 3's UI; what it doesn't know, it leaves out."""
