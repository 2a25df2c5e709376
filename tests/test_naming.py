"""Backbone names are parted so that a file and a size can't be taken for each other."""

from __future__ import annotations

import pytest

from autotl.naming import BackboneName


@pytest.mark.parametrize(
    ("name", "parts", "short", "without_file"),
    [
        ("embedded", ("embedded", "", None), "embedded", "embedded"),
        ("embedded@96px", ("embedded", "", 96), "embedded@96px", "embedded@96px"),
        ("net@/a/b c.pt", ("net", "/a/b c.pt", None), "net@b c.pt", "net"),
        ("net@/a/b.pt@224px", ("net", "/a/b.pt", 224), "net@b.pt@224px", "net@224px"),
        ("net@a@b.pt", ("net", "a@b.pt", None), "net@a@b.pt", "net"),
        ("net@./96px", ("net", "./96px", None), "net@96px", "net"),
        ("net@/a@96px/b.pt", ("net", "/a@96px/b.pt", None), "net@b.pt", "net"),
        ("net@96", ("net", "96", None), "net@96", "net"),
        ("net@96px@64px", ("net", "96px", 64), "net@96px@64px", "net@64px"),
        ("", ("", "", None), "", ""),
    ],
)
def test_parts(
    name: str, parts: tuple[str, str, int | None], short: str, without_file: str
) -> None:
    found = BackboneName.of(name)
    assert (found.base, found.file, found.image_size) == parts
    assert str(found) == name
    assert found.short == short
    assert found.without_file == without_file
