"""Exported torch programs as artifacts: `model.pt2` with graph and weights, `spec.json` with inputs and outputs."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.errors import ModelError
from equipoise.runtimes.torch_archive import copy_archive, load_archive

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

PROGRAM_FILE, SPEC_FILE = "model.pt2", "spec.json"
DTYPES: dict[str, DType] = {
    "torch.bool": "bool", "torch.uint8": "uint8", "torch.int8": "int8", "torch.int16": "int16", "torch.int32": "int32",
    "torch.int64": "int64", "torch.float16": "float16", "torch.float32": "float32", "torch.float64": "float64",
    "torch.uint16": "uint16", "torch.uint32": "uint32", "torch.uint64": "uint64",
}  # fmt: skip
LEAST_TRACED, MOST_ROWS = 2, 2**31
"""torch traces no single row, and lets one through nevertheless; a bound beyond the other is none."""
TRAINING_FLAGS = {"dropout": 2, "batch_norm": 5, "instance_norm": 5, "feature_dropout": 2, "alpha_dropout": 2}
"""Operator to the place of the argument that is true while a model is trained."""


def export_program(
    module: nn.Module, example: Mapping[str, Tensor], where: str, free: Mapping[str, tuple[int, ...]] | None = None
) -> ExportedProgram:
    """Trace a module as it answers, with named inputs, any number of rows, and its outputs side by side.

    Args:
        module: In evaluation mode already. It may give a tensor, or a tuple, list or dictionary of them; of a
            dictionary (or an object that turns into one) the tensors are taken by name.
        example: Name of a parameter of `forward` to a tensor of several rows, [n, ...].
        where: What to call the model in an error.
        free: Name to further axes of any size, the length of a text say; the first one always is, where the module
            allows.

    Raises:
        ModelError: It cannot be traced: what it does depends on the values that it sees, say.
    """
    import torch

    axes = {name: dict.fromkeys((0, *(free or {}).get(name, ())), torch.export.Dim.AUTO) for name in example}
    try:
        with torch.no_grad():
            wrapped, inputs = _named(module, tuple(example)), tuple(example.values())
            return torch.export.export(wrapped, inputs, dynamic_shapes=axes, strict=False)
    except Exception as error:  # whatever the person's own code and torch's tracer raise
        raise ModelError(
            where,
            f"torch.export cannot trace it ({_last_words(error)})",
            "needed a forward whose operations do not depend on the values of its inputs",
        ) from error


def _named(module: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """The module with just these parameters, and as output a tensor or a dictionary of them."""
    import torch

    def forward(self: Any, *tensors: Tensor) -> Any:
        return _tensors(self.model(**dict(zip(names, tensors, strict=True))))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *names)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped = type("Named", (torch.nn.Module,), {"forward": forward})()
    wrapped.model = module
    return wrapped.eval()


def _tensors(output: Any) -> Any:
    import torch

    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        named = {str(name): value for name, value in output.items() if isinstance(value, torch.Tensor)}
    elif isinstance(output, tuple | list):
        named = {f"output_{place}": value for place, value in enumerate(output) if isinstance(value, torch.Tensor)}
    else:
        named = {}
    if not named:
        raise TypeError(f"forward gave {type(output).__name__}, not a tensor or a tuple, list or dictionary of tensors")
    return named


def save_program(program: ExportedProgram, folder: Path, where: str) -> ModelSpec:
    """Write a program as an artifact.

    Args:
        program: What to write.
        folder: An existing folder.
        where: What to call the model in an error.

    Returns:
        What it takes and gives.

    Raises:
        ModelError: It holds what an artifact may not, or takes and gives what is no tensor.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="equipoise-torch-") as scratch:
        whole = Path(scratch) / PROGRAM_FILE
        try:
            torch.export.save(program, whole)
        except Exception as error:  # torch's serializer raises many types
            needed = "needed tensors and operators of torch alone"
            raise ModelError(where, f"torch cannot save it ({_last_words(error)})", needed) from error
        return keep_archive(whole, folder, where)


def keep_archive(source: Path, folder: Path, where: str) -> ModelSpec:
    """Keep a `.pt2` as an artifact, without anything in it that could run code; see `save_program`."""
    copy_archive(source, folder / PROGRAM_FILE, where)
    spec = program_spec(load_archive(folder / PROGRAM_FILE), where)
    (folder / SPEC_FILE).write_text(spec.model_dump_json(), encoding="utf-8")
    return spec


def load_program(folder: Path) -> tuple[ExportedProgram, ModelSpec]:
    """Load the program of an artifact folder and what it takes and gives.

    Raises:
        ModelError: It is damaged, or holds what it may not.
    """
    try:
        spec = ModelSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
    except (OSError, ValueError) as error:
        needed = "give the folder of an artifact"
        raise ModelError(str(folder / SPEC_FILE), f"cannot be read ({error})", needed) from None
    return load_archive(folder / PROGRAM_FILE), spec


