"""Which convolutions are compared, how, and that both ways are timed on the same batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from autotl.backbones.zoo import random_backbone
from studies.reuse import gradients
from studies.reuse.gradients import measure


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What each way gave, in the order of the comparisons; torch takes 3 s, products 2 s."""
    given: list[dict[str, object]] = []

    def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
        assert repeats == 5
        given.append({name: way() for name, way in ways.items()})
        return {"torch_s": 3.0, "products_s": 2.0, "forward_s": 1.0}

    monkeypatch.setattr(gradients, "interleaved", interleaved)
    monkeypatch.setattr(gradients, "_seconds", lambda way: way())
    return given


def test_a_row_for_each_kind_of_convolution_that_pays(timed: list[dict[str, Any]]) -> None:
    found = measure(random_backbone("resnet10t", 64, channels=(8, 8, 128, 160)), 4, 5)
    assert [row["kind"] for row in found["convolutions"]] == [
        "3 x 3, 128 to 128 channels, 4 x 4, stride 1",
        "3 x 3, 128 to 160 channels, 4 x 4, stride 2",
        "3 x 3, 160 to 160 channels, 2 x 2, stride 1",
        "1 x 1, 128 to 160 channels, 2 x 2, stride 1",
    ]
    assert found["ratio"] == found["convolutions"][0]["ratio"] == 1.5
    assert found["convolutions"][0]["forward_s"] == 1.0
    for ways in timed[:-1]:
        torch.testing.assert_close(ways["products_s"], ways["torch_s"][1], rtol=1e-3, atol=1e-4)


def test_steps_differ_in_the_context_alone(
    timed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[tuple[str, torch.device]] = []
    real = gradients.small_map_gradients

    def noted(precision: str, device: torch.device) -> Any:
        entered.append((precision, device))
        return real(precision, device)

    monkeypatch.setattr(gradients, "small_map_gradients", noted)
    measure(random_backbone("resnet10t", 32, channels=(8, 8, 8, 8)), 4, 5)
    assert list(timed[-1]) == ["torch_s", "products_s"]
    assert entered == [("fp32", torch.device("cpu"))]
