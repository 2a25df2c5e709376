from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image

from autotl.data.pictures import to_pixels
from autotl.errors import InputError
from autotl.export.as_timm import to_timm
from autotl.export.parity import real_pictures
from autotl.reuse.pixels import PixelView
from autotl.strategies.fitted import FittedModel

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize("kind", ["whole", "the last layer"])
def test_timm_alone_says_the_same(kind: str, make_model: Callable[[str], FittedModel]) -> None:
    model = make_model(kind)
    state = {name: value.clone() for name, value in model.tensors().items()}
    found = to_timm(model, NAMES)
    assert type(found) is type(timm.create_model("resnet10t"))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(found))
    pictures = [Image.fromarray(p) for p in real_pictures()[-6:]]  # small: no reducing gap
    x = torch.stack([transform(picture) for picture in pictures])
    with torch.no_grad():
        said = found(x).softmax(dim=1).numpy()
    size = model.backbone.image_size
    view = PixelView(np.stack([to_pixels(p, size) for p in pictures]), np.arange(6))
    expected = model.predict_proba(view, view.rows, device=torch.device("cpu"))
    np.testing.assert_allclose(said, expected, atol=1e-4)
    assert found.pretrained_cfg["label_names"] == NAMES
    assert "state_dict" not in found.pretrained_cfg
    for name, value in model.tensors().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("kind", ["several layers", "an early layer"])
def test_other_layers_are_refused_with_the_reason(
    kind: str, make_model: Callable[[str], FittedModel]
) -> None:
    with pytest.raises(InputError, match=r"reads after the stages \[.*\] of 5"):
        to_timm(make_model(kind), NAMES)
