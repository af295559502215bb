"""Everything before the search: the model and the data are read, checked and divided, the price is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equipoise.compose.facts import Repeats
from equipoise.compose.servable import Config
from equipoise.compress.base import ModelFacts
from equipoise.compress.build import MORE_DATA, data_use_of
from equipoise.compress.propose import propose_next, propose_recipes, propose_trainings
from equipoise.core.brief import Brief
from equipoise.core.environment import Environment
from equipoise.core.plan import AnswerForm
from equipoise.core.preprocessing import PlacedPreprocessing
from equipoise.core.price import Price
from equipoise.core.recipe import Recipe
from equipoise.core.splits import Splits
from equipoise.core.variant import DataUse, Failure, Variant
from equipoise.flow.dividing import divide
from equipoise.flow.evidence import MAIN, Judge, check_default
from equipoise.flow.importing import native_config
from equipoise.flow.judging import judge_of, meaning_of
from equipoise.flow.material import Material
from equipoise.flow.models import configs_of, read_models
from equipoise.flow.near import check_rows
from equipoise.flow.repeats import known_repeats
from equipoise.flow.traffic import Traffic
from equipoise.host.environment import environment
from equipoise.ingest.data_files import needs_preprocessing
from equipoise.ingest.prices import extrapolation_note, price_for
from equipoise.ingest.raw_brief import with_own_preprocessing
from equipoise.ingest.study_data import StudyData, files_of, load_study_data
from equipoise.ingest.table import read_table
from equipoise.ingest.trace import Trace, busiest_window, read_trace
from equipoise.preprocess.answers import OutputMeaning
from equipoise.store.study import StudyFolder

WINDOW_SHARE, LEAST_WINDOW_S, MOST_WINDOW_S = 0.01, 2.0, 60.0
"""A trace's busiest window is replayed a few times for every finalist, and so lasts this share of the budget."""


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
        files: The image that each row of the data is; empty where rows are no files of their own.
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
    files: tuple[str, ...]
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
        facts = ModelFacts(
            format=variant.format,
            spec=variant.spec,
            operators=variant.operators,
            estimators=variant.estimators,
            environment=self.environment,
            matrix_weights=variant.matrix_weights,
        )
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
    models = read_models(brief, table, study, machine)
    model = models.model
    data = load_study_data(brief, model.spec, table, files_of(brief, model.spec, study.kept_arrays))
    if trace is not None:
        check_rows(trace, _main_rows(data), Path(brief.workload.trace or ""), brief.data.path)
    meaning = meaning_of(brief, model, data, models.baseline, study)
    if brief.quality.distrust_default is not None:
        check_default(brief.quality.distrust_default, meaning)
    divided = divide(brief, data, trace, models.baseline, study)
    judge = judge_of(brief, data, meaning, divided.splits, divided.corruptions)
    recipes, refused = _allowed(models.recipes(propose_recipes), brief.data.data_use)
    trainings: tuple[Recipe, ...] = ()
    if brief.limits.train_s:
        trainings, forbidden = _allowed(models.recipes(propose_trainings), brief.data.data_use)
        refused += forbidden
    note = extrapolation_note(price, machine)
    return Prepared(
        brief=brief,
        material=Material(
            originals=models.variants,
            baseline=models.baseline,
            native=lambda variant: native_config(variant, machine),
            splits=divided.splits,
            calibration=divided.calibration,
            output=meaning.output,
            judge=judge,
            traffic=traffic,
            limits=brief.limits,
            value=brief.value if brief.value.given else None,
            seed=brief.seed,
            cores=machine.cores,
            environment=machine.content_digest,
            requests=divided.requests,
            train=divided.train,
        ),
        judge=judge,
        meaning=meaning,
        originals=models.unbuilt,
        recipes=recipes,
        trainings=trainings,
        refused=refused,
        splits=divided.figures,
        total_rows=_main_rows(data),
        price=price,
        environment=machine,
        columns=data.columns,
        preprocessing=data.preprocessing,
        files=data.files,
        repeats=known_repeats(brief.workload, trace, None if traffic is None else traffic.mean_rate_rps),
        warnings=(
            *model.warnings,
            *data.warnings,
            *divided.notes,
            *([note] if note else []),
            *_composing_note(brief),
        ),
    )


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


def _main_rows(data: StudyData) -> int:
    return int(np.count_nonzero(data.rows.population == MAIN))
