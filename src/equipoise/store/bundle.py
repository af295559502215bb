"""A bundle: a folder with all that serving a plan takes, and all that shows it is still what was certified."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from equipoise.core.certificate import Certificate
from equipoise.core.environment import Environment
from equipoise.core.noun import Noun
from equipoise.core.plan import Plan
from equipoise.core.preprocessing import PlacedPreprocessing
from equipoise.core.splits import Splits
from equipoise.errors import BundleError
from equipoise.onnx_tensors import external_place, external_tensors
from equipoise.store.artifacts import artifact_digest
from equipoise.store.manifest import MANIFEST, Manifest, changed_files, write_manifest
from equipoise.store.preprocessing import read_preprocessing, write_preprocessing

Array = NDArray[Any]
AnyNoun = TypeVar("AnyNoun", bound=Noun)

GOLDEN, SERVICE = "golden.npz", "service.npz"
ARTIFACTS = "artifacts"
# Files that a format may consist of. Whatever else lies in an artifact's folder is refused: a pickle, above all.
FORMAT_FILES: dict[str, frozenset[str]] = {
    "onnx": frozenset({"model.onnx"}),
    "openvino": frozenset({"model.xml", "model.bin"}),
    "tflite": frozenset({"model.tflite"}),
    "sklearn": frozenset({"model.skops", "spec.json"}),
    "torch": frozenset({"model.pt2", "spec.json"}),
}
EXECUTABLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".py", ".so"})


class DataFingerprint(Noun):
    """What is known of the data without holding any of it.

    Attributes:
        splits: Sizes, duplicates, and the digest of the certify rows.
        columns: Columns of the data file that the model's single input was made from, in order; empty where inputs
            were found by name.
    """

    splits: Splits
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and found intact.

    Attributes:
        folder: Where it lies.
        manifest: Its files.
        plan: What is served.
        certificate: What was proved; null with the metric `none`.
        environment: Where speed was measured.
        data: Fingerprint of the data it was certified on.
        labels: Class names, in the order of the output's columns; null where classes are numbered.
        golden_inputs: A few inputs, name to [n, ...]; text as `object` arrays, None where missing.
        golden_outputs: The plan's answers to them when the bundle was written, name to [n, ...].
        service: For each of `plan.all_stages`, rows of a batch to the seconds that such batches took when it was
            measured, float64[samples]: what a simulation draws from. Empty where nothing was measured.
        preprocessing: How raw images or texts become its inputs; null where rows are tensors or columns already.
    """

    folder: Path
    manifest: Manifest
    plan: Plan
    certificate: Certificate | None
    environment: Environment
    data: DataFingerprint
    labels: tuple[str, ...] | None
    golden_inputs: dict[str, Array]
    golden_outputs: dict[str, Array]
    service: tuple[dict[int, Array], ...] = ()
    preprocessing: PlacedPreprocessing | None = None

    @property
    def artifacts(self) -> dict[str, Path]:
        """Folder of each artifact of the plan, by digest."""
        return {model.artifact: self.folder / ARTIFACTS / model.artifact for model in self.plan.models}


