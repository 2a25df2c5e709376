"""The folder that MLflow serves: it predicts as the model does, and runs nobody's pickle."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

import autotl
from autotl.analysis.profile import DatasetProfile
from autotl.errors import InputError
from autotl.recommend.model import Recommendation
from autotl.strategies.base import SilentReporter, Task
from autotl.strategies.bottleneck import Bottleneck, BottleneckConfig
from autotl.tracking.serving import save_served

NAMES = ("blé", "hay bale", "straw")
START_S = 120.0


@pytest.fixture(scope="module")
def given() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, 40, 3), dtype=np.uint8) for size in (24, 32, 57)]


@pytest.fixture
def saved(
    make_task: Callable[..., Task], make_profile: Callable[..., DatasetProfile], tmp_path: Path
) -> Path:
    task = make_task()
    backbone = next(iter(task.backbones))
    config = BottleneckConfig(backbone=backbone, layers="all", head="svm", C=0.01, balanced=False)
    recommendation = Recommendation(
        strategy="bottleneck",
        config=config.model_dump(),
        class_names=NAMES,
        model=Bottleneck().fit(config, task, task.all_samples, None, SilentReporter()),
        profile=make_profile(backbone),
        metric="accuracy",
        text="",
        table=pd.DataFrame({"trial": [0], "score": [0.9]}),
        figures={},
        device="cpu",
    )
    return recommendation.save(tmp_path / "model")


@pytest.fixture
def served(saved: Path, tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return save_served(saved, tmp_path / "served")


def png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def text(picture: NDArray[np.uint8]) -> str:
    return base64.b64encode(png(picture)).decode()


FORMS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "bytes": png,
    "base64": text,
    "array": lambda picture: picture,
    "lists": lambda picture: picture.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_is_labelled_as_predict_does(
    form: str, saved: Path, served: Path, given: list[NDArray[np.uint8]]
) -> None:
    model = autotl.load(saved, device="cpu")
    loaded = mlflow.pyfunc.load_model(str(served))
    found = loaded.predict(pd.DataFrame({"image": [FORMS[form](p) for p in given]}))
    assert found["label"].tolist() == model.predict(given).tolist()
    expected = model.predict_proba(given)
    np.testing.assert_allclose(np.stack(found["probabilities"]), expected, atol=1e-6)
    np.testing.assert_allclose(found["probability"], expected.max(axis=1), atol=1e-6)


def test_paths_are_read_only_where_that_is_allowed(
    saved: Path,
    served: Path,
    given: list[NDArray[np.uint8]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(given[0]))
    loaded = mlflow.pyfunc.load_model(str(served))
    frame = pd.DataFrame({"image": [str(file)]})
    with pytest.raises(InputError, match=r"row 0.*AUTOTL_ALLOW_PATHS=1"):
        loaded.predict(frame)
    monkeypatch.setenv("AUTOTL_ALLOW_PATHS", "1")
    found = loaded.predict(frame)
    assert found["label"].tolist() == autotl.load(saved).predict([file]).tolist()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("%%%", "row 1: neither base64"),
        (base64.b64encode(b"no picture").decode(), "row 1: 10 bytes that are no picture"),
        (b"", "row 1: 0 bytes"),
        ([[0.5, 1.0]], "row 1: pixels must be .* integers, got float64"),
        ([[300, 1]], "row 1: pixels must be in 0 to 255"),
    ],
)
def test_bad_input_is_refused_by_its_row(
    bad: Any, message: str, served: Path, given: list[NDArray[np.uint8]]
) -> None:
    loaded = mlflow.pyfunc.load_model(str(served))
    with pytest.raises(InputError, match=message):
        loaded.predict(pd.DataFrame({"image": [png(given[0]), bad]}))


def test_no_pickle_is_written_and_an_earlier_folder_is_replaced(saved: Path, served: Path) -> None:
    before = sorted(file.name for file in served.rglob("*") if file.is_file())
    assert not [name for name in before if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]
    assert "cloudpickle" not in (served / "requirements.txt").read_text()
    (served / "stale").touch()
    save_served(saved, served)
    assert sorted(file.name for file in served.rglob("*") if file.is_file()) == before
    assert not served.with_name("served.part").exists()


@pytest.mark.slow
def test_a_server_answers_a_request_as_predict_does(
    saved: Path, served: Path, given: list[NDArray[np.uint8]]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(served)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--env-manager", "local"],
        env={**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        ends = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=5)
                break
            except (OSError, urllib.error.URLError):
                assert server.poll() is None
                assert time.monotonic() < ends
                time.sleep(0.5)
        values = [[text(picture)] for picture in given]
        request = urllib.request.Request(
            f"{url}/invocations",
            json.dumps({"dataframe_split": {"columns": ["image"], "data": values}}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            found = json.loads(reply.read())["predictions"]
    finally:
        os.killpg(server.pid, 9)
        server.wait()
    model = autotl.load(saved, device="cpu")
    assert [row["label"] for row in found] == model.predict(given).tolist()
    np.testing.assert_allclose(
        [row["probabilities"] for row in found], model.predict_proba(given), atol=1e-6
    )


def test_of_a_model_that_cannot_be_written_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("autotl.tracking.serving._write", full)
    with pytest.raises(OSError, match="No space left"):
        save_served(tmp_path / "model", tmp_path / "served")
    assert list(tmp_path.iterdir()) == []
