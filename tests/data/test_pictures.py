"""Pictures of every mode come out as a viewer shows them; damaged ones with a reason."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.data import pictures
from autotl.data.pictures import as_seen, decode, from_array, picture_extensions, to_pixels
from autotl.errors import UnreadableImageError


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([x, y, 255 - x]).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA", "JPEG"])
def test_ordinary_files(kind: str) -> None:
    image = decode(encoded(gradient(), kind))
    assert image.mode == "RGB"
    assert image.size == (64, 48)
    worst = np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean()
    assert worst < (12 if kind in ("GIF", "JPEG", "WEBP") else 1)


def test_path_and_bytes_agree(tmp_path: Path) -> None:
    path = tmp_path / "ünï cödé.png"
    path.write_bytes(encoded(gradient(), "PNG"))
    assert (
        decode(path).tobytes() == decode(str(path)).tobytes() == decode(path.read_bytes()).tobytes()
    )


def test_grey_stays_grey() -> None:
    assert decode(encoded(gradient().convert("L"), "PNG")).mode == "L"


def test_one_bit() -> None:
    image = decode(encoded(Image.new("1", (5, 4), 1), "PNG"))
    assert image.mode == "L"
    assert np.asarray(image).min() == 255


def test_cmyk_jpeg_is_not_inverted() -> None:
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    image = decode(encoded(red, "JPEG", quality=95))  # Pillow writes Adobe's inverted CMYK
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image, int) - (250, 10, 10)).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    image = decode(encoded(Image.fromarray(values), kind))
    assert np.asarray(image).tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65535]], np.int32), [[0, 255]]),
        (np.array([[-10, 0, 10]], np.int32), [[0, 128, 255]]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [[0, 128, 255]]),
        (np.array([[0.0, 2.0, 255.0]], np.float32), [[0, 2, 255]]),
        (np.array([[0.0, 257.0, 65535.0]], np.float32), [[0, 1, 255]]),
        (np.array([[-7.0, -7.0]], np.float32), [[0, 0]]),
    ],
)
def test_deep_grey_is_scaled(values: np.ndarray, expected: list[list[int]]) -> None:
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF"))).tolist() == expected


def test_deep_grey_of_many_rows_is_scaled_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(-5, 70000, 600, dtype=np.float32).reshape(30, 20)
    expected = np.asarray(as_seen(Image.fromarray(values))).copy()
    monkeypatch.setattr(pictures, "_VALUES_AT_ONCE", 70)
    assert (np.asarray(as_seen(Image.fromarray(values))) == expected).all()
    assert (expected[0, 0], expected[-1, -1]) == (0, 255)


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.png", "wb") as file:
        file.truncate(pictures.MAX_FILE_BYTES + 1)  # takes no disk
    with pytest.raises(UnreadableImageError, match="too large"):
        decode(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF", "MPO", "AVIF", "JPEG2000", "ICO"])
def test_every_container_is_held_to_the_pixel_limit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {} if kind in ("JPEG2000", "ICO") else {"save_all": True}
    frames = {"append_images": [gradient(64, 64).rotate(9)]} if many else {}
    content = encoded(gradient(64, 64), kind, **many, **frames)
    assert decode(content).size == (64, 64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        decode(content)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV", "CMYK"])
def test_colour_spaces_are_shown_in_rgb(mode: str) -> None:
    if mode == "LAB":
        image = decode(encoded(Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF"))
        assert min(image.getpixel((4, 4))) > 245
        return
    shown = gradient().convert(mode)
    content = encoded(shown, "TIFF") if mode != "HSV" else None
    image = as_seen(shown) if content is None else decode(content)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 4


def test_palette_with_alpha() -> None:
    picture = Image.new("RGBA", (4, 4), (10, 20, 30, 255))
    picture.putpixel((0, 0), (200, 0, 0, 0))
    image = decode(encoded(picture.quantize(), "PNG"))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((2, 2)) == (10, 20, 30)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_shown(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    assert decode(content).getpixel((8, 8)) == (255, 0, 0)


def test_grey_that_is_not_finite_is_refused() -> None:
    values = np.array([[0.0, np.nan]], np.float32)
    with pytest.raises(UnreadableImageError, match="finite"):
        decode(encoded(Image.fromarray(values), "TIFF"))


def test_palette() -> None:
    palette = gradient().convert("P", palette=Image.Palette.ADAPTIVE, colors=200)
    assert decode(encoded(palette, "PNG")).tobytes() == palette.convert("RGB").tobytes()


def test_transparent_palette_lies_on_white() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((0, 0), 0)
    image = decode(encoded(palette, "PNG", transparency=0))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((1, 1)) == (10, 20, 30)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (100, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (100, 0, 0, 255), (100, 0, 0)),
        ("LA", (100, 0), 255),
        ("LA", (100, 255), 100),
    ],
)
def test_alpha_lies_on_white(mode: str, color: tuple[int, ...], expected: object) -> None:
    image = decode(encoded(Image.new(mode, (3, 3), color), "PNG"))
    assert image.getpixel((1, 1)) == expected


def test_half_transparent_is_mixed_with_white() -> None:
    image = decode(encoded(Image.new("RGBA", (3, 3), (0, 0, 0, 128)), "PNG"))
    assert abs(image.getpixel((1, 1))[0] - 127) <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    upright = Image.new("L", (32, 16), 0)
    upright.paste(255, (0, 0, 8, 8))  # white in the upper left corner
    undo = {
        1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]
    }[orientation]  # fmt: skip
    stored = upright
    for turn in undo:
        stored = stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(stored, kind, exif=exif))
    assert image.size == (32, 16)
    corners = [image.getpixel(at) > 128 for at in ((2, 2), (29, 2), (2, 13), (29, 13))]
    assert corners == [True, False, False, False]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_passed_over() -> None:
    content = encoded(gradient(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert decode(content).size == (64, 48)


def test_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    assert decode(content).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_truncated(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImageError, match=r"truncated|not a picture"):
        decode(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>no such page</html>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"\x89PNG\r\n\x1a\n", "."),
    ],
)
def test_not_a_picture(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        decode(content)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="no such file"):
        decode(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match="can't be read"):
        decode(tmp_path)


@pytest.mark.parametrize("side", [40, 60])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    content = encoded(Image.new("L", (side, side)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # one above it, one above twice it
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        decode(content)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_gives_a_reason_or_a_picture() -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "TGA", "PPM", "PCX", "ICO", "WEBP"):
        content = np.frombuffer(encoded(gradient(32, 32), kind), np.uint8)
        for _ in range(30):
            broken = content.copy()
            at = rng.integers(0, len(broken), 4)
            broken[at] = rng.integers(0, 256, 4)
            with suppress(UnreadableImageError):
                assert decode(broken.tobytes()).mode in ("RGB", "L")


@pytest.mark.parametrize("min_size", [None, 10, 50, 99, 100, 101, 400, 1000])
def test_reduced_decoding_is_never_below_min_size(min_size: int | None) -> None:
    content = encoded(gradient(1200, 800), "JPEG")
    image = decode(content, min_size)
    shorter = min(image.size)
    assert shorter >= min(min_size or 800, 800)
    if min_size is not None and min_size <= 400:
        assert shorter < 800
    assert image.width / image.height == pytest.approx(1.5, abs=0.02)


def test_reduced_decoding_shows_the_same() -> None:
    content = encoded(gradient(1024, 1024), "JPEG", quality=95)
    whole, reduced = to_pixels(decode(content), 64), to_pixels(decode(content, 64), 64)
    assert np.abs(whole.astype(int) - reduced).mean() < 2


class TestToPixels:
    def test_shape_and_dtype(self) -> None:
        pixels = to_pixels(gradient(), 32)
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable

    def test_grey_has_equal_channels(self) -> None:
        pixels = to_pixels(gradient().convert("L"), 32)
        assert pixels.shape == (32, 32, 3)
        assert (pixels == pixels[:, :, :1]).all()

    def test_same_size_is_left_as_it_is(self) -> None:
        array = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        assert (to_pixels(Image.fromarray(array), 8) == array).all()

    @pytest.mark.parametrize("factor", [2, 8, 31])
    def test_antialiases(self, factor: int) -> None:
        """A one-pixel checkerboard shrinks to grey, not to a moire."""
        y, x = np.mgrid[: 32 * factor, : 32 * factor]
        board = Image.fromarray(((x + y) % 2 * 255).astype(np.uint8))
        assert np.abs(to_pixels(board, 32).astype(int) - 127).max() <= 20

    def test_constant_stays_constant(self) -> None:
        assert (to_pixels(Image.new("RGB", (333, 77), (3, 200, 255)), 48) == (3, 200, 255)).all()


class TestFromArray:
    @pytest.mark.parametrize(
        ("shape", "mode"), [((5, 6), "L"), ((5, 6, 1), "L"), ((5, 6, 3), "RGB"), ((5, 6, 4), "RGB")]
    )
    def test_shapes(self, shape: tuple[int, ...], mode: str) -> None:
        image = from_array(np.zeros(shape, np.uint8))
        assert image.mode == mode
        assert image.size == (6, 5)

    def test_strided(self) -> None:
        array = np.arange(48, dtype=np.uint8).reshape(3, 4, 4).transpose(1, 2, 0)
        assert (np.asarray(from_array(array)) == array).all()

    @pytest.mark.parametrize(
        "array",
        [np.zeros((5, 6)), np.zeros((5, 6, 2), np.uint8), np.zeros(5, np.uint8),
         np.zeros((0, 6), np.uint8), np.zeros((3, 5, 6), np.uint8)],
    )  # fmt: skip
    def test_refused(self, array: np.ndarray) -> None:
        with pytest.raises(UnreadableImageError, match="image array"):
            from_array(array)


def test_as_seen_keeps_the_given_image() -> None:
    image = Image.new("RGBA", (2, 2), (1, 2, 3, 0))
    assert as_seen(image).getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((0, 0)) == (1, 2, 3, 0)


def test_extensions() -> None:
    assert {
        ".jpg",
        ".jpeg",
        ".png",
        ".tif",
        ".bmp",
        ".gif",
        ".webp",
        ".heic",
    } <= picture_extensions()
    assert not {".csv", ".txt", ".pdf", ".eps", ".json", ".npy"} & picture_extensions()
