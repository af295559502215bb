"""Reads ONNX models, trusting nothing that the file says about itself."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.errors import ModelError
from equipoise.ingest.model import ImportedModel
from equipoise.ingest.onnx_weights import check_weights
from equipoise.onnx_tensors import external_tensors, nodes
from equipoise.preprocess.answers import ClassLabel
from equipoise.preprocess.meaning import Task
from equipoise.runtimes.external_data import external_data_files
from equipoise.runtimes.matrices import onnx_matrix_weights

PROTOBUF_LIMIT_BYTES = 2**31 - 1
OLDEST_OPSET = 7
ONNX_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
STANDARD_DOMAINS = ONNX_DOMAINS | {"com.microsoft", "com.microsoft.nchwc"}
QUANTIZED_OPERATORS = frozenset(
    {
        "QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul", "MatMulNBits", "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
    }
)  # fmt: skip
CLASSIFIERS = ("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier")
CLASS_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
DTYPES: dict[str, DType] = {
    "FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "STRING": "string",
    "BOOL": "bool", "UINT8": "uint8", "INT8": "int8", "UINT16": "uint16", "INT16": "int16", "UINT32": "uint32",
    "INT32": "int32", "UINT64": "uint64", "INT64": "int64",
}  # fmt: skip


def import_onnx(path: Path, folder: Path) -> ImportedModel:
    """Read an ONNX model, check it, and copy it with its weight files into `folder`, as `model.onnx`.

    Args:
        path: The `.onnx` file; weight files lie in its folder.
        folder: An existing, empty folder for the artifact.

    Raises:
        ModelError: The file is damaged or hostile (truncated, weights that are not there, outside its folder, or of
            another size than declared), of a version or with operators that are not known, or takes or gives what is
            no tensor.
    """
    try:
        return _import(path, folder)
    except (ValueError, RuntimeError, TypeError, OverflowError) as error:  # from onnx's native parts, on damaged files
        raise ModelError(
            str(path), f"not a valid ONNX model ({_first_lines(error)})", "export or copy it again"
        ) from error


def _import(path: Path, folder: Path) -> ImportedModel:
    proto = _parsed(path)
    _check_versions(path, proto)
    all_nodes = list(nodes(proto))
    _check_domains(path, proto, all_nodes)
    check_weights(path, proto)
    files = external_data_files(path)
    _copy(path, proto, files, folder)
    warnings = _check_standard(path, folder, all_nodes)
    operators = Counter(node.op_type for node in all_nodes)
    class_labels = _class_labels(all_nodes)
    task: Task | None = "classes" if any(name in operators for name in CLASSIFIERS) else None
    return ImportedModel(
        format="onnx",
        spec=_spec(path, proto, folder),
        operators=dict(sorted(operators.items())),
        estimators=None,
        quantized=any(name in QUANTIZED_OPERATORS or name.startswith("QLinear") for name in operators),
        class_labels=class_labels,
        task=task,
        multilabel=False,
        matrix_weights=onnx_matrix_weights(proto),
        warnings=warnings,
    )


def _parsed(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    where = str(path)
    try:
        size = path.stat().st_size
        if not 0 < size <= PROTOBUF_LIMIT_BYTES:
            found = "the file is empty (0 bytes)" if size == 0 else f"the file has {size:,} bytes"
            needed = f"needed an ONNX file of at most {PROTOBUF_LIMIT_BYTES:,} bytes, larger weights in files beside it"
            raise ModelError(where, found, needed)
        proto = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            where, f"not a complete ONNX file ({error})", "export or copy it again: it may be truncated"
        ) from None
    except OSError as error:
        raise ModelError(where, f"cannot be read: {error.strerror or error}", "needed a readable file") from None
    lacks = [
        what
        for what, there in (
            ("version", proto.ir_version),
            ("operator set", proto.opset_import),
            ("node", proto.graph.node),
            ("input", proto.graph.input),
            ("output", proto.graph.output),
        )
        if not there
    ]
    if lacks:
        raise ModelError(
            where,
            f"its ONNX graph has no {', no '.join(lacks)}",
            "needed a complete ONNX model: export or copy it again",
        )
    return proto


def _check_versions(path: Path, proto: Any) -> None:
    import onnx

    where = str(path)
    if proto.ir_version > onnx.IR_VERSION:
        raise ModelError(
            where,
            f"ONNX format version {proto.ir_version}",
            f"needed at most {onnx.IR_VERSION}, the newest that onnx {onnx.__version__} knows: export it again",
        )
    newest = {"": onnx.defs.onnx_opset_version(), "ai.onnx.ml": _newest_opset("ai.onnx.ml")}
    for entry in proto.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        oldest = OLDEST_OPSET if domain == "" else 1
        if domain in newest and not oldest <= entry.version <= newest[domain]:
            raise ModelError(
                where,
                f"operator set {entry.version} of {domain or 'ai.onnx'}",
                f"needed {oldest} to {newest[domain]}: export the model again with one of those",
            )


def _newest_opset(domain: str) -> int:
    import onnx

    schemas = onnx.defs.get_all_schemas_with_history()
    return max(int(schema.since_version) for schema in schemas if schema.domain == domain)


def _check_domains(path: Path, proto: Any, nodes: list[Any]) -> None:
    own = {(function.domain, function.name) for function in proto.functions}
    custom = sorted(
        {
            f"{node.domain}::{node.op_type}"
            for node in nodes
            if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in own
        }
    )
    if custom:
        raise ModelError(
            str(path),
            f"custom operators: {', '.join(custom)}",
            "needed operators of ONNX and ONNX Runtime alone: others come from libraries that run code of their own",
        )


def _copy(path: Path, proto: Any, files: tuple[Path, ...], folder: Path) -> None:
    """Copy model and weight files; weight files in subfolders, or named like the model, get plain names."""
    import onnx

    root = path.resolve().parent
    renamed = {file: file.relative_to(root).as_posix().replace("/", "_") for file in files}
    for file, name in renamed.items():
        if name == "model.onnx":
            renamed[file] = "model.onnx.data"
    if len(set(renamed.values())) < len(renamed):
        raise ModelError(str(path), "weight files whose names differ in their folders only", "needed different names")
    changed = False
    for tensor in external_tensors(proto):
        for entry in tensor.external_data:
            if entry.key == "location":
                name = renamed.get((root / entry.value).resolve(), "")
                if not name:  # a second place for one weight
                    raise ModelError(
                        str(path), f"weights of {tensor.name!r} are said to be in {entry.value!r}", "export it again"
                    )
                changed |= name != entry.value
                entry.value = name
    if changed:
        onnx.save(proto, folder / "model.onnx")
    else:
        shutil.copyfile(path, folder / "model.onnx")
    for file, name in renamed.items():
        shutil.copyfile(file, folder / name)


def _check_standard(path: Path, folder: Path, nodes: list[Any]) -> tuple[str, ...]:
    """Hold the model against the standard; contradicting shapes are but a warning, since runtimes accept them."""
    import onnx

    copied = folder / "model.onnx"
    try:
        onnx.checker.check_model(copied)
    except onnx.checker.ValidationError as error:
        raise ModelError(
            str(path), f"not a valid ONNX model ({_first_lines(error)})", "export the model again"
        ) from None
    if any(node.domain not in ONNX_DOMAINS for node in nodes):
        return ()  # shape inference knows ONNX's own operators alone
    try:
        onnx.shape_inference.infer_shapes(
            onnx.load(copied, load_external_data=False), check_type=True, strict_mode=True
        )
    except onnx.shape_inference.InferenceError as error:
        return (f"{path}: declared shapes contradict each other ({_first_lines(error)})",)
    return ()


def _first_lines(error: Exception, most: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= most else f"{text[:most]} ..."


def _class_labels(nodes: list[Any]) -> tuple[ClassLabel, ...] | None:
    """The classes that the model's classifiers name, where they agree."""
    import onnx

    found: set[tuple[ClassLabel, ...]] = set()
    for node in nodes:
        if node.op_type in CLASSIFIERS:
            for attribute in node.attribute:
                if attribute.name in CLASS_ATTRIBUTES and (values := onnx.helper.get_attribute_value(attribute)):
                    found.add(tuple(value.decode() if isinstance(value, bytes) else int(value) for value in values))
    return found.pop() if len(found) == 1 else None


