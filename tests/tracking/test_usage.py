"""What the machine is busy with arrives through the spool, under MLflow's names."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tracking_helpers import warned

from autotl.tracking import usage
from autotl.tracking.mlflow import MlflowFitRun
from autotl.tracking.spool import Spool
from autotl.tracking.usage import UsageMonitor, measure


class Busy:
    """Stands for a monitor of MLflow's."""

    def collect_metrics(self) -> None:
        pass

    def aggregate_metrics(self) -> dict[str, float]:
        return {"cpu_utilization_percentage": 12.5}

    def clear_metrics(self) -> None:
        pass


def test_the_figures_have_mlflow_s_names(tmp_path: Path) -> None:
    figures = measure([Busy()], tmp_path)
    assert figures["system/cpu_utilization_percentage"] == 12.5
    assert 0 <= figures["system/disk_usage_percentage"] <= 100
    assert figures["system/disk_available_megabytes"] > 0
    assert set(measure([Busy()], tmp_path / "gone")) == {"system/cpu_utilization_percentage"}


def test_mlflow_s_own_monitors_are_asked(tmp_path: Path) -> None:
    figures = measure(usage._monitors(), tmp_path)
    assert 0 < figures["system/system_memory_usage_percentage"] <= 100


def test_it_measures_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    monkeypatch.setattr(usage, "_monitors", lambda: [Busy()])
    seen: list[int] = []
    enough = threading.Event()

    def log(figures: Mapping[str, float], step: int) -> None:
        seen.append(step)
        if step == 2:
            enough.set()

    monitor = UsageMonitor(log, tmp_path)
    monitor.start()
    assert enough.wait(30)
    monitor.stop()
    monitor._thread.join(30)
    assert not monitor._thread.is_alive()
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("value", ["false", "False", "0"])
def test_mlflow_s_switch_turns_it_off(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", value)
    monitor = UsageMonitor(lambda figures, step: None, tmp_path)
    monitor.start()
    assert not monitor._thread.is_alive()


def test_a_fit_s_figures_go_through_its_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(
        "autotl.tracking.mlflow.UsageMonitor",
        lambda log, folder: logged.append((log, folder)) or UsageMonitor(log, folder),
    )
    uri = "http://127.0.0.1:9"  # nobody answers there
    with warned():
        fit = MlflowFitRun.start(uri, "fit", tmp_path / "fit")
        ((log, folder),) = logged
        assert folder == tmp_path / "fit"
        log({"system/cpu_utilization_percentage": 50.0}, 3)
        fit.end("complete", wait_s=0.1)
    spool = Spool.of_fit(tmp_path / "fit", uri, None)
    (line,) = [own.operation for own in spool.lines(0) if own.operation.get("do") == "metrics"]
    assert line["values"] == {"system/cpu_utilization_percentage": 50.0}
    assert line["run"] == fit.run_id
    assert line["step"] == 3
    assert fit._usage is not None
    assert fit._usage._stop.is_set()
