"""The models that a person gives: the one to make cheap, and others that do its job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from equipoise.compose.servable import Config
from equipoise.compress.base import ModelFacts
from equipoise.core.brief import Brief
from equipoise.core.environment import Environment
from equipoise.core.preprocessing import PlacedPreprocessing
from equipoise.core.recipe import Recipe
from equipoise.core.variant import Variant
from equipoise.errors import InputError, ModelError
from equipoise.flow.importing import import_in_child, native_config
from equipoise.ingest.huggingface_folder import is_huggingface, own_preprocessing
from equipoise.ingest.model import ImportedModel, check_alternative
from equipoise.ingest.table import Table
from equipoise.registry import runtimes
from equipoise.store.study import StudyFolder

_imported = TypeAdapter(ImportedModel)


@dataclass(frozen=True)
class GivenModels:
    """What was read.

    Attributes:
        read: What each is, by recipe source; `model` is the one to make cheap.
        variants: Their artifacts.
        machine: This one.
    """

    read: dict[str, ImportedModel]
    variants: dict[str, Variant]
    machine: Environment

    @property
    def model(self) -> ImportedModel:
        """The one to make cheap."""
        return self.read["model"]

    @cached_property
    def baseline(self) -> Config:
        """It, in its native runtime and precision."""
        return native_config(self.variants["model"], self.machine)

    @property
    def unbuilt(self) -> tuple[Config, ...]:
        """What can be measured unbuilt, the alternatives in their own runtimes first: they may save the most."""
        given = [configs_of(variant, self.machine) for source, variant in self.variants.items() if source != "model"]
        others = [config for config in configs_of(self.baseline.variant, self.machine) if config != self.baseline]
        return (*(configs[0] for configs in given), *others, *(config for configs in given for config in configs[1:]))

    def recipes(self, propose: Callable[[ModelFacts, str], tuple[Recipe, ...]]) -> tuple[Recipe, ...]:
        """The recipes of all sources, taking one of each in turn."""
        proposed = [
            propose(
                ModelFacts(
                    format=model.format,
                    spec=model.spec,
                    operators=model.operators,
                    estimators=model.estimators,
                    environment=self.machine,
                    matrix_weights=model.matrix_weights,
                ),
                source,
            )
            for source, model in self.read.items()
        ]
        longest = max(map(len, proposed), default=0)
        return tuple(recipes[turn] for turn in range(longest) for recipes in proposed if turn < len(recipes))


def read_models(brief: Brief, table: Table | None, study: StudyFolder, machine: Environment) -> GivenModels:
    """Read the model and the person's other models for the same job.

    Args:
        brief: Names them.
        table: Rows of the data; null where they must become what a model takes first.
        study: Where artifacts are kept.
        machine: This one.

    Raises:
        ModelError: One cannot be used, or an alternative does another job.
    """
    model, original = _import(Path(brief.model.path), Recipe(), brief, table, study)
    read, variants = {"model": model}, {"model": original}
    for path in map(Path, brief.model.alternatives):
        source = _source_name(path, read)
        read[source], variants[source] = _import(path, Recipe(source=source), brief, table, study)
        check_alternative(path, model, read[source])
        require_prepared_alike(path, brief.preprocess)
    return GivenModels(read, variants, machine)


def require_prepared_alike(path: Path, placed: PlacedPreprocessing | None) -> None:
    """Refuse another model whose own files say that it reads texts or images otherwise: rows are prepared once."""
    if placed is None or not is_huggingface(str(path)):
        return
    try:
        own = own_preprocessing(str(path)).settings
    except InputError:  # it says nothing that could be compared
        return
    for name in ("tokenizer_sha256", "size", "image_mean", "image_std"):
        wanted, found = getattr(placed.settings, name, None), getattr(own, name, None)
        forms = [getattr(settings, "tokenizer", None) for settings in (placed.settings, own)]  # files of one kind
        if None not in (wanted, found) and wanted != found and forms[0] == forms[1]:
            raise ModelError(
                str(path),
                f"its rows are prepared otherwise than the main model's ({name})",
                "needed a model with the same tokenizer, or the same size and normalisation of images",
            )


def configs_of(variant: Variant, machine: Environment) -> tuple[Config, ...]:
    """A variant in every runtime and precision that can run it here, its native one first."""
    native = native_config(variant, machine)
    found = [
        Config(variant=variant, runtime=name, precision=precision)
        for name, runtime in runtimes().items()
        if variant.format in runtime.formats
        for precision in runtime.precisions(variant.format, variant.quantized, machine)
    ]
    return tuple(sorted(found, key=lambda config: config != native))


def _import(
    path: Path, recipe: Recipe, brief: Brief, table: Table | None, study: StudyFolder
) -> tuple[ImportedModel, Variant]:
    """Read a model into the study; a later sitting takes what an earlier one read."""
    key = f"import {recipe.source}"
    entry = study.recall(key)
    if entry is not None:
        return _imported.validate_python(entry.value["model"]), Variant.model_validate(entry.value["variant"])
    folder = study.new_folder()
    log = study.log(f"import-{recipe.source}")
    weights = brief.model.state_dict if recipe.source == "model" else None
    state = None if weights is None else Path(weights)
    model, variant = import_in_child(path, recipe, brief.model.trust, _inputs(brief, table), folder, log, state)
    study.keep_artifact(folder, variant.artifact)
    value = {"model": _imported.dump_python(model, mode="json"), "variant": variant.model_dump(mode="json")}
    study.record(key, value, elapsed_s=0.0)
    return model, variant


def _inputs(brief: Brief, table: Table | None) -> Table | None:
    """The rows without the true answers, which no model is fed."""
    if table is None or brief.data.target is None:
        return table
    columns = {name: array for name, array in table.columns.items() if name != brief.data.target}
    return Table(columns, table.source, table.spelled) if columns else table


def _source_name(path: Path, taken: dict[str, Any]) -> str:
    name = path.name
    count = 2
    while name in taken or name == "model":
        name = f"{path.stem}-{count}{path.suffix}"
        count += 1
    return name
