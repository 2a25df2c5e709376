from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotl.config import FitConfig, make_config
from autotl.errors import DiskFullError, InputError
from autotl.workspace import STUDY, Workspace


def config(output_dir: Path, **values: Any) -> FitConfig:
    made: FitConfig = make_config({"output_dir": output_dir, **values})
    return made


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_everything_lies_below_the_output_folder(tmp_path: Path) -> None:
    with Workspace.open(config(tmp_path / "out", study_name="one")) as place:
        places = [place.trials, place.model, place.report, place.decision]
        assert all(path.is_relative_to(tmp_path / "out" / "one") for path in places)
        assert place.cache == tmp_path / "out" / "cache"
        assert place.storage == f"sqlite:///{tmp_path / 'out' / 'optuna.db'}"
        assert place.tracking_uri == f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}"
        assert place.artifact_root == tmp_path / "out" / "mlartifacts"
        place.report.write_text("")


def test_a_store_elsewhere_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workspace.open(config(tmp_path, tracking_uri="http://mine")) as place:
        assert place.tracking_uri == "http://mine"
        assert place.artifact_root is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs")
    with Workspace.open(config(tmp_path)) as place:
        assert place.tracking_uri == "http://theirs"
    with Workspace.open(config(tmp_path, tracking_uri="http://mine")) as place:
        assert place.tracking_uri == "http://mine"


def test_a_fit_that_finds_nothing_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with Workspace.open(config(tmp_path / "a" / "b" / "out")):
            raise InputError("no such data")

    with pytest.raises(InputError, match="no such data"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_but_not_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "a" / "out").mkdir(parents=True)
    with Workspace.open(config(tmp_path / "a" / "out")):
        pass
    assert (tmp_path / "a" / "out").is_dir()
    (tmp_path / "a" / "out" / "mine.txt").write_text("")
    with Workspace.open(config(tmp_path / "a" / "out")):
        pass
    assert [p.name for p in (tmp_path / "a" / "out").iterdir()] == ["mine.txt"]


def test_the_cache_is_shared_and_stays(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with Workspace.open(config(tmp_path / "out", study_name=name)) as place:
            place.cache.mkdir(exist_ok=True)
            (place.cache / f"{name}.rows").write_bytes(b"x")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["cache"]
    assert sorted(p.name for p in place.cache.iterdir()) == ["one.rows", "two.rows"]


def test_two_fits_at_the_same_time_get_different_names(tmp_path: Path) -> None:
    with Workspace.open(config(tmp_path)) as first, Workspace.open(config(tmp_path)) as second:
        assert first.folder != second.folder


def test_a_study_goes_on_in_its_folder(tmp_path: Path) -> None:
    with Workspace.open(config(tmp_path, study_name="one")) as place:
        assert not place.is_resumed
        (place.folder / STUDY).write_text("{}")
        place.report.write_text("found")
    with Workspace.open(config(tmp_path, study_name="one")) as place:
        assert place.is_resumed
    assert place.report.read_text() == "found"


@pytest.mark.parametrize("left", [[], ["profile.json"], ["split.npz.part.npz", "analysis.html"]])
def test_what_a_preparation_left_that_was_killed_is_taken_over(
    left: list[str], tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    for name in left:
        (tmp_path / "one" / name).write_text("")
    with Workspace.open(config(tmp_path, study_name="one")) as place:
        assert not place.is_resumed
        (place.folder / STUDY).write_text("{}")


@pytest.mark.parametrize("foreign", ["mine.txt", "report.html", "trials"])
def test_a_folder_without_a_study_is_left_as_it_is(foreign: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / foreign).write_text("mine")
    with pytest.raises(InputError, match=r"one' exists and holds no study.*choose another"):
        Workspace.open(config(tmp_path, study_name="one")).__enter__()
    assert [path.name for path in (tmp_path / "one").iterdir()] == [foreign]


def test_a_file_of_that_name_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("mine")
    with pytest.raises(InputError, match="exists and holds no study"):
        Workspace.open(config(tmp_path, study_name="one")).__enter__()


def test_one_process_at_a_time_works_on_a_study(tmp_path: Path) -> None:
    with Workspace.open(config(tmp_path, study_name="one")) as place:
        (place.folder / STUDY).write_text("{}")
        code = (
            "import sys; from pathlib import Path; from autotl.workspace import Workspace\n"
            "from autotl.config import make_config\n"
            "config = make_config({'output_dir': Path(sys.argv[1]), 'study_name': 'one'})\n"
            "with Workspace.open(config) as place: print(place.is_resumed)"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert second.returncode != 0
        assert "InputError: study 'one'" in second.stderr
        assert "being worked on by another process" in second.stderr
    later = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert later.stdout == "True\n", later.stderr


@pytest.mark.parametrize("name", ["größe 1", "a+b", "v1.0-rc_2", "日本"])
def test_names_of_letters_in_any_script_are_fine(name: str, tmp_path: Path) -> None:
    with Workspace.open(config(tmp_path, study_name=name)) as place:
        assert place.folder.is_dir()
        assert place.folder.parent == tmp_path


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "a/b", "/etc", "a\\b", "a\nb", "-x", "a:b", "a?b"]
)
def test_names_that_are_no_folder_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="study_name must be") as error:
        Workspace.open(config(tmp_path, study_name=name)).__enter__()
    assert repr(name) in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db", "mlartifacts", "cache"])
def test_names_of_autotl_s_own_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must not be"):
        Workspace.open(config(tmp_path, study_name=name)).__enter__()


@pytest.mark.parametrize("folder", ["what?", "100%41"])
def test_a_folder_that_a_url_can_t_hold_is_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without '\\?' and '%'"):
        Workspace.open(config(tmp_path / folder)).__enter__()


def test_an_output_folder_that_can_t_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"output_dir .*file"):
            Workspace.open(config(folder)).__enter__()
    with pytest.raises(InputError, match=r"can't be written.*name too long"):
        Workspace.open(config(tmp_path, study_name="x" * 300)).__enter__()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can't be written"):
        Workspace.open(config(tmp_path / "out")).__enter__()
    tmp_path.chmod(0o700)


def fail(tmp_path: Path, error: OSError) -> None:
    with Workspace.open(config(tmp_path, study_name="one")) as place:
        place.report.write_text("kept")
        raise error


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"full.*is kept.*same command.*study_name='one'"):
        fail(tmp_path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert (tmp_path / "one" / "report.html").read_text() == "kept"


def test_other_errors_surface_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="no"):
        fail(tmp_path, PermissionError(errno.EACCES, "no"))


def test_room_for_the_end_is_reserved_and_given_back(tmp_path: Path) -> None:
    def held(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.name != ".lock")

    with Workspace.open(config(tmp_path, study_name="one")) as place:
        assert held(place.folder) > 2**20
        place.make_room()
        assert held(place.folder) == 0
        place.report.write_text("")
    with Workspace.open(config(tmp_path, study_name="two")) as place:
        place.report.write_text("")
    assert held(tmp_path / "two") == 0
