"""Ended trials on disk: what the decision is made from, whichever process ran them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from autotl.strategies.base import CurvePoint, StrategyConfig, TrialRecord, TrialResult
from autotl.strategies.checkpoint import TrialCheckpoint
from autotl.strategies.fitted import FittedModel

N_MODELS = 3
"""Of a strategy: the decision, which knows more than the scores, takes one of the best few."""
RUNNING = "running"
"""The folder of running trials' states, in that of the trials."""


class TrialStore:
    """One folder with a JSON file per ended trial, its predictions, and the best models.

    Of each strategy, the :data:`N_MODELS` finished trials with the best scores keep their models.

    Args:
        folder: created when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, record: TrialRecord) -> None:
        """Write an ended trial; the JSON file comes last, so that what has one is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = _stem(record.number, record.repeat)
        values = {
            "number": record.number,
            "strategy": record.strategy,
            "config": dict(record.config),
            "state": record.state,
            "seconds": record.seconds,
            "curve": [[p.progress, p.seconds, p.score] for p in record.curve],
            "error": record.error,
            "run_id": record.run_id,
            "cost_s": record.cost_s,
            "figures": dict(record.figures),
            "recipe": record.recipe,
            "repeat": record.repeat,
            "result": None,
        }
        result = record.result
        beaten: list[int] = []
        if result is not None:
            values["result"] = {
                "score": result.score,
                "metrics": dict(result.metrics),
                "seconds": result.seconds,
                "peak_bytes": result.peak_bytes,
                "n_trainable": result.n_trainable,
            }
            part = self.folder / f"{stem}.part.npz"
            np.savez(part, samples=result.samples, probabilities=result.probabilities)
            os.replace(part, self.folder / f"{stem}.npz")
            if result.model is not None:
                rivals = self._kept(record.strategy)
                ranked = sorted(rivals, key=lambda number: -rivals[number])
                better = [number for number in ranked if rivals[number] >= result.score]
                if len(better) < N_MODELS:
                    self._save_model(record.number, result.model)
                    beaten = ranked[N_MODELS - 1 :]
        part = self.folder / f"{stem}.json.part"
        part.write_text(json.dumps(values))
        os.replace(part, self.folder / f"{stem}.json")
        for number in beaten:
            self.model_file(number).unlink(missing_ok=True)

    def _kept(self, strategy: str) -> dict[int, float]:
        """What the strategy's trials that keep a model scored, by their numbers."""
        files = [file.with_suffix(".json") for file in self.folder.glob("*.safetensors")]
        kept = [_read(file) for file in files if file.is_file()]
        return {
            other.number: other.result.score
            for other in kept
            if other.strategy == strategy and other.result is not None
        }

    def _save_model(self, number: int, model: FittedModel) -> None:
        description = {"model": json.dumps(model.as_json())}
        file = self.model_file(number)
        part = file.with_suffix(".safetensors.part")
        save_file(model.tensors(), part, metadata=description)
        os.replace(part, file)

    def checkpoint(
        self, number: int, strategy: str, config: StrategyConfig, seed: int, repeat: int = 0
    ) -> TrialCheckpoint:
        """Where a running trial keeps its state.

        Args:
            number: of the trial.
            strategy: its name.
            config: its settings.
            seed: of its training.
            repeat: as of a record.
        """
        trial = f"{strategy} {config.model_dump_json()} seed={seed} torch={torch.__version__}"
        return TrialCheckpoint(self.folder / RUNNING / _stem(number, repeat), trial)

    def clear_checkpoints(self, going_on: Collection[int]) -> None:
        """Forget the states of all trials but these."""
        kept = {_stem(number) for number in going_on}
        for folder in (self.folder / RUNNING).glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def model_file(self, number: int) -> Path:
        """Where a trial's model is, if it is kept."""
        return self.folder / f"{number:05d}.safetensors"

    def with_models(self) -> set[int]:
        """Numbers of the trials whose models are kept."""
        return {int(file.stem) for file in self.folder.glob("*.safetensors")}

    def keep_models(self, numbers: Collection[int]) -> None:
        """Forget the models of all trials but these."""
        for number in self.with_models() - set(numbers):
            self.model_file(number).unlink(missing_ok=True)

    def load(self) -> list[TrialRecord]:
        """All ended trials in the order of their numbers, without their models."""
        return [_read(file) for file in sorted(self.folder.glob("*.json"))]

    def load_model(self, record: TrialRecord) -> FittedModel | None:
        """The model that a trial trained on its first fold; None if it isn't kept."""
        from safetensors import safe_open

        file = self.model_file(record.number)
        if not file.is_file():
            return None
        with safe_open(file, framework="pt") as opened:
            description = json.loads(opened.metadata()["model"])
        return FittedModel.build(description, load_file(file))


def _stem(number: int, repeat: int = 0) -> str:
    return f"{number:05d}" + (f"-{repeat}" if repeat else "")


def _read(file: Path) -> TrialRecord:
    values = json.loads(file.read_text())
    record = TrialRecord(
        number=values["number"],
        strategy=values["strategy"],
        config=values["config"],
        state=values["state"],
        seconds=values["seconds"],
        curve=tuple(CurvePoint(*point) for point in values["curve"]),
        error=values["error"],
        run_id=values["run_id"],
        cost_s=values["cost_s"],
        figures=values["figures"],
        recipe=values.get("recipe", ""),
        repeat=values.get("repeat", 0),
    )
    if values["result"] is None:
        return record
    with np.load(file.with_suffix(".npz")) as arrays:
        result = TrialResult(
            samples=arrays["samples"], probabilities=arrays["probabilities"], **values["result"]
        )
    return replace(record, result=result)