def _spec(path: Path, proto: Any, folder: Path) -> ModelSpec:
    import onnx

    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(_tensor(path, "input", value) for value in proto.graph.input if value.name not in weights)
    if not inputs:
        raise ModelError(str(path), "its ONNX graph has no input", "needed a model that takes rows")
    batches = {tensor.fixed_batch for tensor in inputs} - {None}
    if len(batches) > 1:
        raise ModelError(
            str(path),
            f"inputs with the fixed batch sizes {', '.join(str(batch) for batch in sorted(batches, key=str))}",
            "needed one batch size for all, best a free one (dynamic_axes)",
        )
    inferred = onnx.shape_inference.infer_shapes(onnx.load(folder / "model.onnx", load_external_data=False))
    shapes = {value.name: value for value in inferred.graph.output}
    outputs = tuple(_tensor(path, "output", shapes.get(value.name, value)) for value in proto.graph.output)
    return ModelSpec(inputs=inputs, outputs=outputs)


def _tensor(path: Path, role: str, value: Any) -> TensorSpec:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        if kind == "sequence_type" and value.type.sequence_type.elem_type.WhichOneof("value") == "map_type":
            needed = (
                "needed tensors: the model ends in ZipMap; convert it again with zipmap=False "
                "(skl2onnx.to_onnx(..., options={'zipmap': False}))"
            )
        else:
            needed = "needed tensors: export the model with one tensor for each of them"
        raise ModelError(str(path), f"{role} {value.name!r} is a {(kind or 'value without type')[:8]}", needed)
    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type)
    if name not in DTYPES:
        raise ModelError(str(path), f"{role} {value.name!r} holds {name}", f"needed one of {', '.join(DTYPES)}")
    axes = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if role == "input" and not axes:
        raise ModelError(
            str(path),
            f"input {value.name!r} is a single number",
            "needed rows along its first axis: export it with that axis free",
        )
    return TensorSpec(name=value.name, dtype=DTYPES[name], shape=tuple(axes) or (None,))
