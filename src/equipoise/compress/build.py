"""Makes one variant: the last step of a recipe, applied to the artifact of the steps before it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts, Technique
from equipoise.compress.facts import model_facts
from equipoise.compress.int8 import is_quantized
from equipoise.compress.tools import tool, versions
from equipoise.compress.training import read_record
from equipoise.core.recipe import Recipe
from equipoise.core.training import TrainingRecord
from equipoise.core.variant import DataUse
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.registry import techniques
from equipoise.store.artifacts import artifact_bytes, artifact_digest
from equipoise.telemetry import silence

TOOLS = ("nncf", "numpy", "onnx", "onnxruntime", "onnxscript", "openvino", "scikit-learn", "skl2onnx", "skops", "torch")
MORE_DATA: tuple[DataUse, ...] = ("none", "unlabelled", "labelled")


@dataclass(frozen=True)
class BuiltArtifact:
    """An artifact that was just made.

    Attributes:
        facts: What it is: format, inputs and outputs, operators, size of its ensemble.
        digest: SHA-256 of its files.
        artifact_bytes: Size of its files.
        quantized: Whether it holds a quantised graph, so that runtimes run it as int8.
        fidelity: How near to its source the technique promises to be: `compress.conversion` checks it.
        data_use: The most that any step of the recipe read of the data.
        tool_versions: Versions of the libraries that may have made it.
        training: How its last step trained it; null where that trained nothing.
    """

    facts: ModelFacts
    digest: str
    artifact_bytes: int
    quantized: bool
    fidelity: Fidelity
    data_use: DataUse
    tool_versions: dict[str, str]
    training: TrainingRecord | None = None


def build(recipe: Recipe, source: Path, context: BuildContext) -> BuiltArtifact:
    """Apply the last step of a recipe and describe what came of it.

    Meant to run in a child process: everything in and out can be pickled, and a crash of a tool is the child's.

    Args:
        recipe: Its last step is applied.
        source: Artifact folder that the steps before made; it is left as it is.
        context: Calibration rows, the folder to write into, seed and threads.

    Raises:
        TechniqueError: The technique is not installed, does not apply, or could not finish.
        ModelError: What it made cannot be opened again.
    """
    silence()
    if not recipe.steps:
        raise TechniqueError("the recipe has no step to apply")
    step = recipe.steps[-1]
    technique = _technique(step.technique)
    _empty(context.folder)
    with tool(step.technique):
        technique.apply(source, step, context)
    facts = model_facts(context.folder, environment())
    return BuiltArtifact(
        facts=facts,
        digest=artifact_digest(context.folder),
        artifact_bytes=artifact_bytes(context.folder),
        quantized=is_quantized(facts.operators),
        fidelity=technique.fidelity,
        data_use=data_use_of(recipe),
        tool_versions=versions(*TOOLS),
        training=None if context.training is None else read_record(context.training.folder),
    )


def data_use_of(recipe: Recipe) -> DataUse:
    """The most that any step of a recipe reads of the data.

    Raises:
        TechniqueError: A technique is not installed.
    """
    return max((_technique(step.technique).data_use for step in recipe.steps), key=MORE_DATA.index, default="none")


def _technique(name: str) -> Technique:
    found: Technique | None = techniques().get(name)
    if found is None:
        raise TechniqueError(f"no technique {name!r} is installed; there are {', '.join(techniques())}")
    return found


def _empty(folder: Path) -> None:
    """Remove what an attempt that was cut short left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
