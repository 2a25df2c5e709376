from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from autotl.data.pictures import to_pixels
from autotl.errors import InputError
from autotl.export import files
from autotl.export.files import METADATA, export_model
from autotl.export.parity import Picture, real_pictures
from autotl.reuse.pixels import PixelView
from autotl.strategies.fitted import FittedModel

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")),
    reason="the extra autotl[onnx] isn't installed",
)
KINDS = ("whole", "several layers", "an early layer")
METADATA_VALUES = {"class_names": json.dumps(["blé", 'a "b"', "c", "d"], ensure_ascii=False)}


def expected_of(model: FittedModel, pictures: list[Picture]) -> NDArray[np.float32]:
    size = model.backbone.image_size
    pixels = np.stack([to_pixels(Image.fromarray(picture), size) for picture in pictures])
    samples = np.arange(len(pixels))
    return model.predict_proba(PixelView(pixels, samples), samples, device=torch.device("cpu"))


def written(model: FittedModel, path: Path, format: str) -> files.ExportedModel:
    pictures = real_pictures()
    return export_model(
        model,
        path,
        format=format,
        metadata=METADATA_VALUES,
        pictures=pictures,
        expected=expected_of(model, pictures),
    )


@needs_onnx
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_alone_says_the_same(
    kind: str,
    make_model: Callable[[str], FittedModel],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make_model(kind)
    done = written(model, tmp_path / "a b.onnx", "onnx")
    assert capsys.readouterr().out == ""
    assert done.largest_difference < 1e-4
    assert done.n_bytes == (tmp_path / "a b.onnx").stat().st_size > 1000
    assert [file.name for file in tmp_path.iterdir()] == ["a b.onnx"]
    pictures = [np.roll(picture, 3, axis=0) for picture in real_pictures()[:8]]
    np.savez(tmp_path / "pictures.npz", *pictures)
    code = f"""
import json, sys
sys.modules["torch"] = sys.modules["autotl"] = sys.modules["PIL"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({str(done.path)!r})
assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
    ("pictures", "tensor(uint8)", ["n", "height", "width", 3])], session.get_inputs()
assert [(o.name, o.shape) for o in session.get_outputs()] == [("probabilities", ["n", 4])]
with np.load({str(tmp_path / "pictures.npz")!r}) as held:
    rows = [session.run(None, {{"pictures": held[name][None]}})[0][0].tolist() for name in held]
names = session.get_modelmeta().custom_metadata_map["class_names"]
print(json.dumps([json.loads(names), rows]))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    names, rows = json.loads(ran.stdout)
    assert names == ["blé", 'a "b"', "c", "d"]
    np.testing.assert_allclose(rows, expected_of(model, pictures), atol=1e-4)


def test_a_torch_program_says_the_same(
    make_model: Callable[[str], FittedModel], tmp_path: Path
) -> None:
    model = make_model("several layers")
    before = [parameter.requires_grad for parameter in model.network.parameters()]
    done = written(model, tmp_path / "model.pt2", "torch")
    assert [parameter.requires_grad for parameter in model.network.parameters()] == before
    kept: dict[str, object] = {METADATA: ""}
    module = torch.export.load(done.path, extra_files=kept).module()
    assert json.loads(str(kept[METADATA])) == METADATA_VALUES
    picture = real_pictures()[0]
    batch = np.stack([picture, picture[::-1]])
    found = module(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(found, expected_of(model, list(batch)), atol=1e-5)


def test_a_model_that_would_predict_otherwise_is_not_written(
    make_model: Callable[[str], FittedModel], tmp_path: Path
) -> None:
    model, pictures = make_model("whole"), real_pictures()[:5]
    wrong = expected_of(model, pictures)[:, ::-1].copy()
    file = tmp_path / "model.pt2"
    file.write_text("an earlier one")
    with pytest.raises(InputError, match="the exported torch model differs"):
        export_model(model, file, format="torch", metadata={}, pictures=pictures, expected=wrong)
    assert file.read_text() == "an earlier one"
    assert [found.name for found in tmp_path.iterdir()] == ["model.pt2"]


def test_what_is_absent_is_named_once(
    make_model: Callable[[str], FittedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None if "script" in name else object())
    with pytest.raises(InputError, match=r"missing: onnxscript.*pip install 'autotl\[onnx\]'"):
        written(make_model("whole"), tmp_path / "model.onnx", "onnx")


def test_wrong_places_and_formats(make_model: Callable[[str], FittedModel], tmp_path: Path) -> None:
    model = make_model("whole")
    with pytest.raises(InputError, match="unknown format 'onx'; did you mean 'onnx'"):
        written(model, tmp_path / "m", "onx")
    with pytest.raises(InputError, match="no such folder"):
        written(model, tmp_path / "absent" / "m.pt2", "torch")
    with pytest.raises(InputError, match="is a folder"):
        written(model, tmp_path, "torch")


def test_a_network_that_can_t_be_traced(
    make_model: Callable[[str], FittedModel], tmp_path: Path
) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = x.mean(dim=(2, 3)) if float(x.sum()) > 0 else x.amax(dim=(2, 3))
            return torch.cat([found, found[:, :1]], dim=1)

    model = make_model("whole")
    object.__setattr__(model, "network", Branching())
    with pytest.raises(InputError, match="torch can't trace backbone"):
        written(model, tmp_path / "m.pt2", "torch")
