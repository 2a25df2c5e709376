"""CSV, TSV, Parquet and DataFrames: columns found, cells checked, paths kept inside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autotl.data import Part, read_dataset
from autotl.errors import InputError


@pytest.fixture
def rows(tmp_path: Path, draw) -> pd.DataFrame:
    """Twelve pictures in ``tmp_path/pics`` and their rows."""
    for i in range(12):
        draw(f"pics/{i}.png", seed=i)
    return pd.DataFrame(
        {"file": [f"pics/{i}.png" for i in range(12)], "label": ["cat", "dog", "emu"] * 4}
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet", "ünï cödé.CSV"])
def test_files(rows: pd.DataFrame, tmp_path: Path, name: str) -> None:
    table = read_dataset(write(rows, tmp_path / name))
    assert table.class_names == ("cat", "dog", "emu")
    assert table.labels.tolist() == [0, 1, 2] * 4
    assert table.name(3) == "pics/3.png"
    assert table.read(3).size == (9, 7)


def test_all_kinds_have_one_fingerprint(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [rows, *(write(rows, tmp_path / f"a.{end}") for end in ("csv", "tsv", "parquet"))]
    assert len({read_dataset(one).fingerprint for one in given}) == 1


def test_frame_with_absolute_paths_and_path_objects(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows["file"] = [tmp_path / name for name in rows["file"]]
    rows.index = range(100, 112)
    assert read_dataset(rows).read(11).size == (9, 7)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(rows: pd.DataFrame, tmp_path: Path, separator: str) -> None:
    rows.to_csv(tmp_path / "a.csv", index=False, sep=separator)
    assert len(read_dataset(tmp_path / "a.csv")) == 12


def test_byte_order_mark(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows.to_csv(tmp_path / "a.csv", index=False, encoding="utf-8-sig")
    assert len(read_dataset(tmp_path / "a.csv")) == 12


def test_named_columns(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows.columns = ["where", "what"]
    rows["who"] = [0.0, 1.0, np.nan, np.nan] * 3
    table = read_dataset(write(rows, tmp_path / "a.csv"), image="where", label="what", group="who")
    assert len(np.unique(table.groups)) == 8
    assert table.groups[0] == table.groups[4] == table.groups[8]


def test_empty_group_column_is_no_groups(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows["who"] = np.nan
    assert read_dataset(write(rows, tmp_path / "a.csv"), group="who").groups is None


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, 2, 10], ("1", "2", "10")),
        ([1.0, 2.0, 10.0], ("1", "2", "10")),
        ([0.5, 1.0, 1.5], ("0.5", "1", "1.5")),
        ([True, False, True], ("False", "True")),
        (["NA", "None", "null"], ("NA", "None", "null")),
        (["01", "1", "2"], ("01", "1", "2")),
        (pd.Categorical(["b", "a", "c"]), ("a", "b", "c")),
    ],
)
@pytest.mark.parametrize("end", ["frame", "csv", "parquet"])
def test_label_types(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values, names, end: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows["label"] = list(values) * 4
    data = rows if end == "frame" else write(rows, tmp_path / f"a.{end}")
    if end == "csv" and names[0] == "0.5":
        names = ("0.5", "1.0", "1.5")  # text is taken as it stands
    assert read_dataset(data).class_names == names


def test_split_column(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows["split"] = ["train"] * 5 + ["Valid"] * 3 + ["TEST"] * 3 + ["spare"]
    table = read_dataset(write(rows, tmp_path / "a.csv"))
    expected = [Part.TRAIN] * 5 + [Part.VALIDATION] * 3 + [Part.TEST] * 3 + [Part.UNASSIGNED]
    assert table.parts.tolist() == expected


@pytest.mark.parametrize("column", ["orig_split", "Split", "part"])
def test_other_columns_are_no_split(rows: pd.DataFrame, tmp_path: Path, column: str) -> None:
    rows[column] = "test"
    assert read_dataset(write(rows, tmp_path / "a.csv")).parts is None


class TestColumns:
    def test_none_found(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        rows.columns = ["where", "what"]
        with pytest.raises(InputError, match="2 problems") as caught:
            read_dataset(write(rows, tmp_path / "a.csv"))
        assert "give image= one of its columns: 'where', 'what'" in str(caught.value)
        assert "give label=" in str(caught.value)

    def test_several_found(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        rows["class"] = 1
        with pytest.raises(InputError, match=r"several columns .*'label', 'class'"):
            read_dataset(write(rows, tmp_path / "a.csv"))

    def test_not_there(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no column 'breed' for label=.*'file', 'label'"):
            read_dataset(write(rows, tmp_path / "a.csv"), label="breed")
        with pytest.raises(InputError, match=r"no column 'who' for group="):
            read_dataset(write(rows, tmp_path / "a.csv"), group="who")

    def test_twice_there(self, rows: pd.DataFrame) -> None:
        rows.columns = ["label", "label"]
        with pytest.raises(InputError, match="2 columns 'label'"):
            read_dataset(rows, image="label", label="label")


class TestCells:
    @pytest.mark.parametrize("missing", [np.nan, None, "", "  "])
    def test_missing_labels(self, rows: pd.DataFrame, tmp_path: Path, missing: object) -> None:
        rows["label"] = rows["label"].astype(object)
        rows.loc[[1, 4], "label"] = missing
        with pytest.raises(
            InputError, match=r"no label in column 'label' .* 2 of 12 rows: row 3, 6"
        ):
            read_dataset(write(rows, tmp_path / "a.csv"))

    @pytest.mark.parametrize("missing", [np.nan, None, pd.NA, pd.NaT, float("nan")])
    def test_missing_labels_of_a_frame(self, rows: pd.DataFrame, missing: object) -> None:
        rows["label"] = rows["label"].astype(object)
        rows.loc[1, "label"] = missing
        with pytest.raises(InputError, match="no label"):
            read_dataset(rows)

    def test_empty_paths(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        rows.loc[0, "file"] = None
        with pytest.raises(InputError, match=r"no path in column 'file' .* row 2"):
            read_dataset(write(rows, tmp_path / "a.csv"))

    def test_pictures_instead_of_paths(self, rows: pd.DataFrame) -> None:
        rows["file"] = [b"\x89PNG"] * 12
        with pytest.raises(InputError, match=r"load_dataset"):
            read_dataset(rows)


class TestPaths:
    def test_few_missing_files_are_left_out(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        (tmp_path / "pics" / "3.png").unlink()
        table = read_dataset(write(rows, tmp_path / "a.csv"))
        assert len(table) == 11
        assert [(q.name, q.reason) for q in table.quarantine] == [("pics/3.png", "no such file")]
        assert table.labels.tolist() == [0, 1, 2, 1, 2, 0, 1, 2, 0, 1, 2]
        assert table.name(3) == "pics/4.png"

    def test_many_missing_files(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        for i in range(7):
            (tmp_path / "pics" / f"{i}.png").unlink()
        with pytest.raises(
            InputError,
            match=r"7 of 12 pictures .*7 x no such file .*pics/4.png, \.\.\. \(7 in all\)",
        ):
            read_dataset(write(rows, tmp_path / "a.csv"))

    @pytest.mark.parametrize("how", ["up", "hidden up", "absolute"])
    def test_paths_out_of_the_folder(self, rows: pd.DataFrame, tmp_path: Path, how: str) -> None:
        inside = tmp_path / "pics"
        start = {"up": "../pics/", "hidden up": "x/../../pics/", "absolute": f"{inside}/"}[how]
        rows["file"] = [f"{start}{i}.png" for i in range(12)]
        (tmp_path / "csv").mkdir()
        path = write(rows, tmp_path / "csv" / "a.csv")
        with pytest.raises(InputError, match=r"lead out .*row 2 .*trust_paths=True"):
            read_dataset(path)
        assert read_dataset(path, trust_paths=True).read(0).size == (9, 7)

    @pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
    @pytest.mark.parametrize("what", ["picture", "folder"])
    def test_links_out_of_the_folder(self, rows: pd.DataFrame, tmp_path: Path, what: str) -> None:
        (tmp_path / "set").mkdir()
        if what == "folder":
            (tmp_path / "set" / "pics").symlink_to(tmp_path / "pics", target_is_directory=True)
        else:
            shutil.copytree(tmp_path / "pics", tmp_path / "set" / "pics")
            (tmp_path / "set" / "pics" / "5.png").unlink()
            (tmp_path / "set" / "pics" / "5.png").symlink_to(tmp_path / "pics" / "5.png")
        path = write(rows, tmp_path / "set" / "a.csv")
        first = "row 7" if what == "picture" else "row 2"
        with pytest.raises(InputError, match=rf"links that lead out .*: {first} \(pics/.*trust_pa"):
            read_dataset(path)
        assert len(read_dataset(path, trust_paths=True)) == 12

    def test_a_link_within_the_folder(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        (tmp_path / "pics" / "0.png").unlink()
        (tmp_path / "pics" / "0.png").symlink_to(tmp_path / "pics" / "1.png")
        assert len(read_dataset(write(rows, tmp_path / "a.csv"))) == 12

    @pytest.mark.parametrize("trust", [False, True])
    @pytest.mark.parametrize("url", ["http://host/0.png", "s3://bucket/0.png", "FILE:///etc/x.png"])
    def test_urls(self, rows: pd.DataFrame, tmp_path: Path, url: str, trust: bool) -> None:
        rows.loc[3, "file"] = url
        with pytest.raises(InputError, match=rf"URLs .*row 5 \({url}\); nothing is fetched") as one:
            read_dataset(write(rows, tmp_path / "a.csv"), trust_paths=trust)
        assert "lead out" not in str(one.value)
        with pytest.raises(InputError, match="URLs"):
            read_dataset(rows)

    def test_a_path_that_is_none_is_missing(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        rows.loc[3, "file"] = "pics/\0.png"
        rows.loc[4, "file"] = "x" * 5000
        path = write(rows, tmp_path / "a.parquet")
        table = read_dataset(path, max_unreadable=0.2)
        assert [entry.reason for entry in table.quarantine] == ["no such file"] * 2

    @pytest.mark.parametrize(
        ("limit", "fine"), [(0.0, False), (0.24, False), (0.25, True), (1, True)]
    )
    def test_how_many_may_be_missing(
        self, rows: pd.DataFrame, tmp_path: Path, limit: float, fine: bool
    ) -> None:
        for i in range(3):
            (tmp_path / "pics" / f"{i}.png").unlink()
        path = write(rows, tmp_path / "a.csv")
        if fine:
            assert len(read_dataset(path, max_unreadable=limit)) == 9
        else:
            with pytest.raises(InputError, match=r"3 x no such file .*max_unreadable"):
                read_dataset(path, max_unreadable=limit)

    def test_absolute_paths_inside_the_folder(self, rows: pd.DataFrame, tmp_path: Path) -> None:
        rows["file"] = [str(tmp_path / name) for name in rows["file"]]
        assert read_dataset(write(rows, tmp_path / "a.csv")).name(0) == "pics/0.png"


class TestFiles:
    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"")
        with pytest.raises(InputError, match="empty"):
            read_dataset(tmp_path / "a.csv")

    def test_only_a_header(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("file,label\n")
        with pytest.raises(InputError, match="no rows"):
            read_dataset(tmp_path / "a.csv")

    def test_blank_lines(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("\n\n")
        with pytest.raises(InputError, match="can't be read as CSV"):
            read_dataset(tmp_path / "a.csv")

    @pytest.mark.parametrize("line", ["a.png,cat,x\n", "a.png,cat\nb.png,cat,x,y\n"])
    def test_too_many_fields(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "a.csv").write_text("file,label\n" + line)
        with pytest.raises(InputError, match="fields"):
            read_dataset(tmp_path / "a.csv")

    def test_not_parquet(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_text("file,label\n")
        with pytest.raises(InputError, match="can't be read as PARQUET"):
            read_dataset(tmp_path / "a.parquet")

    def test_whatever_a_reader_raises_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class OddError(Exception):
            """As Arrow's own, which is neither a ValueError nor an OSError."""

        def read(path: Path) -> object:
            raise OddError("Wrapping 0.p failed")

        (tmp_path / "a.parquet").write_bytes(b"PAR1")
        monkeypatch.setattr("pyarrow.parquet.ParquetFile", read)
        with pytest.raises(InputError, match="read as PARQUET: Wrapping"):
            read_dataset(tmp_path / "a.parquet")

    def test_text_in_parquet_that_is_not_utf8(self, tmp_path: Path) -> None:
        pd.DataFrame({"file": ["abcdefgh.png"] * 3, "label": ["cat", "dog", "emu"]}).to_parquet(
            tmp_path / "a.parquet", compression=None, write_statistics=False
        )
        content = (tmp_path / "a.parquet").read_bytes().replace(b"abcdefgh", b"abcd\xfffgh")
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"can't be read as PARQUET: .*UTF"):
            read_dataset(tmp_path / "a.parquet")

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes("file,label\na,caf\xe9\n".encode("latin-1"))
        with pytest.raises(InputError, match="UTF-8"):
            read_dataset(tmp_path / "a.csv")

    def test_another_kind(self, tmp_path: Path) -> None:
        (tmp_path / "a.cvs").write_text("x")
        with pytest.raises(InputError, match=r"did you mean '\.csv'|known: \.csv"):
            read_dataset(tmp_path / "a.cvs")
