"""A person's own module: made by their function, filled with their weights, fed with rows of their data."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equipoise.errors import ModelError
from equipoise.ingest.table import Table
from equipoise.preprocess.columns import listed

if TYPE_CHECKING:
    from torch import Tensor, nn

TARGETS = ("label", "y")
EXAMPLE_ROWS = 7
"""Unlikely to be the size of another axis, so that no tracer takes the two for one."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
PARALLEL_PREFIX, COUNTER = "module.", ".num_batches_tracked"
"""What DataParallel adds to names, and what files of an old torch lack: only training reads it."""
MOST_NAMES = 3


def made_module(name: str) -> nn.Module:
    """Call the person's own function.

    Args:
        name: `module:function` of the current folder or the import path, or `file.py:function`.

    Raises:
        ModelError: It cannot be imported, raises, or gives anything but a module.
    """
    import torch

    place, _, function_name = name.rpartition(":")
    module = _imported(name, place)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ModelError(name, f"{place} has no function {function_name!r}", "needed one that gives a torch.nn.Module")
    try:
        made = function()
    except Exception as error:  # the person's own code may raise anything
        needed = "needed a function that takes no arguments and gives a torch.nn.Module"
        raise ModelError(name, f"it raised {type(error).__name__}: {error}", needed) from error
    if not isinstance(made, torch.nn.Module):
        raise ModelError(name, f"it gave {type(made).__name__}", "needed a torch.nn.Module")
    return made.eval()


def _imported(name: str, place: str) -> Any:
    is_file = place.endswith(".py")
    folder = str(Path(place).resolve().parent) if is_file else os.getcwd()
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(Path(place).stem if is_file else place)
    except Exception as error:  # a person's own module may raise anything while it is imported
        needed = f"needed {place}" if is_file else f"needed {place}.py in {folder}, or an installed module"
        raise ModelError(name, f"{place} cannot be imported ({type(error).__name__}: {error})", needed) from error
    finally:
        sys.path.remove(folder)


def with_state(module: nn.Module, path: Path | None, name: str) -> tuple[str, ...]:
    """Fill a module with the weights of a file.

    Args:
        module: The module, changed in place.
        path: A `.safetensors` file, or what `torch.save` wrote: a state dict, or a checkpoint with one under
            `state_dict`, `model_state_dict` or `model`. Null to leave the module as it is.
        name: What to call the module in errors.

    Returns:
        What the person should know.

    Raises:
        ModelError: The file is damaged, holds more than tensors, or its names or shapes are those of another module.
    """
    if path is None:
        return (f"{name}: no --state-dict, so that its weights are those that the function gave it",)
    where = f"--state-dict {path}"
    state, notes = _state(path, where)
    if state and all(key.startswith(PARALLEL_PREFIX) for key in state):
        wanted = module.state_dict()
        if not any(key in wanted for key in state):
            state = {key.removeprefix(PARALLEL_PREFIX): value for key, value in state.items()}
            notes = (*notes, f"{where}: took the prefix {PARALLEL_PREFIX!r} off its names, which DataParallel adds")
    wanted = {key: value for key, value in module.state_dict().items() if key in state or not key.endswith(COUNTER)}
    _check_state(wanted, state, where, name)
    module.load_state_dict(state, strict=False)
    return notes


def _state(path: Path, where: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    import torch

    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path), ()
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = str(error).strip().splitlines()[-1][:200]
        needed = "needed a state dict: torch.save(model.state_dict(), file), or a .safetensors file"
        raise ModelError(where, f"it holds more than tensors, which could run code ({found})", needed) from None
    except Exception as error:  # torch and safetensors raise many types on damaged files
        found = f"cannot be read ({type(error).__name__}: {str(error).strip()[:200]})"
        raise ModelError(where, found, "needed what torch.save or safetensors wrote") from None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            return _tensors(content[wrapper], where), (f"{where}: took the weights under {wrapper!r}",)
    return _tensors(content, where), ()


def _tensors(content: Any, where: str) -> dict[str, Tensor]:
    import torch

    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        needed = "needed a state dict: torch.save(model.state_dict(), file)"
        raise ModelError(where, f"found {type(content).__name__}, not names with tensors", needed)
    return {str(key): value for key, value in content.items()}


