"""autotl: how to use a pretrained network on a new image-classification problem, with evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotl.analysis.analysis import Analysis
    from autotl.analyzing import analyze
    from autotl.api import fit
    from autotl.estimator import TransferClassifier
    from autotl.recommend.model import Recommendation, load

__version__ = "0.1.0"
__all__ = ["Analysis", "Recommendation", "TransferClassifier", "analyze", "fit", "load"]

_HOMES = {
    "Analysis": "autotl.analysis.analysis",
    "Recommendation": "autotl.recommend.model",
    "TransferClassifier": "autotl.estimator",
    "analyze": "autotl.analyzing",
    "fit": "autotl.api",
    "load": "autotl.recommend.model",
}


def __getattr__(name: str) -> Any:
    """Public names are loaded when first used: ``import autotl`` is fast and loads no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'autotl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
