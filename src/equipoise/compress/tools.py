"""What techniques share around the tools they call: files in, files out, and failures that read well."""

from __future__ import annotations

import io
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.core.profile import Precision, Settings
from equipoise.core.tensor import ModelSpec
from equipoise.errors import EquipoiseError, TechniqueError
from equipoise.onnx_tensors import nodes
from equipoise.preprocess.lengths import sequence_inputs, trimmed
from equipoise.preprocess.rows import Array, Rows
from equipoise.registry import runtimes
from equipoise.spared import spared
from equipoise.telemetry import silence

ONNX_FILE, IR_FILE, SKOPS_FILE, SPEC_FILE = "model.onnx", "model.xml", "model.skops", "spec.json"
TFLITE_FILE, TORCH_FILE = "model.tflite", "model.pt2"
ONE_FILE_BYTES = 1_900_000_000  # protobuf holds at most 2 GiB in one file
LONGEST_REASON = 400


@contextmanager
def tool(name: str) -> Iterator[None]:
    """Turn whatever a tool raises into a `TechniqueError` that names it: the border to code that is not ours.

    Its Python warnings are dropped: they speak to its developers, and what it made is checked on its own.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EquipoiseError:
        raise
    except MemoryError as error:
        advice = "fewer rows, or a machine with more of it, may do"
        raise TechniqueError(f"{name} ran out of memory ({_shortened(str(error)) or 'no figure'}): {advice}") from error
    except Exception as error:
        raise TechniqueError(f"{name} could not finish: {_shortened(f'{type(error).__name__}: {error}')}") from error


def versions(*distributions: str) -> dict[str, str]:
    """Versions of installed distributions, by name."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def load_onnx(source: Path) -> Any:
    """Load `model.onnx` of an artifact folder, weights and all.

    Raises:
        TechniqueError: There is none, or it cannot be read.
    """
    import onnx

    from equipoise.runtimes.external_data import external_data_files

    path = source / ONNX_FILE
    if not path.is_file():
        raise TechniqueError(f"works on ONNX models; {source.name} holds {_names(source)}")
    external_data_files(path)
    with tool("onnx"):
        return onnx.load(path)