def _check_state(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str, name: str) -> None:
    missing = [key for key in wanted if key not in found]
    added = [key for key in found if key not in wanted]
    if missing or added:
        parts = [f"lacks {_few(missing)}"] * bool(missing) + [f"has {_few(added)} besides"] * bool(added)
        raise ModelError(where, f"it {' and '.join(parts)}", f"needed the {len(wanted)} names of what {name} makes")
    for key, value in wanted.items():
        if value.shape != found[key].shape:
            raise ModelError(
                where, f"{key!r} is {list(found[key].shape)}", f"needed {list(value.shape)}, as {name} makes it"
            )


def _few(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return f"{listed(names[:MOST_NAMES])}{f' and {more} more' if more > 0 else ''}"


def example_inputs(module: nn.Module, name: str, table: Table | None) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A few rows of the data as what a module's `forward` takes, after they went through it.

    Arrays are found by the names of its parameters; one that takes a single input takes the only array there is beside
    `label` and `y`, or all columns side by side. float64 becomes torch's float32, and where the module computes with
    nothing else, whole numbers do as well.

    Args:
        module: In evaluation mode.
        name: What to call it in errors.
        table: Rows of the data.

    Returns:
        Parameter to tensor [n, ...], and what the person should know.

    Raises:
        ModelError: There are no rows, an input is not among them, or the module does not run on them.
    """
    import torch

    if table is None:
        raise ModelError(
            name,
            "found no rows to show what it takes: images and texts become rows only once that is known",
            "needed --data with arrays under the names of its inputs; or save it with torch.export as .pt2, or as ONNX",
        )
    arrays = {key: array[:EXAMPLE_ROWS] for key, array in _arrays(module, name, table).items()}
    if len(next(iter(arrays.values()))) < EXAMPLE_ROWS:
        rows = np.arange(EXAMPLE_ROWS) % table.n
        arrays = {key: array[rows] for key, array in arrays.items()}
    plain = {key: torch.from_numpy(np.ascontiguousarray(_single(array))) for key, array in arrays.items()}
    notes: tuple[str, ...] = ()
    first = _failure(module, plain)
    if first is not None and any(not tensor.is_floating_point() for tensor in plain.values()):
        floats = {key: tensor.float() for key, tensor in plain.items()}
        if _failure(module, floats) is None:
            whole = [key for key, tensor in plain.items() if not tensor.is_floating_point()]
            notes = (f"{name}: it computes with float32 alone, and so is fed {listed(whole)} as that",)
            plain, first = floats, None
    if first is not None:
        found = ", ".join(f"{key} {tensor.dtype} {list(tensor.shape)}" for key, tensor in plain.items())
        raise ModelError(
            name,
            f"it does not run on rows of {table.source} ({found}): {type(first).__name__}: {str(first)[:300]}",
            "needed the arrays that its forward takes, under the names of its parameters",
        ) from first
    return plain, notes


def _failure(module: nn.Module, inputs: Mapping[str, Tensor]) -> Exception | None:
    import torch

    try:
        with torch.no_grad():
            module(**inputs)
    except Exception as error:  # the person's own code may raise anything
        return error
    return None


def _single(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _arrays(module: nn.Module, name: str, table: Table) -> dict[str, Any]:
    parameters = inspect.signature(module.forward).parameters.values()
    taken = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    needed = [each.name for each in taken if each.default is each.empty]
    there = [each.name for each in taken if each.name in table.columns and table.columns[each.name].dtype != object]
    if needed and all(each in there for each in needed):
        return {each: table.columns[each] for each in there}
    free = {key: array for key, array in table.columns.items() if key not in TARGETS and array.dtype != object}
    wide = [key for key, array in free.items() if array.ndim > 1]
    if len(needed) == 1 and not there:
        if len(wide) == 1 or len(free) == 1:
            return {needed[0]: free[(wide or list(free))[0]]}
        if free and not wide:
            return {needed[0]: np.stack([array.astype(np.float32) for array in free.values()], axis=1)}
    missing = [each for each in needed if each not in there]
    raise ModelError(
        name,
        f"its forward takes {listed(needed)}, and {table.source} has no numbers under {listed(missing) or 'them'}",
        f"it has {listed(table.columns)}: name the arrays like the parameters",
    )