def program_spec(program: ExportedProgram, where: str) -> ModelSpec:
    """What a program takes and gives.

    Inputs have the names of `forward`'s parameters; outputs those of the dictionary that it gives, else `output`, or
    `output_0`, `output_1` ... of several.

    Raises:
        ModelError: It takes or gives what is no tensor, was exported in training mode, or changes its own weights.
    """
    from torch.utils._pytree import tree_leaves

    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature = program.graph_signature
    _check_answers_only(program, where)
    flat = [name for name in signature.user_inputs if isinstance(name, str)]
    containers = [leaf for tree in program.call_spec.in_spec.children() for leaf in tree.children()]
    if not flat or len(flat) < len(signature.user_inputs) or not all(leaf.is_leaf() for leaf in containers):
        found = f"it takes {len(flat)} tensors and {len(signature.user_inputs) - len(flat)} other values"
        raise ModelError(where, f"{found}, perhaps in lists", "needed a tensor for each parameter of forward")
    inputs = input_names(program)
    given = list(tree_leaves(tuple(signature.user_outputs)))
    outputs = [] if program.call_spec.out_spec is None else output_names(program)
    specs = ModelSpec(
        inputs=tuple(_tensor(where, name, values[node]) for name, node in zip(inputs, flat, strict=True)),
        outputs=tuple(_tensor(where, name, values.get(node)) for name, node in zip(outputs, given, strict=True)),
    )
    if not specs.outputs:
        raise ModelError(where, "it gives nothing", "needed a model that answers")
    _check_rows(
        program, where, [values[node] for node in flat], dict(zip(outputs, map(values.get, given), strict=True))
    )
    return specs


def input_names(program: ExportedProgram) -> list[str]:
    """Names of a program's inputs in the order in which it takes them: positional ones, then those by name."""
    (positional, named) = program.call_spec.in_spec.children()
    flat = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    return [*flat[: positional.num_leaves], *(str(name) for name in named.context)]


def output_names(program: ExportedProgram) -> list[str]:
    """Names of a program's outputs in its own order."""
    tree = program.call_spec.out_spec
    if tree.is_leaf():
        return ["output"]
    if tree.type is dict or getattr(tree.type, "__name__", "") == "OrderedDict":
        return [str(name) for name in tree.context]
    return ["output"] if tree.num_leaves == 1 else [f"output_{place}" for place in range(tree.num_leaves)]


def operators(program: ExportedProgram) -> dict[str, int]:
    """ATen operator to the number of nodes."""
    found: dict[str, int] = {}
    for node in program.graph.nodes:
        if node.op == "call_function":
            name = str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))
            found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


def _check_answers_only(program: ExportedProgram, where: str) -> None:
    needed = "needed a model that only answers: call model.eval() before you export it"
    changed = [*program.graph_signature.buffers_to_mutate.values(), *program.graph_signature.user_inputs_to_mutate]
    if changed:
        raise ModelError(where, f"it changes {changed[0]!r} while it answers", needed)
    for node in program.graph.nodes:
        place = TRAINING_FLAGS.get(getattr(node.target, "_opname", ""))
        if place is not None and len(node.args) > place and node.args[place] is True:
            raise ModelError(where, f"its {node.target._opname} is in training mode", needed)


def _check_rows(program: ExportedProgram, where: str, inputs: list[Any], outputs: Mapping[str, Any]) -> None:
    """Every output must have as many rows as the inputs, and the inputs any number of them, or one that is fixed."""
    rows = {str(tensor.shape[0]) for tensor in inputs}
    for name, tensor in outputs.items():
        if str(tensor.shape[0]) not in rows:
            raise ModelError(
                where,
                f"output {name!r} has {tensor.shape[0]} rows where the inputs have {' or '.join(sorted(rows))}",
                "needed one answer a row, along the first axis",
            )
    for size, allowed in program.range_constraints.items():
        if str(size) in rows and (allowed.lower > LEAST_TRACED or bool(allowed.upper < MOST_ROWS)):
            raise ModelError(
                where,
                f"it takes {allowed.lower} to {allowed.upper} rows at once",
                "needed any number of rows, or a single one: what forward does may not depend on their number",
            )


def _tensor(where: str, name: str, value: Any) -> TensorSpec:
    import torch

    if not isinstance(value, torch.Tensor):
        raise ModelError(where, f"{name!r} is no tensor", "needed tensors as inputs and outputs")
    dtype = "float32" if value.dtype is torch.bfloat16 else DTYPES.get(str(value.dtype))  # NumPy has no bfloat16
    if dtype is None:
        raise ModelError(where, f"{name!r} holds {value.dtype}", f"needed one of {', '.join(DTYPES.values())}")
    if value.ndim == 0:
        raise ModelError(where, f"{name!r} is a single number", "needed rows along the first axis")
    shape = tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def _last_words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return f"{type(error).__name__}: {text}"[:300]
