"""Reads PyTorch models: exported programs (`.pt2`), and modules that a function of the person's makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise.core.tensor import ModelSpec
from equipoise.errors import ModelError
from equipoise.ingest.model import ImportedModel
from equipoise.ingest.table import Table
from equipoise.ingest.torch_module import example_inputs, made_module, with_state
from equipoise.runtimes.matrices import program_matrix_weights
from equipoise.runtimes.torch_install import require_torch
from equipoise.runtimes.torch_program import export_program, keep_archive, load_program, operators, save_program

if TYPE_CHECKING:
    from torch import nn


def import_program(path: Path, folder: Path) -> ImportedModel:
    """Read a `.pt2`, check it, and keep it as `model.pt2` and `spec.json` in `folder`.

    Nothing of the file is run; what it does not need to answer is left out.

    Args:
        path: The `.pt2` file, as `torch.export.save` of torch 2.8 or newer writes it.
        folder: An existing, empty folder for the artifact.

    Raises:
        ModelError: torch is not installed, or the file is damaged, holds what could run code, was exported in training
            mode, or takes or gives what is no tensor.
    """
    if not path.is_file():
        raise ModelError(str(path), "found no such file", "needed a .pt2 that torch.export.save wrote")
    spec = keep_archive(path, folder, str(path))
    return _described(folder, spec, _batch_notes(str(path), spec))


def import_module(name: str, state: Path | None, folder: Path, table: Table | None) -> ImportedModel:
    """Make a module by the person's own function, load its weights, and keep it as an exported program.

    Args:
        name: `module:function`, or `file.py:function`: it is called without arguments and gives a `torch.nn.Module`.
        state: Its weights (`.safetensors`, or what `torch.save` wrote, read with `weights_only`); null where the
            function loads them itself.
        folder: An existing, empty folder for the artifact.
        table: Rows of the data, which say what it takes; a few are enough.

    Raises:
        ModelError: torch is not installed; the function cannot be imported or raises; the weights are of another
            module; the data lacks one of its inputs; or it does not run on the data or cannot be traced.
    """
    require_torch(name)
    module = made_module(name)
    notes = with_state(module, state, name)
    spec, more = keep_module(module, name, folder, table)
    return _described(folder, spec, (*notes, *more))


def keep_module(module: nn.Module, name: str, folder: Path, table: Table | None) -> tuple[ModelSpec, tuple[str, ...]]:
    """Trace a module on rows of the data, and keep it as an exported program.

    Args:
        module: The module.
        name: What to call it in errors.
        folder: An existing, empty folder for the artifact.
        table: Rows of the data, which say what it takes.

    Returns:
        What it takes and gives, and what the person should know.

    Raises:
        ModelError: As `import_module`.
    """
    module.eval()
    example, notes = example_inputs(module, name, table)
    spec = save_program(export_program(module, example, name), folder, name)
    if spec.fixed_batch is not None:
        raise ModelError(
            name,
            f"its forward fixes the number of rows to the {spec.fixed_batch} that it was shown",
            "needed one for any number of rows: take it from the input, x.shape[0], and do not make an int of it",
        )
    return spec, notes


def _described(folder: Path, spec: ModelSpec, warnings: tuple[str, ...]) -> ImportedModel:
    program: Any = load_program(folder)[0]
    return ImportedModel(
        format="torch",
        spec=spec,
        operators=operators(program),
        estimators=None,
        quantized=False,
        class_labels=None,
        task=None,
        multilabel=False,
        matrix_weights=program_matrix_weights(program),
        warnings=warnings,
    )


def _batch_notes(where: str, spec: ModelSpec) -> tuple[str, ...]:
    if spec.fixed_batch is None:
        return ()
    return (
        f"{where}: it takes batches of {spec.fixed_batch} only; export it with a free batch axis "
        '(dynamic_shapes={"input": {0: torch.export.Dim("batch")}}) to let it answer several rows at once',
    )
