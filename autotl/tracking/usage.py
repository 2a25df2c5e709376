"""What a fit's machine is busy with, as MLflow's own system metrics show it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

INTERVAL_S = 10.0
"""As MLflow's own; ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` changes it."""


class UsageMonitor:
    """Measures processor, memory, disk and GPUs every few seconds, on a thread of its own.

    Names and units are those of MLflow's monitors, so that its UI shows them under "System
    metrics"; its own thread isn't used, since that would wait for the server.

    Args:
        log: takes figures by name, and which of the measurements they are.
        folder: whose disk is looked at.
    """

    def __init__(self, log: Callable[[Mapping[str, float], int], None], folder: Path) -> None:
        self._log = log
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autotl-usage", daemon=True)

    def start(self) -> None:
        """Begin to measure, unless ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is ``false``."""
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() not in ("false", "0"):
            self._thread.start()

    def stop(self) -> None:
        """Measure no more."""
        self._stop.set()

    def _run(self) -> None:
        import psutil

        monitors = _monitors()
        psutil.cpu_percent()  # since the last call of this thread; of the first it would be 0
        step = 0
        while not self._stop.wait(_interval_s()):
            self._log(measure(monitors, self._folder), step)
            step += 1


def measure(monitors: list[Any], folder: Path) -> dict[str, float]:
    """The figures of now.

    Args:
        monitors: MLflow's, for processor and memory, and for GPUs where there are any.
        folder: whose disk is looked at.
    """
    import psutil

    figures: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        figures |= monitor.aggregate_metrics()
        monitor.clear_metrics()
    try:
        disk = psutil.disk_usage(str(folder))
    except OSError:  # the folder is gone
        disk = None
    if disk is not None:
        figures["disk_usage_percentage"] = disk.percent
        figures["disk_available_megabytes"] = round(disk.free / 1e6, 1)
    return {f"system/{name}": value for name, value in figures.items()}


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    try:
        return [CPUMonitor(), GPUMonitor()]
    except (ImportError, RuntimeError):  # without NVIDIA's library, or a GPU
        return [CPUMonitor()]


def _interval_s() -> float:
    given = os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "")
    try:
        return max(0.1, float(given))
    except ValueError:
        return INTERVAL_S