def save_onnx(model: Any, folder: Path) -> None:
    """Save an ONNX model as `model.onnx`, its weights in one file beside it where they are too many for one file."""
    import onnx

    used = {node.domain for node in nodes(model)}
    kept = [opset for opset in model.opset_import if opset.domain in used or opset.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    large = model.ByteSize() > ONE_FILE_BYTES
    onnx.save(model, folder / ONNX_FILE, save_as_external_data=large, location="model.weights" if large else None)


def read_ir(source: Path) -> Any:
    """Read `model.onnx`, `model.xml` or `model.tflite` of an artifact folder as an OpenVINO model.

    Its inputs can be fed by the names that a `ModelSpec` has, which are those of their nodes.

    Raises:
        TechniqueError: OpenVINO cannot read it.
    """
    silence()
    import openvino

    path = next((source / name for name in (IR_FILE, TFLITE_FILE, ONNX_FILE) if (source / name).is_file()), None)
    if path is None:
        raise TechniqueError(
            f"works on ONNX models, OpenVINO IR and TensorFlow Lite; {source.name} holds {_names(source)}"
        )
    with tool("OpenVINO"):
        model = openvino.Core().read_model(path)
        for port in model.inputs:
            port.get_tensor().add_names({port.get_node().get_friendly_name()})
        return model


def save_ir(model: Any, folder: Path, *, half: bool) -> None:
    """Save an OpenVINO model as IR, each output under the one name that its source gave it.

    Args:
        model: The model.
        folder: Where to.
        half: Whether to store floating-point weights in 16 bits.
    """
    import openvino

    from equipoise.runtimes.openvino import output_name

    with tool("OpenVINO"):
        for port in model.outputs:
            port.get_tensor().set_names({output_name(port)})
        # OpenVINO numbers nodes without a name through the life of a process; the same model must be the same file.
        for position, node in enumerate(model.get_ordered_ops()):
            if re.fullmatch(rf"{node.get_type_name()}_\d+", node.get_friendly_name()):
                node.set_friendly_name(f"{node.get_type_name()}_unnamed_{position}")
        openvino.save_model(model, folder / IR_FILE, compress_to_fp16=half)


def quiet_nncf() -> Any:
    """Import NNCF, silent towards its makers, and towards the log below errors."""
    silence()
    with spared("torch"):
        import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


def save_sklearn(estimator: Any, spec: ModelSpec, folder: Path) -> None:
    """Save a fitted estimator."""
    with spared("torch"):
        import skops.io

    with tool("skops"):
        content = skops.io.dumps(estimator)
    (folder / SKOPS_FILE).write_bytes(_canonical(content))
    (folder / SPEC_FILE).write_text(spec.model_dump_json())


def _canonical(content: bytes) -> bytes:
    """The same skops file without what changes at each saving: memory addresses as ids, the time, padding."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        schema = old.read("schema.json").decode()
        members = [name for name in old.namelist() if name != "schema.json"]
        order: dict[str, str] = {}
        for found in re.finditer(r'"__id__": (\d+)|"file": "(\d+)\.', schema):
            order.setdefault(found[1] or found[2], str(len(order) + 1))
        schema = re.sub(r'("__id__": )(\d+)', lambda found: found[1] + order[found[2]], schema)
        schema = re.sub(r'("file": ")(\d+)\.', lambda found: f"{found[1]}{order[found[2]]}.", schema)
        renamed = {
            name: order.get(stem, stem) + dot + end for name in members for stem, dot, end in [name.partition(".")]
        }
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as new:
            new.writestr(zipfile.ZipInfo("schema.json"), schema)
            for name in sorted(members, key=renamed.__getitem__):
                new.writestr(zipfile.ZipInfo(renamed[name]), _without_padding(name, old.read(name)))
    return written.getvalue()


def _without_padding(name: str, content: bytes) -> bytes:
    """A saved array of records with zeros between its fields, where memory held anything."""
    if not name.endswith(".npy"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for field in array.dtype.names:
        clean[field] = array[field]
    written = io.BytesIO()
    np.save(written, clean)
    return written.getvalue()


def load_sklearn(source: Path) -> tuple[Any, ModelSpec]:
    """Load the fitted estimator of an artifact folder and its spec.

    Raises:
        TechniqueError: It holds no scikit-learn model.
    """
    from equipoise.runtimes.sklearn import load_estimator

    if not (source / SKOPS_FILE).is_file():
        raise TechniqueError(f"works on scikit-learn models; {source.name} holds {_names(source)}")
    return load_estimator(source), ModelSpec.model_validate_json((source / SPEC_FILE).read_bytes())


def load_torch(source: Path) -> tuple[Any, ModelSpec]:
    """Load the exported program of an artifact folder and its spec.

    Raises:
        TechniqueError: It holds no PyTorch program.
    """
    from equipoise.runtimes.torch_program import load_program

    if not (source / TORCH_FILE).is_file():
        raise TechniqueError(f"works on PyTorch programs; {source.name} holds {_names(source)}")
    return load_program(source)


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Keep torch's exporters from writing what speaks to their own developers."""
    torch_log = logging.getLogger("torch")
    level = torch_log.level
    torch_log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        torch_log.setLevel(level)


def open_natively(artifact: Path) -> Any:
    """Open an artifact in the runtime of its own format, one thread, one replica.

    Raises:
        ModelError: It cannot be opened.
    """
    natives: dict[str, tuple[str, Precision]] = {
        IR_FILE: ("openvino", "f32"), TFLITE_FILE: ("openvino", "f32"), SKOPS_FILE: ("sklearn", "f64"),
        TORCH_FILE: ("torch", "f32"), ONNX_FILE: ("onnxruntime", "f32"),
    }  # fmt: skip
    name, precision = next(native for file, native in natives.items() if (artifact / file).is_file())
    settings = Settings(runtime=name, precision=precision, threads=1, replicas=1, batch=1)
    return runtimes()[name].open(artifact, settings)


def calibration_batches(rows: Rows, spec: ModelSpec, most: int, *, batch: int = 1) -> list[dict[str, Array]]:
    """The first calibration rows in the types that the model takes, cut into batches, token sequences without filling.

    Args:
        rows: Calibration rows.
        spec: What the model takes; a fixed batch size of its own overrules `batch`.
        most: Most rows to use.
        batch: Rows a batch.

    Raises:
        TechniqueError: There are fewer rows than one batch.
    """
    size = spec.fixed_batch or batch
    count = min(rows.n, most) // size
    if count == 0:
        raise TechniqueError(f"needs at least {size} calibration rows, there are {rows.n}: give --calibration")
    feeds = {
        tensor.name: np.ascontiguousarray(
            rows.feeds[tensor.name][: count * size], object if tensor.dtype == "string" else tensor.dtype
        )
        for tensor in spec.inputs
    }
    batches = [{name: array[i * size : (i + 1) * size] for name, array in feeds.items()} for i in range(count)]
    sequences = sequence_inputs(spec)
    return [trimmed(each, sequences) for each in batches] if sequences else batches


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON // 2]} ... {text[-LONGEST_REASON // 2 :]}"
