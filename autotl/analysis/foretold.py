"""What each figure of an analysis foretold on measured data sets: shown where the figure is.

From the outcome table by ``studies/similarity``: 24 tasks, eight data sets at three sizes, two
backbones; a test holds these constants to it. Intervals resample data sets, 95 %. A figure that
foretold nothing says so, and the best bet doesn't rest on it.
"""

from __future__ import annotations

from collections.abc import Mapping

N_ORDERED = 16
"""Tasks on which the two backbones' best transfer differs by more than a point."""
N_RIGHT: Mapping[str, int] = {
    "linear_accuracy": 13,
    "log_me": 13,
    "h_score": 6,
    "k_nn_accuracy": 12,
    "centroid_accuracy": 12,
    "parc": 14,
    "trans_rate": 14,
    "n_leep": 12,
    "distance": 10,
}
"""By figure, on how many of these it named the better backbone; chance names it on half."""
TELL_HOW_MUCH = frozenset({"linear_accuracy", "k_nn_accuracy", "centroid_accuracy", "n_leep"})
"""Those whose difference went with the difference in points: the interval of tau leaves out 0."""

OF_SIMILARITY = (
    "On 24 measured tasks it did not foretell what transfer brings over training from scratch "
    "(Kendall's tau of the distance -0.36 [-0.69, 0.13] with ImageNet's weights, -0.12 "
    "[-0.64, 0.48] with the embedded ones); the best bet doesn't rest on it."
)
OF_SIZE = (
    "On 24 measured tasks fewer images for each class went with more benefit from the embedded "
    "weights (Kendall's tau -0.35 [-0.56, -0.11]) and with no more from ImageNet's (-0.04 "
    "[-0.32, 0.19]); the best bet doesn't rest on it."
)
OF_LEARNING_CURVE = (
    "On eight data sets the accuracy with twice the labels was foretold to within 1.0 points in "
    "the mean, and the 95 % interval held it in 78 of 80 cases."
)
OF_DIMENSION = "foretold nothing on 24 measured tasks"
OF_BEST_BET = "that was 1.11 points short of the best in the mean over 24 measured tasks"


def named_better(score: str) -> str:
    """On how many tasks a score named the better of two backbones."""
    told = f"{N_RIGHT[score]} of {N_ORDERED}"
    return f"{told}, and by how much" if score in TELL_HOW_MUCH else told
