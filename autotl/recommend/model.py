"""What the user holds in the end: the recommendation, and the model that predicts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from autotl.analysis.profile import DatasetProfile
from autotl.data import ImageTable, as_picture, decode, read_dataset, to_pixels
from autotl.errors import InputError, UnreadableImageError
from autotl.metrics import METRICS
from autotl.recommend.decision import Decision, TestScore
from autotl.recommend.words import short_name
from autotl.reuse.pixels import PixelView
from autotl.runtime import resolve_device
from autotl.strategies.fitted import FittedModel

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from autotl.export.files import ExportedModel

FORMAT = 1
_MODEL, _DESCRIPTION, _LEADERBOARD = "model.safetensors", "model.json", "leaderboard.csv"
_CARD = "model_card.md"
_BATCH = 256
_FETCHING = {"checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}
"""Arguments of ``timm.create_model`` that make it read weights."""


@dataclass(frozen=True, repr=False)
class Recommendation:
    """How to use a pretrained network on a data set, why, and the model trained that way.

    Attributes:
        strategy: the recommended strategy: ``bottleneck``, ``finetune`` or ``scratch``.
        config: its settings.
        class_names: the classes, in the order of :meth:`predict_proba`'s columns.
        model: the trained network.
        profile: of the data set.
        metric: name of the metric that decided.
        text: the explanation.
        table: the leaderboard.
        figures: the summary as plain values for JSON.
        device: where :meth:`predict` runs.
        report_path: the HTML report; None if there is none any more.
        model_path: where the fit saved the model; None if it didn't.
        tracking_uri: of the MLflow store that has the records.
        decision: the verdict with all its figures; None after :func:`autotl.load`.
        test: what the locked test set said; None after :func:`autotl.load`.
        test_metrics: after :func:`autotl.load`, every metric's value on the locked test set.
    """

    strategy: str
    config: Mapping[str, Any]
    class_names: tuple[str, ...]
    model: FittedModel
    profile: DatasetProfile
    metric: str
    text: str
    table: pd.DataFrame
    figures: Mapping[str, Any]
    device: str = "auto"
    report_path: Path | None = None
    model_path: Path | None = None
    tracking_uri: str = ""
    decision: Decision | None = None
    test: TestScore | None = None
    test_metrics: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Short enough for a notebook: what to do, and how well that does."""
        score = self.figures.get("test") or self.figures.get("expected") or {}
        value = f", {self.metric}={score['value']:.3f}" if score else ""
        backbone = short_name(str(self.config.get("backbone", "")))
        return f"Recommendation({self.strategy!r}, backbone={backbone!r}{value})"

    def explain(self) -> str:
        """The recommendation in a few plain sentences."""
        return self.text

    def leaderboard(self) -> pd.DataFrame:
        """One row per trial, best first."""
        return self.table.copy()

    def summary(self) -> dict[str, Any]:
        """The recommendation as plain values for JSON."""
        return dict(self.figures)

    def predict(self, images: Any) -> NDArray[np.str_]:
        """The most probable class of each picture.

        Args:
            images: a path, a PIL image, an ``(h, w)`` or ``(h, w, c)`` uint8 array, or a sequence
                of these; or an array ``(n, h, w)`` or ``(n, h, w, c)``.

        Returns:
            ``(n,)`` class names.

        Raises:
            UnreadableImageError: if a picture can't be read.
        """
        names = np.array(self.class_names)
        chosen: NDArray[np.str_] = names[self.predict_proba(images).argmax(axis=1)]
        return chosen

    def predict_proba(self, images: Any) -> NDArray[np.float32]:
        """Class probabilities ``(n, n_classes) float32``; see :meth:`predict`."""
        size = self.model.backbone.image_size
        device = resolve_device(self.device)
        found: list[NDArray[np.float32]] = []
        batch: list[NDArray[np.uint8]] = []

        def flush() -> None:
            view = PixelView(np.stack(batch), np.arange(len(batch)))
            found.append(self.model.predict_proba(view, view.rows, device=device))
            batch.clear()

        for image in _each(images):
            batch.append(_pixels(image, size))
            if len(batch) == _BATCH:
                flush()
        if batch:
            flush()
        if not found:
            return np.empty((0, len(self.class_names)), dtype=np.float32)
        return np.concatenate(found)

    def score(
        self,
        dataset: Any,
        *,
        image: str | None = None,
        label: str | None = None,
        trust_paths: bool = False,
    ) -> float:
        """The value of :attr:`metric` on another labelled data set.

        Args:
            dataset: of any kind that :func:`autotl.fit` takes; its classes must be among the
                model's.
            image: column of image paths, for tables.
            label: column of labels, for tables.
            trust_paths: as for :func:`autotl.fit`.

        Raises:
            InputError: for a class that the model doesn't know, or pictures that can't be read.
        """
        table = read_dataset(dataset, image=image, label=label, trust_paths=trust_paths)
        strange = sorted(set(table.class_names) - set(self.class_names))
        if strange:
            raise InputError(
                f"the model doesn't know the classes {strange}; it knows {list(self.class_names)}"
            )
        index = np.array([self.class_names.index(name) for name in table.class_names])
        size = self.model.backbone.image_size
        probabilities = self.predict_proba(_named(table, i, size) for i in range(len(table)))
        return METRICS[self.metric].value(index[table.labels], probabilities)

    def export(
        self, path: str | Path, format: str = "onnx", *, images: Iterable[Any] | None = None
    ) -> ExportedModel:
        """Write the model into one file that predicts without autotl.

        Its input is ``pictures``, ``(n, h, w, 3) uint8`` of any size; its output
        ``probabilities``, ``(n, n_classes) float32``. Resizing, normalisation and the calibrated
        softmax are inside. The file is checked before it appears: on real pictures its labels must
        be those of :meth:`predict` and its probabilities may differ by 1e-3.

        Args:
            path: of the file, which is replaced if it exists.
            format: ``onnx`` (class names as JSON in the metadata ``class_names``; needs the extra
                ``autotl[onnx]``) or ``torch``, an exported program for ``torch.export.load``.
            images: to check it on, as for :meth:`predict`, in a sequence; None: photographs and
                scans that come with scikit-learn.

        Raises:
            InputError: if a package is missing, the architecture can't be exported, the file can't
                be written, or it predicts otherwise than the model.
        """
        from autotl.recommend.exporting import export

        return export(self, path, format, images)

    def to_timm(self) -> torch.nn.Module:
        """The model as a plain timm model, whose softmax gives the probabilities.

        Raises:
            InputError: if no timm model is the same function, as for a bottleneck that reads
                other layers than the last.
        """
        from autotl.export.as_timm import to_timm

        return to_timm(self.model, self.class_names)

    def model_card(self) -> str:
        """What the model is, how good, and where its limits are, in Markdown."""
        from autotl.recommend.card import model_card

        return model_card(self)

    def save(self, folder: str | Path) -> Path:
        """Write the model, its leaderboard and its model card.

        ``model.safetensors``, ``model.json``, ``leaderboard.csv`` and ``model_card.md``.

        No pickle: reading it back runs nobody's code.

        Args:
            folder: made if it doesn't exist; files of an earlier model there are replaced.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            description = {
                "format": FORMAT,
                "strategy": self.strategy,
                "config": dict(self.config),
                "class_names": list(self.class_names),
                "metric": self.metric,
                "text": self.text,
                "figures": dict(self.figures),
                "profile": self.profile.as_json(),
                "model": self.model.as_json(),
                "report_path": None if self.report_path is None else str(self.report_path),
                "tracking_uri": self.tracking_uri,
                "test_metrics": dict(self.test_metrics if self.test is None else self.test.metrics),
            }
            part = folder / f"{_MODEL}.part"
            save_file(self.model.tensors(), part)
            os.replace(part, folder / _MODEL)
            self.table.to_csv(folder / _LEADERBOARD, index=False)
            (folder / _CARD).write_text(self.model_card(), encoding="utf-8")
            part = folder / f"{_DESCRIPTION}.part"
            part.write_text(json.dumps(description, indent=1), encoding="utf-8")
            os.replace(part, folder / _DESCRIPTION)
        except OSError as error:
            raise InputError(f"the model can't be saved in {str(folder)!r}: {error}") from error
        return folder


def load(folder: str | Path, device: str = "auto") -> Recommendation:
    """A recommendation that was saved; it predicts as before.

    Args:
        folder: what :meth:`Recommendation.save` wrote, or a fit's folder with a ``model`` in it.
        device: where to predict.

    Raises:
        InputError: if there is no such model, or it is damaged or of a newer format.
    """
    import pandas as pd

    folder = Path(folder)
    if not (folder / _DESCRIPTION).is_file() and (folder / "model" / _DESCRIPTION).is_file():
        folder = folder / "model"
    if not (folder / _DESCRIPTION).is_file():
        raise InputError(
            f"{str(folder)!r} holds no saved model ({_DESCRIPTION} is missing); "
            "give the folder that Recommendation.save or autotl fit wrote"
        )
    try:
        values = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise InputError(
                f"{str(folder)!r} has model format {values['format']!r}, this autotl reads "
                f"{FORMAT}; use the autotl that wrote it, or a newer one"
            )
        _refuse_foreign(values["model"]["backbone"])
        tensors = load_file(folder / _MODEL)
        n_classes = values["model"]["n_classes"]
        if values["metric"] not in METRICS or len(values["class_names"]) != n_classes:
            raise ValueError(f"metric {values['metric']!r}, {n_classes} classes")
        report = values["report_path"]
        return Recommendation(
            strategy=values["strategy"],
            config=values["config"],
            class_names=tuple(values["class_names"]),
            model=FittedModel.build(values["model"], tensors),
            profile=TypeAdapter(DatasetProfile).validate_python(values["profile"]),
            metric=values["metric"],
            text=values["text"],
            table=pd.read_csv(folder / _LEADERBOARD),
            figures=values["figures"],
            device=device,
            report_path=Path(report) if report and Path(report).is_file() else None,
            model_path=folder,
            tracking_uri=values["tracking_uri"],
            test_metrics=dict(values.get("test_metrics", {})),
        )
    except (OSError, LookupError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the model in {str(folder)!r} is damaged ({type(error).__name__}: {error}); "
            "save it again"
        ) from error


def _refuse_foreign(backbone: Mapping[str, Any]) -> None:
    """Refuse a description by which timm would fetch a network or weights from elsewhere."""
    options = backbone["architecture_options"]
    if ":" in backbone["architecture"] or _FETCHING & set(options):
        raise ValueError(
            f"its network is {backbone['architecture']!r} with {options}, which lies elsewhere; "
            "nothing is fetched for a saved model"
        )


def _named(table: ImageTable, sample: int, size: int) -> Image.Image:
    """A sample's picture for that image size; the error of an unreadable one names it."""
    try:
        return table.read(sample, min_size=size)
    except UnreadableImageError as error:
        raise InputError(f"{table.name(sample)} can't be read: {error}") from error


def _each(images: Any) -> Iterable[Any]:
    if isinstance(images, np.ndarray):
        one = images.ndim == 2 or (images.ndim == 3 and images.shape[-1] in (1, 3, 4))
        return [images] if one else images
    if isinstance(images, str | Path) or hasattr(images, "convert"):
        return [images]
    return images  # type: ignore[no-any-return]


def _pixels(image: Any, size: int) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return to_pixels(decode(image, min_size=size), size)
    return to_pixels(as_picture(image), size)
