"""One picture: decoded as a viewer would show it, and squashed to the pixels that networks read."""

from __future__ import annotations

import io
import os
import stat
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from autotl.errors import UnreadableImageError

FORMATS = frozenset(
    {
        *("AVIF", "BMP", "DDS", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX"),
        *("PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
    }
)
"""Pillow's formats that are read. Not among them: those that start another program (EPS) or only
recognise a container (PDF, HDF5, MPEG, WMF). HEIF counts once ``pillow-heif`` is registered."""

MAX_FILE_BYTES = 2**30
"""A larger file isn't read."""

REDUCING_GAP = 3.0
"""Shrinking by more than this factor first averages whole blocks of pixels, which is fast."""

_ORIENTATION_TAG = 0x0112
_TURN_FOR_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CHANNELS = (1, 3, 4)
_VALUES_AT_ONCE = 2**20


@lru_cache(maxsize=1)
def _readable_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name in FORMATS)


@lru_cache(maxsize=1)
def picture_extensions() -> frozenset[str]:
    """File extensions of pictures, lower case with the dot.

    HEIC is among them even where it can't be decoded, so that such files are reported and not
    passed over in silence.
    """
    known = {end for end, name in Image.registered_extensions().items() if name in FORMATS}
    return frozenset(known | {".heic", ".heif"})


def decode(data: bytes | str | os.PathLike[str], min_size: int | None = None) -> Image.Image:
    """Decode one picture as a viewer would show it.

    The first frame of an animation; turned upright by its EXIF orientation; transparency on white;
    16-bit grey scaled to 8 bit; CMYK, palette and 1-bit pictures converted. Colour profiles are
    not applied.

    Args:
        data: the file's bytes, or its path.
        min_size: the shorter side that the caller needs, in pixels. A JPEG may then be decoded
            at 1/2, 1/4 or 1/8 of its scale, never with a shorter side below ``min_size`` (unless
            the picture itself is smaller).

    Returns:
        An image of mode ``RGB`` or ``L``, fully loaded. Its ``info["original_size"]`` is the
        upright picture's width and height before any reduction.

    Raises:
        UnreadableImageError: no such file, empty, truncated, not a picture, or more pixels than
            ``PIL.Image.MAX_IMAGE_PIXELS``; the message is the reason.
    """
    content = data if isinstance(data, bytes) else _content(Path(data))
    if not content:
        raise UnreadableImageError("the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=_readable_formats()) as image:
            _refuse_bomb(image)
            width, height = image.size
            lies_down = _orientation(image) >= 5
            if min_size is not None and image.format in ("JPEG", "MPO"):
                image.draft(None, (min_size, min_size))
            image.load()
            seen = as_seen(image)
            seen.info["original_size"] = (height, width) if lies_down else (width, height)
            return seen
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError(_why_unidentified(content)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError(f"too many pixels: {error}") from error
    except Exception as error:  # Pillow's decoders raise any kind on a damaged file
        raise UnreadableImageError(f"damaged or truncated: {error}") from error


def as_seen(image: Image.Image) -> Image.Image:
    """The picture upright and in mode ``RGB`` or ``L``.

    Args:
        image: a picture of any of Pillow's modes. Grey of more than 8 bits: 16-bit values are
            divided by 257; floats are taken to fill [0, 1], else [0, 255], else [0, 65535],
            whichever they fit in first; values outside are stretched from their least to their
            greatest.

    Raises:
        UnreadableImageError: if it holds NaN or infinity.
    """
    turn = _TURN_FOR_ORIENTATION.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bit(image)
    base = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if not image.has_transparency_data:
        return image.convert(base)
    straight = image.convert("LA" if base == "L" else "RGBA")
    on_white = Image.new(base, image.size, "white")
    on_white.paste(straight.convert(base), mask=straight.getchannel("A"))
    return on_white


def from_array(array: NDArray[Any]) -> Image.Image:
    """The picture of an array.

    Args:
        array: ``(h, w)`` or ``(h, w, c)`` uint8 with c of 1 (grey), 3 (RGB) or 4 (RGBA; put on
            white).

    Returns:
        An image of mode ``RGB`` or ``L``.

    Raises:
        UnreadableImageError: for another dtype or shape.
    """
    if array.dtype != np.uint8:
        raise UnreadableImageError(f"an image array must be uint8, got {array.dtype}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS):
        raise UnreadableImageError(
            f"an image array must have shape (h, w) or (h, w, 1|3|4), got {array.shape}"
        )
    if 0 in array.shape:
        raise UnreadableImageError(f"an image array of shape {array.shape} has no pixels")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return as_seen(Image.fromarray(np.ascontiguousarray(array)))


def to_pixels(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Squash a picture to a square of pixels.

    The filter is Pillow's bilinear one, whose triangle widens with the scale: it antialiases when
    it shrinks and does not overshoot at edges as Lanczos does, which matters on line drawings; it
    is also what most published weights were trained with. Strong shrinking averages blocks first
    (:data:`REDUCING_GAP`), at no visible difference.

    Args:
        image: a picture; of mode ``RGB`` or ``L``, or else converted by :func:`as_seen`.
        size: side of the square, in pixels.

    Returns:
        ``(size, size, 3) uint8``; the three channels of a grey picture are equal.
    """
    if image.mode not in ("RGB", "L"):
        image = as_seen(image)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    pixels = np.array(image, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _content(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever
            raise UnreadableImageError("the file can't be read: it's not a regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise UnreadableImageError(
                f"the file is too large: {found.st_size} bytes exceed the limit of {MAX_FILE_BYTES}"
            )
        return path.read_bytes()
    except UnreadableImageError:
        raise
    except FileNotFoundError as error:
        raise UnreadableImageError("no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableImageError(f"the file can't be read: {reason}") from error


def _refuse_bomb(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    n_pixels = image.width * image.height
    if limit is not None and n_pixels > limit:
        raise UnreadableImageError(
            f"too many pixels: {image.width} x {image.height} exceeds the limit of {limit} "
            "(PIL.Image.MAX_IMAGE_PIXELS)"
        )


def _why_unidentified(content: bytes) -> str:
    if content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "HEIC pictures aren't supported; convert it to JPEG or PNG"
    return f"not a picture in a known format (it starts with {content[:12]!r})"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1  # a damaged EXIF block: a viewer shows the picture as stored
    return value if isinstance(value, int) else 1


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadableImageError("it holds values that aren't finite")
    offset, factor = 0.0, 1 / 257
    if image.mode == "F" and low >= 0 and high <= 1:
        factor = 255.0
    elif image.mode == "F" and low >= 0 and high <= 255:
        factor = 1.0
    elif low < 0 or high > 65535:
        offset, factor = low, 255 / (high - low) if high > low else 0.0
    grey = np.empty(values.shape, dtype=np.uint8)
    n_rows = max(1, _VALUES_AT_ONCE // values.shape[1])
    for start in range(0, len(values), n_rows):  # a large picture as floats would fill the memory
        part = values[start : start + n_rows].astype(np.float64)
        grey[start : start + n_rows] = np.rint((part - offset) * factor)
    return Image.fromarray(grey)