def write_bundle(
    folder: Path,
    plan: Plan,
    certificate: Certificate | None,
    environment: Environment,
    data: Splits,
    labels: tuple[str, ...] | None,
    golden_inputs: Mapping[str, Array],
    golden_outputs: Mapping[str, Array],
    artifacts: Mapping[str, Path],
    card: str,
    columns: tuple[str, ...] = (),
    service: Sequence[Mapping[int, Array]] = (),
    preprocessing: PlacedPreprocessing | None = None,
) -> None:
    """Write a plan with everything that serving it takes; nothing half-written ever stands at `folder`.

    Args:
        folder: Where the bundle will be; a bundle that is there already is replaced, anything else is refused.
        plan: What is served.
        certificate: What was proved of it; null with the metric `none`.
        environment: Where its speed was measured.
        data: Fingerprint of the data. No row of it is written.
        labels: Class names, in the order of the output's columns.
        golden_inputs: A few inputs, name to [n, ...].
        golden_outputs: What the opened plan answers to them in its own batches (`execute.plan.OpenPlan.answer`).
        artifacts: Digest to folder, for each artifact of the plan.
        card: Text of `README.md`.
        columns: Columns of the data file that the model's single input was made from, in order.
        service: For each of `plan.all_stages`, rows of a batch to measured seconds.
        preprocessing: How raw images or texts become its inputs.

    Raises:
        BundleError: `folder` holds something else, an artifact holds a file that its format does not have, or a file of
            the preprocessing is not what it was.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(str(folder), "something lies here that is not a bundle", "give a folder that is not there")
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        making.chmod(0o755)
        for digest, kind in _formats(plan).items():
            _copy_artifact(artifacts[digest], making / ARTIFACTS / digest, kind)
        _write_json(making / "plan.json", json.loads(plan.model_dump_json()))
        _write_json(making / "certificate.json", certificate and json.loads(certificate.model_dump_json()))
        _write_json(making / "environment.json", json.loads(environment.model_dump_json()))
        fingerprint = DataFingerprint(splits=data, columns=columns)
        _write_json(making / "data.json", json.loads(fingerprint.model_dump_json()))
        _write_json(making / "labels.json", labels)
        (making / "README.md").write_text(card, encoding="utf-8")
        _write_golden(making / GOLDEN, golden_inputs, golden_outputs)
        _write_service(making / SERVICE, service)
        write_preprocessing(making, preprocessing)
        write_manifest(making, f"equipoise {version('equipoise')}")
        _put_in_place(making, folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every byte of it against its manifest.

    Args:
        folder: Where it lies.

    Raises:
        BundleError: It is not a bundle; or a file is missing, added or changed, is a link, or cannot be read.
    """
    require_bundle(folder)
    manifest, changes = changed_files(folder)
    if manifest is None or changes:
        raise BundleError(
            str(folder),
            f"{len(changes)} of its files are not as they were written: {'; '.join(changes[:5])}",
            "use a copy that is intact, or make the bundle again with `equipoise optimize`",
        )
    plan = _read_noun(folder / "plan.json", Plan)
    _check_artifacts(folder, plan)
    certificate = _read_json(folder / "certificate.json")
    inputs, outputs = _read_golden(folder / GOLDEN)
    return Bundle(
        folder=folder,
        manifest=manifest,
        plan=plan,
        certificate=None if certificate is None else _read_noun(folder / "certificate.json", Certificate),
        environment=_read_noun(folder / "environment.json", Environment),
        data=_read_noun(folder / "data.json", DataFingerprint),
        labels=_read_labels(folder / "labels.json"),
        golden_inputs=inputs,
        golden_outputs=outputs,
        service=_read_service(folder / SERVICE, len(plan.all_stages)),
        preprocessing=read_preprocessing(folder),
    )


def require_bundle(folder: Path) -> None:
    """Refuse what is not a bundle at all.

    Raises:
        BundleError: `folder` is not a folder, or has no `manifest.json`.
    """
    made = "give the `bundle` folder that `equipoise optimize` wrote"
    if not folder.is_dir():
        raise BundleError(str(folder), "a file" if folder.exists() else "nothing is there", made)
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).is_symlink():
        raise BundleError(str(folder), f"a folder without {MANIFEST}", made)


def _put_in_place(made: Path, folder: Path) -> None:
    if not folder.exists():
        made.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(old / "bundle")
    made.rename(folder)
    shutil.rmtree(old)


def _copy_artifact(source: Path, target: Path, kind: str) -> None:
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if not path.is_dir()}
    _refuse_strange_files(source, names, kind)
    target.mkdir(parents=True)
    for name in sorted(names):
        shutil.copyfile(source / name, target / name, follow_symlinks=True)


