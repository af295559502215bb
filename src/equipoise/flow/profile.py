"""From a model's file to which of its layers and operators cost what."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.anatomy import Anatomy
from equipoise.core.environment import Environment
from equipoise.core.profile import Precision, Settings
from equipoise.core.tensor import ModelSpec
from equipoise.errors import BriefError, ModelError, SandboxError
from equipoise.flow.anatomy import LayerTimes, Subject, anatomy_of, time_layers
from equipoise.flow.importing import NATIVE
from equipoise.flow.profile_options import ProfileOptions
from equipoise.flow.roofline import machine_roofline
from equipoise.host.environment import environment
from equipoise.host.sandbox import Sandbox
from equipoise.ingest.data_files import DataFiles, needs_preprocessing
from equipoise.ingest.index_bounds import index_bounds
from equipoise.ingest.model import ImportedModel, import_model
from equipoise.ingest.rows import bind_rows, target_name
from equipoise.ingest.table import Table, read_table
from equipoise.preprocess.chunks import TARGETS, read_chunks
from equipoise.preprocess.random_rows import random_rows, row_shapes
from equipoise.registry import runtimes
from equipoise.runtimes.layers import LayerRuntime

Array = NDArray[Any]
Say = Callable[[str], None]
IMPORT_TIMEOUT_S, RUN_TIMEOUT_S = 300.0, 1800.0
TURNS = 12
HEAD_ROWS = 256
RANDOM = "random"


def profile_model(options: ProfileOptions, say: Say = lambda _: None) -> Anatomy:
    """Find out which layers and operators of a model cost what, on this machine.

    The model runs in two processes of its own, in turns: one is timed as a whole, the other layer by layer.

    Args:
        options: The model, and where and how it runs.
        say: Told what goes on.

    Raises:
        InputError: Model, data or an option cannot be used.
    """
    machine = environment()
    with tempfile.TemporaryDirectory(prefix="equipoise-profile-") as scratch:
        folder = Path(scratch)
        artifact = folder / "model"
        artifact.mkdir()
        say("reading the model")
        model = _imported(options, artifact, folder / "import.log")
        settings = _settings(options, model, machine)
        subject = Subject(
            model=options.model.name,
            format=model.format,
            spec=model.spec,
            artifact=artifact,
            settings=settings,
            feeds=_feeds(options, model.spec, settings.batch, artifact, folder / "inputs.log"),
            rows=RANDOM if options.data is None else options.data.name,
        )
        say("timing its layers")
        timed = _timed(options, subject, folder)
        roofline = None
        if timed.counted:
            roofline = machine_roofline(machine, settings.threads, folder, again=options.remeasure, say=say)
    return anatomy_of(subject, timed, roofline, machine, warnings=model.warnings)


def write_anatomy(anatomy: Anatomy, folder: Path) -> None:
    """Write `anatomy.json` and `anatomy.html` into a folder, which is made where it is missing.

    Raises:
        BriefError: The folder cannot be made or written into.
    """
    from equipoise.report.anatomy import write_anatomy_page

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "anatomy.json").write_text(anatomy.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_anatomy_page(anatomy, folder / "anatomy.html")
    except OSError as error:
        raise BriefError("--out", f"{folder} cannot be written ({error})", "give a folder that can be") from None


def _imported(options: ProfileOptions, artifact: Path, log: Path) -> ImportedModel:
    table: Table | None = None
    if options.data is not None and not needs_preprocessing(options.data, options.preprocess):
        table = read_table(options.data, options.columns).head(HEAD_ROWS)
    with Sandbox(log) as child:
        try:
            model: ImportedModel = child.call(
                import_model,
                options.model,
                options.trust,
                artifact,
                table,
                options.state_dict,
                timeout_s=IMPORT_TIMEOUT_S,
            )
        except SandboxError as error:
            raise ModelError(str(options.model), f"reading it ended with: {error}", "check the file") from error
    return model


def _settings(options: ProfileOptions, model: ImportedModel, machine: Environment) -> Settings:
    threads = options.threads or (1 if model.format == "sklearn" else machine.cores)  # as scikit-learn itself does
    if threads > machine.cores:
        needed = f"needed at most {machine.cores}, the cores that this process may use"
        raise BriefError("--threads", f"found {threads}", needed)
    runtime = options.runtime or NATIVE[model.format]
    able: dict[str, LayerRuntime] = {
        name: each
        for name, each in runtimes().items()
        if model.format in each.formats and isinstance(each, LayerRuntime)
    }
    if runtime not in able:
        needed = f"needed one that opens it and says what its layers take: {', '.join(able) or 'none does'}"
        raise BriefError("--runtime", f"found {runtime!r} for a model of the kind {model.format}", needed)
    precisions: Sequence[Precision] = able[runtime].precisions(model.format, model.quantized, machine)
    if options.precision is not None and options.precision not in precisions:
        needed = f"{runtime} runs this model on this machine in {', '.join(precisions)}"
        raise BriefError("--precision", f"found {options.precision!r}", needed)
    fixed = model.spec.fixed_batch
    if options.batch is not None and fixed not in (None, options.batch):
        raise BriefError("--batch", f"found {options.batch}", f"the model takes batches of {fixed} alone")
    return Settings(
        runtime=runtime,
        precision=next((each for each in precisions if each == options.precision), precisions[0]),
        threads=threads,
        replicas=1,
        batch=options.batch or fixed or 1,
    )


def _feeds(options: ProfileOptions, spec: ModelSpec, batch: int, artifact: Path, log: Path) -> dict[str, Array]:
    if options.data is not None:
        if needs_preprocessing(options.data, options.preprocess):
            return _prepared_rows(options, options.data, spec, batch)
        return _rows(options.data, spec, batch, options.columns)
    shapes = row_shapes(spec, options.shapes, options.length)
    with Sandbox(log) as child:
        bounds = child.call(index_bounds, artifact, timeout_s=IMPORT_TIMEOUT_S)
    return random_rows(spec, shapes, batch, bounds, options.seed)


def _rows(data: Path, spec: ModelSpec, batch: int, header: Sequence[str] | None) -> dict[str, Array]:
    """The first rows of a file."""
    parts: list[dict[str, Array]] = []
    found = 0
    for chunk in read_chunks(data, spec, header=header):
        parts.append(chunk.feeds)
        found += chunk.rows
        if found >= batch:
            break
    return _repeated({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, batch)


def _prepared_rows(options: ProfileOptions, data: Path, spec: ModelSpec, batch: int) -> dict[str, Array]:
    """The first images or texts of a file, a folder or an archive, as a study prepares them."""
    files = DataFiles(spec, options.columns, options.preprocess, besides=TARGETS)
    table = files.read(data, batch)
    return _repeated(bind_rows(table, spec, target_name(table, spec, None, None)).feeds, batch)


def _repeated(feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
    """A whole batch, again from the first row where there are too few."""
    return {name: array[np.arange(batch) % len(array)] for name, array in feeds.items()}


def _timed(options: ProfileOptions, subject: Subject, folder: Path) -> LayerTimes:
    turn_s = options.seconds / TURNS / 2
    try:
        return time_layers(subject, folder, turns=TURNS, turn_s=turn_s, timeout_s=RUN_TIMEOUT_S + options.seconds)
    except ModelError as error:  # it names the copy
        raise ModelError(str(options.model), error.found, error.needed) from error
    except SandboxError as error:
        rows = "random rows" if options.data is None else f"the rows of {options.data}"
        needed = "check names, types and shapes of its inputs" if options.data is not None else "give rows with --data"
        raise ModelError(str(options.model), f"it does not run on {rows}: {error}", needed) from error
