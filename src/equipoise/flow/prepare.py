"""Everything before the search: the model and the data are read, checked and divided, the price is looked up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from equipoise.compose.servable import Config
from equipoise.compose.state import Repeats
from equipoise.compress.base import ModelFacts
from equipoise.compress.build import MORE_DATA, data_use_of
from equipoise.compress.propose import propose_next, propose_recipes, propose_trainings
from equipoise.core.brief import Brief
from equipoise.core.corruption import Corruption
from equipoise.core.environment import Environment
from equipoise.core.plan import AnswerForm
from equipoise.core.preprocessing import PlacedPreprocessing
from equipoise.core.price import Price
from equipoise.core.profile import Settings
from equipoise.core.recipe import Recipe
from equipoise.core.splits import Splits
from equipoise.core.variant import DataUse, Failure, Variant
from equipoise.errors import BriefError, DataError, ModelError, SandboxError
from equipoise.flow.children import open_child
from equipoise.flow.corrupting import with_corruptions
from equipoise.flow.evidence import MAIN, Judge, check_default, numbered
from equipoise.flow.importing import IMPORT_TIMEOUT_S, import_in_child, native_config
from equipoise.flow.material import Material
from equipoise.flow.near import check_rows, requests_of
from equipoise.flow.pricing import price_of_errors
from equipoise.flow.repeats import known_repeats
from equipoise.flow.traffic import Traffic
from equipoise.flow.workbench import CHECK_ROWS
from equipoise.host.environment import environment
from equipoise.ingest.data_files import needs_preprocessing
from equipoise.ingest.model import ImportedModel, check_alternative
from equipoise.ingest.prices import extrapolation_note, price_for
from equipoise.ingest.raw_brief import with_own_preprocessing
from equipoise.ingest.splits import split_rows
from equipoise.ingest.study_data import StudyData, files_of, load_study_data
from equipoise.ingest.table import Table, read_table
from equipoise.ingest.trace import Trace, busiest_window, read_trace
from equipoise.measure.session import answer
from equipoise.preprocess.answers import OutputMeaning
from equipoise.preprocess.meaning import infer_meaning
from equipoise.preprocess.person import person_scores
from equipoise.preprocess.rows import Rows
from equipoise.registry import runtimes
from equipoise.stats.metrics import metric_named
from equipoise.store.study import StudyFolder

Array = NDArray[Any]
WINDOW_SHARE, LEAST_WINDOW_S, MOST_WINDOW_S = 0.01, 2.0, 60.0
"""A trace's busiest window is replayed a few times for every finalist, and so lasts this share of the budget."""
FEWEST_TRAINING_ROWS = 50
_imported = TypeAdapter(ImportedModel)


@dataclass(frozen=True)
class Prepared:
    """What the search starts from, and what the answer is written with.

    Attributes:
        brief: What is wanted.
        material: What the workbench works on.
        judge: Judges candidates; null with the metric `none`.
        meaning: What the judged output holds.
        originals: Other runtimes and precisions for the artifact as given, and the alternatives in theirs.
        recipes: What is worth building.
        trainings: What is worth training.
        refused: What would be worth building, but takes more of the data than the brief lets go into it.
        splits: How the rows were divided.
        total_rows: Rows of the data file.
        price: Of this machine.
        environment: This machine.
        columns: Columns of the data file that the model's single input is made from, in order; empty where inputs are
            found by name.
        preprocessing: How raw images or texts become inputs; null where rows are tensors or columns already.
        repeats: What is known of requests that repeat earlier ones; null for nothing.
        warnings: What the person should know.
    """

    brief: Brief
    material: Material
    judge: Judge | None
    meaning: OutputMeaning
    originals: tuple[Config, ...]
    recipes: tuple[Recipe, ...]
    trainings: tuple[Recipe, ...]
    refused: tuple[Failure, ...]
    splits: Splits
    total_rows: int
    price: Price
    environment: Environment
    columns: tuple[str, ...]
    preprocessing: PlacedPreprocessing | None
    repeats: Repeats | None
    warnings: tuple[str, ...]

    @property
    def composable_form(self) -> AnswerForm | None:
        """What the judged output holds; null where the answers of several models cannot be put together."""
        meaning = self.meaning
        if self.judge is None or meaning.function is not None or meaning.multilabel:
            return None
        if self.brief.data.data_use != "labelled":
            return None
        return AnswerForm(output=meaning.output, kind=meaning.kind)

    def configs_of(self, variant: Variant) -> tuple[Config, ...]:
        """Runtimes and precisions for a variant that was built."""
        return configs_of(variant, self.environment)

    def next_recipes(self, variant: Variant) -> tuple[Recipe, ...]:
        """What is worth building of a variant that was trained."""
        facts = ModelFacts(variant.format, variant.spec, variant.operators, variant.estimators, self.environment)
        return _allowed(propose_next(facts, variant.recipe), self.brief.data.data_use)[0]


