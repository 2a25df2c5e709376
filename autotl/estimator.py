"""autotl as a scikit-learn estimator, thin over :func:`autotl.fit`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from autotl.config import DEFAULT_BUDGET_S
from autotl.data.records import label_name
from autotl.errors import InputError

if TYPE_CHECKING:
    from autotl.recommend.model import Recommendation

_KINDS = (
    "X must be a uint8 array of pictures (n, h, w) or (n, h, w, 1|3|4), or a list or array of "
    "paths (n,)"
)


class TransferClassifier(ClassifierMixin, BaseEstimator):
    """Finds out how to use a pretrained network on pictures, and predicts with it.

    It works with ``clone``, ``cross_val_score`` and as the last step of a ``Pipeline``. Every fit
    stands alone: nothing is learnt from earlier ones, so that cross-validation stays honest. As in
    :func:`autotl.fit` a fifth of the samples is locked away as a test set, whose score is
    ``recommendation_.test``. Which of scikit-learn's checks can't pass, and why, is told in
    ``docs/scikit-learn.md``.

    Args:
        time_budget_s: seconds for each fit; None: no limit.
        n_trials: at most so many trials in each fit; None: as many as the time allows.
        strategies: of ``bottleneck``, ``finetune``, ``scratch``; ``"auto"``: all.
        backbones: ``embedded``, timm names, ``name@/path/to/weights``; or ``"auto"``.
        metric: that decides between trials; :meth:`score` is the accuracy.
        prefer: ``accuracy``, ``balanced`` or ``cheap``.
        random_state: an integer, a ``RandomState`` or None, from which the seed comes.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        workers: processes that run trials side by side.
        output_dir: where each fit leaves its report and records; None: nothing is left.
        tracking_uri: MLflow's; None: as for :func:`autotl.fit`.

    Attributes:
        classes_: ``(n_classes,)``, in the order of :meth:`predict_proba`'s columns.
        recommendation_: the :class:`autotl.Recommendation`.
    """

    def __init__(
        self,
        *,
        time_budget_s: float | None = DEFAULT_BUDGET_S,
        n_trials: int | None = None,
        strategies: str | Sequence[str] = "auto",
        backbones: str | Sequence[str] = "auto",
        metric: str = "auto",
        prefer: str = "balanced",
        random_state: Any = 0,
        device: str = "auto",
        workers: int = 1,
        output_dir: str | Path | None = None,
        tracking_uri: str | None = None,
    ) -> None:
        self.time_budget_s = time_budget_s
        self.n_trials = n_trials
        self.strategies = strategies
        self.backbones = backbones
        self.metric = metric
        self.prefer = prefer
        self.random_state = random_state
        self.device = device
        self.workers = workers
        self.output_dir = output_dir
        self.tracking_uri = tracking_uri

    def fit(self, X: Any, y: Any) -> Self:
        """Search, decide and train.

        Args:
            X: pictures: ``(n, h, w)`` or ``(n, h, w, c) uint8``, or ``(n,)`` paths.
            y: ``(n,)`` labels, numbers or text.

        Raises:
            InputError: if the pictures or a setting can't be used.
            ValueError: if the labels can't.
        """
        pictures = self._pictures(X, is_fit=True)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        labels = _labels(y)
        check_consistent_length(pictures, labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y must hold at least two classes, but got one class: {labels[0]!r}")
        self._names = _class_names(self.classes_)
        names = np.array(self._names)[index]
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        if self.output_dir is not None:
            self.recommendation_ = self._search(pictures, names, int(seed), self.output_dir)
            return self
        with tempfile.TemporaryDirectory(prefix="autotl-") as folder:
            found = self._search(pictures, names, int(seed), folder)
        self.recommendation_ = _homeless(found)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Class probabilities ``(n, n_classes) float32`` of pictures as for :meth:`fit`."""
        check_is_fitted(self)
        pictures = list(self._pictures(X, is_fit=False))  # a stack of narrow ones isn't one picture
        found = self.recommendation_.predict_proba(pictures)
        known = list(self.recommendation_.class_names)
        probabilities: NDArray[np.float32] = found[:, [known.index(name) for name in self._names]]
        return probabilities

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class ``(n,)`` of each picture."""
        check_is_fitted(self)
        chosen: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return chosen

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn may give: pictures or paths, no rows of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags

    def _pictures(self, X: Any, *, is_fit: bool) -> NDArray[Any] | list[str]:
        """``(n, h, w[, c]) uint8``, or paths.

        Raises:
            InputError: for anything else.
        """
        if hasattr(X, "toarray"):
            raise TypeError(f"{_KINDS}; got a sparse {type(X).__name__}")
        if isinstance(X, str | Path):
            raise InputError(f"{_KINDS}; got one path: put it into a list, or use autotl.fit")
        array = np.asarray(X)
        if array.dtype.kind in "OU" and (array.ndim == 1 or array.shape[1:] == (1,)):
            paths = array.ravel().tolist()
            strange = next((path for path in paths if not isinstance(path, str | Path)), None)
            if strange is None:
                return [str(path) for path in paths]
            raise InputError(f"{_KINDS}; got a {type(strange).__name__} among paths")
        if array.dtype != np.uint8 or array.ndim not in (3, 4):
            raise InputError(f"{_KINDS}; got {array.dtype} {array.shape}")
        return array

    def _search(
        self, pictures: NDArray[Any] | list[str], names: NDArray[Any], seed: int, folder: Any
    ) -> Recommendation:
        import pandas as pd

        import autotl

        columns: dict[str, str] = {}
        dataset: Any = (pictures, names)
        if isinstance(pictures, list):
            dataset = pd.DataFrame({"image": pictures, "label": names})
            columns = {"image": "image", "label": "label"}
        return autotl.fit(
            dataset,
            **columns,  # type: ignore[arg-type]
            time_budget_s=self.time_budget_s,
            n_trials=self.n_trials,
            strategies=self.strategies,  # type: ignore[arg-type]
            backbones=self.backbones,  # type: ignore[arg-type]
            metric=self.metric,
            prefer=self.prefer,
            seed=seed,
            device=self.device,
            workers=self.workers,
            output_dir=folder,
            tracking_uri=self.tracking_uri,
            warm_start=False,
        )


def _labels(y: Any) -> NDArray[Any]:
    """Labels ``(n,)``; their kind is checked as scikit-learn does."""
    labels = column_or_1d(y, warn=True)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("Input y contains NaN or infinity")
    check_classification_targets(labels)
    return np.asarray(labels)


def _class_names(classes: NDArray[Any]) -> list[str]:
    """What autotl calls the classes; their numbers, where their names are empty or alike."""
    names = [label_name(value) for value in classes]
    if None in names or len(set(names)) < len(names):
        return [str(number) for number in range(len(names))]
    return [str(name) for name in names]


def _homeless(found: Recommendation) -> Recommendation:
    """The recommendation without the places of files that are gone."""
    import dataclasses

    return dataclasses.replace(found, report_path=None, model_path=None)