def _refuse_strange_files(folder: Path, names: set[str], kind: str) -> None:
    allowed = FORMAT_FILES.get(kind)
    if allowed is None:
        raise BundleError(str(folder), f"an artifact of the format {kind!r}", f"known are {', '.join(FORMAT_FILES)}")
    if kind == "onnx" and names - allowed:
        allowed |= _external_files(folder / "model.onnx")
    strange = [name for name in names if name not in allowed or Path(name).suffix in EXECUTABLE_SUFFIXES]
    if strange:
        raise BundleError(
            str(folder),
            f"{', '.join(sorted(strange))}, which a bundle never holds",
            f"an artifact of the format {kind} consists of {', '.join(sorted(FORMAT_FILES[kind]))}",
        )


def _external_files(model: Path) -> frozenset[str]:
    """Names of the files beside an ONNX file that hold its tensors."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(model, load_external_data=False)
        return frozenset(external_place(tensor).location for tensor in external_tensors(proto))
    except (DecodeError, OSError, ValueError) as error:
        raise BundleError(str(model), f"not readable as ONNX ({error})", "an artifact that opens") from error


def _check_artifacts(folder: Path, plan: Plan) -> None:
    for digest, kind in _formats(plan).items():
        place = folder / ARTIFACTS / digest
        if "/" in digest or not place.is_dir():
            raise BundleError(str(folder), f"no artifact {digest[:12]}", "the plan needs it; make it again")
        names = {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()}
        _refuse_strange_files(place, names, kind)
        if artifact_digest(place) != digest:
            raise BundleError(str(place), "its files have another digest than its name says", "make the bundle again")


def _formats(plan: Plan) -> dict[str, str]:
    """Format of each artifact, by digest."""
    return {model.artifact: model.format for model in plan.models}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(str(path), f"it cannot be read ({error})", "a bundle has this file as JSON") from error


def _read_noun(path: Path, kind: type[AnyNoun]) -> AnyNoun:
    try:
        return kind.model_validate(_read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BundleError(
            str(path),
            f"{where}: {first['msg']}",
            f"this version of Equipoise ({version('equipoise')}) reads bundles of its own layout",
        ) from error


def _read_labels(path: Path) -> tuple[str, ...] | None:
    labels = _read_json(path)
    if labels is None:
        return None
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise BundleError(str(path), "something else than a list of names", "a list of class names, or null")
    return tuple(labels)


def _write_golden(path: Path, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    stored: dict[str, Array] = {}
    for kind, arrays in (("input", inputs), ("output", outputs)):
        for name, array in arrays.items():
            if array.dtype == object:
                missing = np.array([value is None for value in array.flat], dtype=bool).reshape(array.shape)
                stored[f"missing/{kind}/{name}"] = missing
                stored[f"{kind}/{name}"] = np.where(missing, "", array).astype(str)
            else:
                stored[f"{kind}/{name}"] = array
    np.savez(path, allow_pickle=False, **stored)


def _read_golden(path: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    found: dict[str, dict[str, Array]] = {"input": {}, "output": {}}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                kind, _, name = key.partition("/")
                if kind not in found:
                    continue
                array = file[key]
                missing = f"missing/{key}"
                if missing in file.files:
                    array = np.where(file[missing], None, array.astype(object))
                found[kind][name] = array
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(str(path), f"it cannot be read ({error})", "golden answers as NumPy arrays") from error
    if not found["input"] or not found["output"]:
        raise BundleError(str(path), "no golden inputs or outputs", "both are in a bundle; make it again")
    return found["input"], found["output"]


def _write_service(path: Path, service: Sequence[Mapping[int, Array]]) -> None:
    arrays = {
        f"stage{number}/{rows}": np.asarray(seconds, dtype=np.float64)
        for number, by_rows in enumerate(service)
        for rows, seconds in by_rows.items()
    }
    if arrays:
        np.savez(path, allow_pickle=False, **arrays)


def _read_service(path: Path, stages: int) -> tuple[dict[int, Array], ...]:
    if not path.is_file():
        return ()
    service: tuple[dict[int, Array], ...] = tuple({} for _ in range(stages))
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                stage, _, rows = key.removeprefix("stage").partition("/")
                service[int(stage)][int(rows)] = file[key]
    except (OSError, ValueError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(str(path), f"it cannot be read ({error})", "measured seconds as NumPy arrays") from error
    return service