def prepare(brief: Brief, study: StudyFolder) -> Prepared:
    """Read, check and divide everything that the brief names.

    Raises:
        InputError: Something the person gave cannot be used.
    """
    brief = with_own_preprocessing(brief)
    machine = environment()
    price = price_for(brief.hardware, machine)
    trace = None if brief.workload.trace is None else read_trace(Path(brief.workload.trace))
    traffic = _traffic(brief, trace)
    path = Path(brief.data.path)
    table = None if needs_preprocessing(path, brief.preprocess) else read_table(path, brief.data.columns)
    model, original = _import(Path(brief.model.path), Recipe(), brief, table, study)
    files = files_of(brief, model.spec, study.kept_arrays)
    data = load_study_data(brief, model.spec, table, files)
    if trace is not None:
        check_rows(trace, _main_rows(data), Path(brief.workload.trace or ""), brief.data.path)
    alternatives = _alternatives(brief, model, table, study)
    baseline = native_config(original, machine)
    meaning = _meaning(brief, model, data, baseline, study)
    if brief.quality.distrust_default is not None:
        check_default(brief.quality.distrust_default, meaning)
    index, splits = split_rows(
        data.rows,
        groups=data.groups,
        calibration=data.calibration,
        train=data.train,
        seed=brief.seed,
        source=brief.data.path,
    )
    calibration = data.calibration
    if calibration is None:
        calibration = data.rows.take(np.random.default_rng(brief.seed).permutation(index.calibrate))
    # In random order: where the budget allows some of the rows, it takes the first.
    shuffle = np.random.default_rng(brief.seed).permutation
    known = numbered(data.rows)
    rows = {"search": known.take(shuffle(index.search)), "certify": known.take(shuffle(index.certify))}
    corrupted = with_corruptions(brief, rows, baseline, study, data.preprocessing)
    rows = corrupted.splits
    asked = requests_of(trace, index.certify)
    if asked is not None:
        rows["trace"] = data.rows.take(asked[1])
    judge = _judge(brief, data, meaning, rows, corrupted.corruptions)
    variants = {"model": original} | {source: variant for source, (_, variant) in alternatives.items()}
    facts = {"model": model} | {source: imported for source, (imported, _) in alternatives.items()}
    recipes, refused = _allowed(_recipes(facts, machine, propose_recipes), brief.data.data_use)
    trainings: tuple[Recipe, ...] = ()
    if brief.limits.train_s:
        trainings, forbidden = _allowed(_recipes(facts, machine, propose_trainings), brief.data.data_use)
        refused += forbidden
    note = extrapolation_note(price, machine)
    return Prepared(
        brief=brief,
        material=Material(
            originals=variants,
            baseline=baseline,
            native=lambda variant: native_config(variant, machine),
            splits=rows,
            calibration=calibration,
            output=meaning.output,
            judge=judge,
            traffic=traffic,
            limits=brief.limits,
            value=brief.value if brief.value.given else None,
            seed=brief.seed,
            cores=machine.cores,
            environment=machine.content_digest,
            requests=None if asked is None else asked[0],
            train=_training_rows(brief, data, index.train),
        ),
        judge=judge,
        meaning=meaning,
        originals=_originals(baseline, [variant for _, variant in alternatives.values()], machine),
        recipes=recipes,
        trainings=trainings,
        refused=refused,
        splits=splits,
        total_rows=_main_rows(data),
        price=price,
        environment=machine,
        columns=data.columns,
        preprocessing=data.preprocessing,
        repeats=known_repeats(brief.workload, trace, None if traffic is None else traffic.mean_rate_rps),
        warnings=(
            *model.warnings,
            *data.warnings,
            *corrupted.notes,
            *([note] if note else []),
            *_composing_note(brief),
        ),
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


def _originals(baseline: Config, alternatives: Sequence[Variant], machine: Environment) -> tuple[Config, ...]:
    """What can be measured unbuilt, the person's alternatives in their own runtimes first: they may save the most."""
    given = [configs_of(variant, machine) for variant in alternatives]
    others = [config for config in configs_of(baseline.variant, machine) if config != baseline]
    return (*(configs[0] for configs in given), *others, *(config for configs in given for config in configs[1:]))


def _alternatives(
    brief: Brief, model: ImportedModel, table: Table | None, study: StudyFolder
) -> dict[str, tuple[ImportedModel, Variant]]:
    """The person's other models for the same job, by recipe source."""
    found: dict[str, tuple[ImportedModel, Variant]] = {}
    for path in map(Path, brief.model.alternatives):
        source = _source_name(path, found)
        found[source] = _import(path, Recipe(source=source), brief, table, study)
        check_alternative(path, model, found[source][0])
    return found


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


def _training_rows(brief: Brief, data: StudyData, index: NDArray[np.intp]) -> Rows | None:
    """Rows that techniques may train on: none that repeats a row of the data. True answers only where they may go in.

    Raises:
        DataError: Too few are left.
    """
    if data.train is None or not brief.limits.train_s:
        return None
    if len(index) < FEWEST_TRAINING_ROWS:
        raise DataError(
            str(brief.data.train),
            f"{data.train.n:,} rows, of which {len(index):,} repeat no row of {brief.data.path}",
            f"needed at least {FEWEST_TRAINING_ROWS} to train on that are not among those that judge",
        )
    rows = data.train.take(index)
    return rows if brief.data.data_use == "labelled" else replace(rows, target=None)


def _recipes(
    models: dict[str, ImportedModel], machine: Environment, propose: Callable[[ModelFacts, str], tuple[Recipe, ...]]
) -> tuple[Recipe, ...]:
    """The recipes of all sources, taking one of each in turn."""
    proposed = [
        propose(
            ModelFacts(
                format=model.format,
                spec=model.spec,
                operators=model.operators,
                estimators=model.estimators,
                environment=machine,
                matrix_weights=model.matrix_weights,
            ),
            source,
        )
        for source, model in models.items()
    ]
    longest = max(map(len, proposed), default=0)
    return tuple(recipes[turn] for turn in range(longest) for recipes in proposed if turn < len(recipes))


def _allowed(recipes: tuple[Recipe, ...], most: DataUse) -> tuple[tuple[Recipe, ...], tuple[Failure, ...]]:
    """Recipes that take no more of the data than may go into what is made, and why the others are not built."""
    allowed, refused = [], []
    for recipe in recipes:
        use = data_use_of(recipe)
        if MORE_DATA.index(use) <= MORE_DATA.index(most):
            allowed.append(recipe)
        else:
            reason = f"it reads {use} rows of the data, and data_use = {most} forbids that"
            refused.append(Failure(name=str(recipe), recipe=recipe, stage="build", reason=reason))
    return tuple(allowed), tuple(refused)


def _composing_note(brief: Brief) -> tuple[str, ...]:
    most = brief.data.data_use
    if most == "labelled" or brief.quality.metric == "none":
        return ()
    return (
        "cascades, ensembles and distrusted answers were not tried: their thresholds are learnt from rows with true "
        f"answers, and data_use = {most} forbids that",
    )


def _traffic(brief: Brief, trace: Trace | None) -> Traffic | None:
    workload = brief.workload
    if trace is not None:
        window_s = min(trace.duration_s, MOST_WINDOW_S, max(LEAST_WINDOW_S, WINDOW_SHARE * brief.limits.budget_s))
        times = busiest_window(trace, window_s, brief.seed)
        return Traffic(len(times) / window_s, trace.mean_rate_rps, workload, times, window_s)
    if workload.rate_rps is None:
        return None
    return Traffic(workload.rate_rps, workload.rate_rps, workload)


def _judge(
    brief: Brief,
    data: StudyData,
    meaning: OutputMeaning,
    splits: dict[str, Rows],
    corruptions: tuple[Corruption, ...],
) -> Judge | None:
    name = _metric_name(brief, data, meaning)
    usd_per_error = price_of_errors(brief, name, meaning)
    if name == "none":
        return None
    return Judge(
        metric=metric_named(name, _positive_class(brief, meaning)),
        meaning=meaning,
        data=brief.data,
        max_drop=brief.quality.max_drop,
        confidence=brief.quality.confidence,
        splits=splits,
        seed=brief.seed,
        floor=brief.quality.floor,
        default=brief.quality.distrust_default,
        corruptions=corruptions,
        usd_per_error=usd_per_error,
    )


def _metric_name(brief: Brief, data: StudyData, meaning: OutputMeaning) -> str:
    """The brief's metric; else R2 for numbers, accuracy for classes, and agreement where there is no target."""
    if brief.quality.metric is not None:
        return brief.quality.metric
    if data.rows.target is not None:
        return "r2" if meaning.kind == "value" else "accuracy"
    if meaning.kind == "value":
        raise DataError(
            brief.data.path,
            "it has no target, and the model predicts numbers",
            "name the target with --target, or compare speed alone with --metric none",
        )
    return "agreement"


def _positive_class(brief: Brief, meaning: OutputMeaning) -> int | None:
    wanted = brief.quality.positive_class
    if wanted is None:
        return None
    names = [str(label) for label in meaning.labels or ()]
    if wanted not in names:
        raise BriefError("--positive-class", f"found {wanted!r}", f"needed one of the classes: {', '.join(names)}")
    return names.index(wanted)


def _meaning(
    brief: Brief, model: ImportedModel, data: StudyData, baseline: Config, study: StudyFolder
) -> OutputMeaning:
    """What the judged output holds, from the baseline's answers to some rows: the first proof that it runs at all."""
    probe = _probe_rows(data.rows)
    settings = Settings(runtime=baseline.runtime, precision=baseline.precision, threads=1, replicas=1, batch=1)
    metric = brief.quality.metric
    if metric is None and data.rows.target is None:
        metric = "agreement"
    try:
        with open_child(baseline, settings, probe.feeds, study, "first-answers", timeout_s=IMPORT_TIMEOUT_S) as child:
            outputs: dict[str, Array] = child.call(answer, probe.feeds, 16, timeout_s=IMPORT_TIMEOUT_S)
    except SandboxError as error:
        raise _rejected(brief, data.rows, error) from error
    if metric is not None and ":" in metric:
        person_scores(metric, outputs, probe.target)  # whatever is wrong with it shows now
    return infer_meaning(
        model.spec,
        outputs,
        target=data.rows.target,
        metric=metric,
        output=brief.model.output,
        output_kind=brief.model.output_kind,
        labels=brief.model.labels,
        class_labels=model.class_labels or data.classes,
        task=model.task,
        multilabel=model.multilabel,
    )


def _main_rows(data: StudyData) -> int:
    return int(np.count_nonzero(data.rows.population == MAIN))


def _probe_rows(rows: Rows) -> Rows:
    """The first rows, and for each column that has missing values the first row that has one."""
    index = list(range(min(CHECK_ROWS, rows.n)))
    for array in rows.feeds.values():
        missing = _missing_rows(array)
        if len(missing):
            index.append(int(missing[0]))
    return rows.take(np.array(sorted(set(index)), dtype=np.intp))


def _missing_rows(array: Array) -> NDArray[np.intp]:
    flat = array.reshape(len(array), -1)
    if flat.dtype == object:
        return np.flatnonzero([any(value is None for value in row) for row in flat])
    if flat.dtype.kind == "f":
        return np.flatnonzero(np.isnan(flat).any(axis=1))
    return np.empty(0, dtype=np.intp)


def _rejected(brief: Brief, rows: Rows, error: SandboxError) -> DataError | ModelError:
    holes = {name: missing for name, array in rows.feeds.items() if len(missing := _missing_rows(array))}
    if holes:
        found = ", ".join(f"{name!r} ({len(rows_)} rows, first row {rows_[0]})" for name, rows_ in holes.items())
        return DataError(
            brief.data.path,
            f"values are missing in {found}, and the model does not run: {error}",
            "fill them, leave these rows out, or put an imputer into the pipeline",
        )
    return ModelError(
        brief.model.path,
        f"it does not run on the rows of {brief.data.path}: {error}",
        "check names, types and shapes of its inputs against the data",
    )
