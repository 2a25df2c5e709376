"""Backbone names are parted so that a file and a size can't be taken for each other."""

from __future__ import annotations

import pytest

from autotl.naming import BackboneName, is_url, without_secrets


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


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://bucket/pictures", True),
        ("memory://x", True),
        ("zip://a::s3://bucket/x.zip", True),
        ("simplecache::s3://bucket/x", True),
        ("pictures/", False),
        ("C://pictures", False),
        ("a::b/c", False),
        ("s3:/bucket", False),
        (None, False),
        (("X", "y"), False),
    ],
)
def test_places_that_are_urls(place: object, expected: bool) -> None:
    assert is_url(place) is expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a?b/c@d:e", "s3://bucket/a?b/c@d:e"),
        ("https://me:hush@host:80/t.csv?sig=hush", "https://host:80/t.csv"),
        ("https://hush@host/t.csv", "https://host/t.csv"),
        ("https://host?mail=a@b", "https://host"),
        ("sftp://me:hu@sh@host/a", "sftp://me@host/a"),
        ("abfs://box@account.dfs/a", "abfs://box@account.dfs/a"),
        ("zip://a::https://me:hush@host/x.zip?k=hush", "zip://a::https://host/x.zip"),
        ("no 'https://u:hush@h/x?k=hush', sorry", "no 'https://h/x', sorry"),
        ("http://me:secret@host:5000/a@b", "http://host:5000/a@b"),
        ("http://me:my ?secret@host:5000", "http://host:5000"),
        ("postgresql+psycopg://u:p%40@db/x", "postgresql+psycopg://u@db/x"),
        ("postgresql://me:my secret@db:5432/x", "postgresql://me@db:5432/x"),
        ("postgresql://db/x?password=hush", "postgresql://db/x"),
        ("no 'postgresql://db/x?Password=h@u:sh', sorry", "no 'postgresql://db/x', sorry"),
        ("mysql://db/x?user=me&passwd=hush&ssl=1", "mysql://db/x?user=me&ssl=1"),
        ("postgresql://db/x?pwd=a&sslpassword=b&user=me", "postgresql://db/x?user=me"),
        ("postgresql://db/x?user=me&password=hush", "postgresql://db/x?user=me"),
        ("postgresql://db/x?password=a&user=me&password=b", "postgresql://db/x?user=me"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("http://host", "http://host"),
        ("gs://bucket: me@mail.org may not", "gs://bucket: me@mail.org may not"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
