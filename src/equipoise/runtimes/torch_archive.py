"""What a `.pt2` file may hold: weights as plain bytes, and a graph of torch's own operators on them.

torch's reader runs what its file asks for: pickles (example inputs, weights, objects), compiled libraries, any function
of any module that torch imports (`torch.os.system`) as a node of the graph, expressions that sympy evaluates, and names
that are pasted into generated source. So nothing of a file reaches that reader but what is known to be harmless: each
string of the graph is held against a list, and what a model does not need (example inputs, guards, the traces that
quote its source code) is left out.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise.errors import ModelError
from equipoise.runtimes.torch_install import require_torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram

GRAPH = "models/model.json"
EXAMPLE_INPUTS = "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
TENSORS = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
WRITERS_OWN = frozenset(
    {"archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id",
     ".data/serialization_id_v2", ".format_version", ".storage_alignment"}
)  # fmt: skip

OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file\.|save\.)\w+\.\w+"  # those two read and write files
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|lshift|rshift|getitem)"
    r"|math\.(ceil|floor|trunc)|torch\.sym_(float|int|max|min|not|ite)|torch\._sym_sqrt"
)
NAME = re.compile(r"[A-Za-z_]?\w*", re.ASCII)
DOTTED = re.compile(r"[\w.\-]*", re.ASCII)
NUMBER = re.compile(r"-?(Infinity|inf)|NaN|nan")
DOTTED_KEYS = frozenset({"parameter_name", "buffer_name", "tensor_constant_name", "fqn", "config"})
FREE_KEYS = frozenset({"as_string", "as_strings", "torch_version"})
"""Whose text torch only ever quotes."""
REFUSED = {"as_custom_obj": "an object", "as_operator": "an operator", "as_graph": "a graph", "custom_obj": "an object"}
CONTAINERS = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
SYMBOL = re.compile(r"[a-z]{1,4}\d+", re.ASCII)
CONSTANT_NAME = re.compile(r"[su]\d+|int_oo|oo|true|false", re.ASCII)
EXPRESSION_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
EXPRESSION_FUNCTIONS = frozenset(
    {
        "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs", "floor", "ceiling",
        "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "LessThan", "GreaterThan",
        "StrictGreaterThan", "And", "Or", "Not", "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv",
        "CeilToInt", "FloorToInt", "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv",
        "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity",
    }
)  # fmt: skip


def copy_archive(source: Path, target: Path, where: str) -> None:
    """Write what is needed of a `.pt2` into another, and nothing that could run code.

    Args:
        source: Anyone's file.
        target: Where the copy will be: `load_archive` takes it.
        where: What to call the file in an error.

    Raises:
        ModelError: It is damaged, of an older form, or holds what could run code.
    """
    reader = _reader(source, where)
    members = set(reader.get_file_names())
    graph = _cleaned(where, _json(reader, GRAPH, where, members))
    from torch.export.pt2_archive import PT2ArchiveWriter

    with PT2ArchiveWriter(str(target)) as writer:
        for name in sorted(filter(TENSORS.fullmatch, members)):
            writer.write_bytes(name, reader.read_bytes(name))
        for name in (WEIGHTS, CONSTANTS):
            writer.write_string(name, json.dumps(_cleaned(where, _json(reader, name, where, members))))
        writer.write_bytes(EXAMPLE_INPUTS, b"")
        writer.write_string(GRAPH, json.dumps(graph))


def load_archive(path: Path) -> ExportedProgram:
    """Load a `.pt2` that `copy_archive` wrote, held against the same list once more: a bundle may come from anyone.

    Raises:
        ModelError: It is damaged, or holds anything that `copy_archive` leaves out.
    """
    where = str(path)
    reader = _reader(path, where)
    members = set(reader.get_file_names())
    added = sorted(members - {GRAPH, WEIGHTS, CONSTANTS, EXAMPLE_INPUTS} - WRITERS_OWN)
    added = [name for name in added if not TENSORS.fullmatch(name)]
    documents = [_json(reader, name, where, members) for name in (GRAPH, WEIGHTS, CONSTANTS)]
    if added or reader.read_bytes(EXAMPLE_INPUTS) or any(_cleaned(where, each) != each for each in documents):
        found = f"it holds {added[0]}" if added else "it holds more than weights and a graph"
        raise ModelError(where, f"{found}, which is not needed to answer", "make the bundle again from its model")
    from torch.export.pt2_archive._package import load_pt2  # torch.export.load falls back to a reader of pickles

    with _native(where):
        return load_pt2(where).exported_programs["model"]


class _native:  # noqa: N801 - reads as what it marks
    """The border to torch's own readers, which raise whatever they meet in a damaged file."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, ModelError):
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                self._where, f"torch cannot read it ({lines[-1][:200]})", "save it again with torch.export.save"
            ) from error


