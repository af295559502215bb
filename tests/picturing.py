"""Small pictures and a small model that looks at them: it says which of red, green and blue a picture has most of."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing
from equipoise.store.manifest import write_manifest
from equipoise.store.preprocessing import write_preprocessing

Array = NDArray[Any]
COLOURS = ("blue", "green", "red")
"""Classes of the model, in the order of its columns, which is that of a folder reader."""


def encoded(pixels: Array, kind: str = "PNG", **how: Any) -> bytes:
    """Pixels, [h, w] or [h, w, 3], as a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **how)
    return stream.getvalue()


def coloured(colour: str, seed: int, side: int = 8) -> Array:
    """A noisy picture, [side, side, 3], with more of a colour than of the others."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 120, (side, side, 3))
    pixels[:, :, ("red", "green", "blue").index(colour)] += 100
    return pixels.astype(np.uint8)


def picture_folder(root: Path, each: int, side: int = 8, kind: str = "PNG") -> Path:
    """A folder of pictures by class."""
    suffix = "jpg" if kind == "JPEG" else "png"
    for place, colour in enumerate(COLOURS):
        (root / colour).mkdir(parents=True)
        for number in range(each):
            file = root / colour / f"{number:03}.{suffix}"
            file.write_bytes(encoded(coloured(colour, 1000 * place + number, side), kind))
    return root


def picture_model(folder: Path, dtype: str = "uint8", layout: str = "NHWC", side: int | None = 8) -> Path:
    """An ONNX model, `image` to `logits`: mean blue, green and red."""
    folder.mkdir(parents=True, exist_ok=True)
    channels_first = layout == "NCHW"
    shape = ["n", 3, side, side] if channels_first else ["n", side, side, 3]
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    reverse = np.eye(3, dtype=np.float32)[::-1] / (16 if dtype == "uint8" else 1)
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[2, 3] if channels_first else [1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "reverse"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(reverse, "reverse")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder


def picture_bundle(place: Path, bundled: Any, settings: ImagePreprocessing, side: int = 8) -> Path:
    """A bundle of that model, which takes images; `bundled` is the fixture that makes bundles."""
    dtype, layout = settings.dtype or "uint8", settings.layout or "NHWC"
    model = picture_model(place.with_name(f"{place.name}-model"), dtype, layout, side)
    row = (3, side, side) if layout == "NCHW" else (side, side, 3)
    golden = np.random.default_rng(0).integers(0, 2, (3, *row)).astype(dtype)
    folder: Path = bundled(place, model, {"image": golden}, labels=COLOURS)
    write_preprocessing(folder, PlacedPreprocessing(settings=settings))
    write_manifest(folder, "a test")
    return folder
