"""Which sizes of pictures a network can be used with, where another than its own is wanted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import nn

from autotl.errors import BackboneUnavailableError, InputError

_CANT_RUN = (RuntimeError, AssertionError, ValueError, TypeError, IndexError)


def check_size(
    name: str,
    size: int,
    native: int,
    build: Callable[[int], nn.Module],
    *,
    is_fixed: bool,
    min_size: int,
) -> None:
    """Refuse a size that a network can't be used with.

    Convolutional networks take any size from their stride on: what doesn't divide is padded. One
    that is built for a size (``is_fixed``) takes those for which its weights can be resampled, as
    the position embeddings of a vision transformer can, in whole patches. Whether the network runs
    is found out without computing anything.

    Args:
        name: what the user called the backbone.
        size: side of the pictures, in pixels.
        native: the size that the weights were made for.
        build: the network with its weights, for a size.
        is_fixed: whether networks are built for a size.
        min_size: the least size that timm knows to work; 0: not known.

    Raises:
        InputError: what is wrong with the size.
        BackboneUnavailableError: if the weights don't fit at the native size either.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size**2 > limit:
        raise InputError(
            f"backbone {name!r}: pictures of {size} x {size} px exceed the limit of {limit} pixels "
            "(PIL.Image.MAX_IMAGE_PIXELS); choose a smaller size"
        )
    model = build(native)
    step = _stride(model)
    least = max(step, min_size)
    if size < least:
        raise InputError(
            f"backbone {name!r}: {size} px is too small for it; choose at least {least} px"
        )
    if is_fixed and size % step:
        lower = size - size % step
        raise InputError(
            f"backbone {name!r}: it sees pictures in patches of {step} px, of which {size} px "
            f"isn't a multiple; choose {lower} or {lower + step} px"
        )
    try:
        model = build(size) if is_fixed else model
        with torch.no_grad():
            model.eval().to("meta")(torch.zeros(2, 3, size, size, device="meta"))
    except (BackboneUnavailableError, *_CANT_RUN) as error:
        raise InputError(
            f"backbone {name!r} can't be used at {size} px: its weights are for pictures of "
            f"{native} px; name it without a size"
        ) from error


def _stride(model: nn.Module) -> int:
    """Pixels that one position of the last map, or one patch, stands for; 1 if timm doesn't say."""
    stages = getattr(model, "feature_info", None)
    told = [stage.get("reduction", 1) for stage in stages] if isinstance(stages, list) else []
    return int(max([1, *told]))