def _reader(path: Path, where: str) -> Any:
    require_torch(where)
    from torch.export.pt2_archive import PT2ArchiveReader, is_pt2_package

    with _native(where):
        if not is_pt2_package(str(path)):
            raise ModelError(
                where, "not a .pt2 archive of torch 2.8 or newer", "save it again: torch.export.save(program, file)"
            )
        return PT2ArchiveReader(str(path))


def _json(reader: Any, name: str, where: str, members: set[str]) -> dict[str, Any]:
    if name not in members:
        needed = "needed one exported program named `model`, with its weights, as torch.export.save writes it"
        raise ModelError(where, f"it has no {name}", needed)
    try:
        document = json.loads(reader.read_bytes(name))
    except (ValueError, RecursionError) as error:
        raise ModelError(where, f"{name} is damaged ({error})", "save it again with torch.export.save") from None
    if not isinstance(document, dict):
        raise ModelError(where, f"{name} is damaged", "save it again with torch.export.save")
    return document


def _cleaned(where: str, document: dict[str, Any]) -> dict[str, Any]:
    """A document of the archive without what could run code; what cannot be left out is refused."""
    try:
        cleaned: dict[str, Any] = _clean(document, "")
    except _Refused as refused:
        needed = "needed a graph of torch's own operators (torch.ops.aten) on tensors, with plain weights"
        raise ModelError(where, f"it holds {refused}, which could run code of the file's own", needed) from None
    except RecursionError:
        raise ModelError(where, "its graph is nested too deeply", "save it again with torch.export.save") from None
    return cleaned


class _Refused(Exception):  # noqa: N818 - never leaves this module
    pass


def _clean(value: Any, key: str) -> Any:
    match value:
        case dict():
            return _clean_table(value, key)
        case list():
            return [] if key == "guards_code" else [_clean(each, key) for each in value]
        case str():
            if not _harmless(value, key):
                raise _Refused(f"{value[:80]!r} as its {key or 'content'}")
            return value
        case _:
            return value


def _clean_table(table: dict[str, Any], key: str) -> dict[str, Any]:
    if key == "metadata":
        return {}
    if key in ("device", "as_device") and table.get("type") == "cuda":
        return {"type": "cpu", "index": None}
    if table.get("use_pickle"):
        raise _Refused("a pickled tensor")
    cleaned = {}
    for name, value in table.items():
        if value is not None and name in REFUSED:
            raise _Refused(f"{REFUSED[name]} among a node's arguments")
        if not (DOTTED if key in DOTTED_KEYS else NAME).fullmatch(name):
            raise _Refused(f"the name {name[:80]!r}")
        cleaned[name] = _clean(value, name if name != "path_name" else "config")
    return cleaned


def _harmless(text: str, key: str) -> bool:
    match key:
        case "target":
            return OPERATOR.fullmatch(text) is not None
        case "expr_str":
            return _is_arithmetic(text)
        case "in_spec" | "out_spec":
            return _is_plain_tree(text)
        case "as_float" | "as_floats":
            return NUMBER.fullmatch(text) is not None
        case _ if key in FREE_KEYS:
            return True
        case _:
            return (DOTTED if key in DOTTED_KEYS else NAME).fullmatch(text) is not None


def _is_arithmetic(text: str) -> bool:
    """Whether an expression is made of whole numbers, symbols and sympy's arithmetic alone: sympy evaluates it."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, EXPRESSION_NODES):
            return False
        if isinstance(node, ast.Name):
            known = node.id in EXPRESSION_FUNCTIONS if id(node) in called else CONSTANT_NAME.fullmatch(node.id)
            if not known:
                return False
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            return False
        if isinstance(node, ast.Constant) and not _is_plain_constant(node.value):
            return False
    return True


def _is_plain_constant(value: Any) -> bool:
    return SYMBOL.fullmatch(value) is not None if isinstance(value, str) else isinstance(value, int | float)


def _is_plain_tree(text: str) -> bool:
    """Whether a tree of inputs or outputs is made of tuples, lists and dictionaries with text as keys."""
    try:
        return all(
            node["type"] in CONTAINERS and all(isinstance(key, str) and NAME.fullmatch(key) for key in keys)
            for node, keys in _tree_nodes(json.loads(text)[1])
        )
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return False


def _tree_nodes(node: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    yield node, json.loads(node["context"] or "null") or []
    for child in node["children_spec"]:
        yield from _tree_nodes(child)
