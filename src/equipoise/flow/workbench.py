"""Carries out what the search asks for: builds, times and answers in child processes, and keeps what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from equipoise.compose.actions import (
    Action,
    Answer,
    Answered,
    Best,
    Build,
    Composable,
    Compose,
    Doubt,
    Doubted,
    Load,
    Loaded,
    LookedUp,
    LookUp,
    NearMatch,
    NearMatched,
    Outcome,
    Race,
    Raced,
    Sped,
    Speed,
    SpeedPoint,
)
from equipoise.compose.servable import Config
from equipoise.compress.base import BuildContext
from equipoise.compress.build import build
from equipoise.compress.training import TOLERANCE, Training
from equipoise.core.profile import Settings
from equipoise.core.recipe import Recipe
from equipoise.core.training import TrainingRecord
from equipoise.core.variant import Failure, Format, Stage, Variant
from equipoise.errors import EquipoiseError, InputError, SandboxError
from equipoise.flow.children import answers_of
from equipoise.flow.composing import compose_stages, doubt
from equipoise.flow.look_up import look_up
from equipoise.flow.material import Material, sample_of
from equipoise.flow.near import match_nearly
from equipoise.flow.opened import OpenedModels
from equipoise.flow.race import race
from equipoise.flow.traffic import put_under_traffic
from equipoise.flow.training import shown, training_of, trains, with_advice
from equipoise.host.sandbox import Sandbox
from equipoise.measure.session import sweep
from equipoise.policy.value import traffic_loss
from equipoise.preprocess.rows import Rows
from equipoise.registry import techniques
from equipoise.store.study import StudyFolder

Array = NDArray[Any]
FASTER: tuple[Format, ...] = ("sklearn", "torch", "tflite", "onnx", "openvino")
"""Formats, the one that is usually faster behind."""
BUILD_SHARE = 0.3
BASELINE_LEAST_S = 10.0
"""What the original's own answers to the certify rows may take at least: without them a whole study is lost."""
TRAINING_GRACE_S = 20.0
"""What a training may take past its time to start, to open what it needs and to save what it made."""
CERTIFY_GRACE_S = 20.0
"""What all proofs together may take past the budget: an answer late by seconds is worth more than none."""


class Workbench:
    """Carries out actions; one child with an opened artifact is kept for the next action that needs the same.

    Args:
        study: Where artifacts, outputs and logs are kept.
        material: What is worked on.
        tell: Told what is being done, in a few words.

    Attributes:
        sample: Real rows to time with, input name to [n, ...].
    """

    def __init__(self, study: StudyFolder, material: Material, tell: Callable[[str], None]) -> None:
        self.study = study
        self.material = material
        self._tell = tell
        self._variants: dict[str, Variant] = {}
        self._baseline_answers: dict[tuple[str, int], dict[str, Array]] = {}
        self.sample = sample_of(material.splits["search"])
        self._opened = OpenedModels(study, material, self.sample)

    def close(self) -> None:
        """End the child that is kept."""
        self._opened.close()

    def carry_out(self, action: Action, remaining_s: float) -> Outcome | Answered:
        """Do what is asked.

        Args:
            action: What to do.
            remaining_s: Wall time that is left of the budget, seconds; below 0 where it has ended.

        Returns:
            What came of it; a `Failure` where it could not be done.
        """
        if isinstance(action, Best):
            return None
        if isinstance(action, Answer) and action.split == "certify":
            remaining_s += CERTIFY_GRACE_S
            if action.config == self.material.baseline:
                remaining_s = max(remaining_s, BASELINE_LEAST_S)
        remaining_s = max(1.0, remaining_s)
        stage: Stage
        match action:
            case Build(recipe=recipe):
                stage, name = "build", str(recipe)
            case Load(entrant=entrant):
                stage, name, recipe = "load", entrant.name, entrant.config.recipe
            case Race():
                stage, name, recipe = "time", "race", Recipe()
            case Speed(config=config):
                stage, name, recipe = "screen", config.name, config.recipe
            case Compose(stages=asked):
                stage, name, recipe = "screen", " and ".join(each.part.name for each in asked), Recipe()
            case Doubt(answers=answers):
                stage, name, recipe = "choose", answers[0].config.name, answers[0].config.recipe
            case LookUp(answered=answered):
                stage, name, recipe = "choose", answered.config.name, answered.config.recipe
            case NearMatch(plan=answered):
                stage, name, recipe = "choose", answered.config.name, answered.config.recipe
            case Answer(config=config, split=split):
                stage = "screen" if split == "search" else "certify" if split == "certify" else "choose"
                name, recipe = config.name, config.recipe
        try:
            return self._do(action, remaining_s)
        except SandboxError as error:
            self.close()
            return Failure(name=name, recipe=recipe, stage=stage, reason=error.message, log=error.log)
        except InputError as error:  # of an artifact in the study's own folder, which says nothing to the person
            return Failure(name=name, recipe=recipe, stage=stage, reason=error.found)
        except EquipoiseError as error:
            return Failure(name=name, recipe=recipe, stage=stage, reason=str(error))

    def recalled(self, action: Action, value: dict[str, Any]) -> Outcome | Answered:
        """What came of an action in an earlier sitting, from what the journal holds of it."""
        if "reason" in value:
            return Failure.model_validate(value)
        match action:
            case Build():
                variant = Variant.model_validate(value)
                self._variants[action.recipe.content_digest] = variant
                return variant
            case Speed():
                return Sped.model_validate(value)
            case Answer():
                return self._judged(action)
            case Compose():
                return Composable.model_validate(value)
            case Doubt():
                return Doubted.model_validate(value)
            case LookUp():
                return LookedUp.model_validate(value)
            case NearMatch():
                return NearMatched.model_validate(value)
            case Race():
                return Raced.model_validate(value)
            case Load():
                return Loaded.model_validate(value)
            case Best():
                return None

    def outputs(self, action: Answer) -> dict[str, Array]:
        """The outputs that an `Answer` kept."""
        return self.study.load_arrays(self._outputs_name(action))

    def trainings(self) -> dict[str, TrainingRecord]:
        """How each variant whose last step trained was trained, by recipe."""
        return {str(each.recipe): each.training for each in self._variants.values() if each.training is not None}

    # --- the actions --------------------------------------------------------------------------------------------

    def _do(self, action: Action, remaining_s: float) -> Outcome | Answered:
        match action:
            case Build():
                return self._build(action.recipe, remaining_s)
            case Speed():
                return self._speed(action, remaining_s)
            case Answer():
                return self._answer(action, remaining_s)
            case Compose():
                return self._compose(action)
            case Doubt():
                return self._doubt(action)
            case LookUp():
                return look_up(self.sample, self.outputs(action.answered), action.near)
            case NearMatch():
                return self._near(action)
            case Race():
                self.close()
                self._tell(f"timing {len(action.entrants)} finalists in turns")
                return race(action, self.study, self.sample, self._opened.memory_cap, self.material.environment)
            case Load():
                self.close()
                self._tell(f"the brief's traffic on {action.entrant.name}")
                return self._load(action)
            case Best():
                return None

    def _build(self, recipe: Recipe, remaining_s: float) -> Variant:
        parent = self._variant(Recipe(source=recipe.source, steps=recipe.steps[:-1]), remaining_s)
        self._tell(f"building {recipe}")
        folder = self.study.new_folder()
        training = self._training(recipe, remaining_s)
        context = BuildContext(
            calibration=self.material.calibration,
            output=self.material.output,
            folder=folder,
            seed=self.material.seed,
            threads=self.material.cores,
            training=training,
        )
        begin = time.monotonic()
        timeout_s = max(5.0, min(remaining_s - 5.0, BUILD_SHARE * self.material.limits.budget_s))
        if training is not None:
            timeout_s = TOLERANCE * recipe.last_train_s + TRAINING_GRACE_S
        metric = "" if self.material.judge is None else self.material.judge.metric.name
        log = self.study.log(f"build-{recipe.content_digest[:16]}")
        with Sandbox(log) as child, shown(training, str(recipe), metric, self._tell):
            try:
                built = child.call(build, recipe, self.study.artifact(parent.artifact), context, timeout_s=timeout_s)
            except SandboxError as error:
                raise error if training is None else with_advice(error) from error
        variant = Variant(
            recipe=recipe,
            artifact=built.digest,
            format=built.facts.format,
            quantized=built.quantized,
            spec=built.facts.spec,
            artifact_bytes=built.artifact_bytes,
            build_s=time.monotonic() - begin,
            data_use=built.data_use,
            tool_versions=built.tool_versions,
            operators=built.facts.operators,
            estimators=built.facts.estimators,
            matrix_weights=built.facts.matrix_weights,
            training=built.training,
        )
        self.study.keep_artifact(folder, built.digest)
        self._opened.check_built(variant, parent, built.fidelity, remaining_s)
        self._variants[recipe.content_digest] = variant
        return variant

    def _training(self, recipe: Recipe, remaining_s: float) -> Training | None:
        """What the last step of a recipe may train with; null where it does not train."""
        if not trains(recipe) or self.material.train is None:
            return None
        native = self._teacher(recipe.source)

        def ask(rows: Rows, batch: int) -> dict[str, Array]:
            self._tell(f"asking the {recipe.source} for its answers to {rows.n:,} training rows")
            return self._opened.ask_alone(native, rows, batch, remaining_s)

        answered = {rows: outputs for (split, rows), outputs in self._baseline_answers.items() if split == "search"}
        return training_of(recipe, self.material, self.study, answered[max(answered)] if answered else {}, ask)

    def _teacher(self, source: str) -> Config:
        """An original in the fastest of its forms that answer as it does: as it was given, where none was built."""
        variant = self.material.originals[source]
        for built in self._variants.values():
            exact = all(techniques()[step.technique].fidelity == "exact" for step in built.recipe.steps)
            if built.recipe.source == source and exact and FASTER.index(built.format) > FASTER.index(variant.format):
                variant = built
        return self.material.native(variant)

    def _speed(self, action: Speed, remaining_s: float) -> Sped:
        config = action.config
        self._tell(f"timing {config.name}")
        settings = Settings(
            runtime=config.runtime,
            precision=config.precision,
            threads=action.threads,
            replicas=action.replicas,
            batch=max(action.batches),
            default=action.default,
        )
        child = self._opened.child(config, settings, remaining_s)
        points = child.call(sweep, action.batches, action.seconds, action.longest_s, timeout_s=max(5.0, remaining_s))
        return Sped(
            points=tuple(
                SpeedPoint(batch=point.batch, rows_per_s=point.rows_per_s, batch_s=point.batch_s) for point in points
            )
        )

    def _answer(self, action: Answer, remaining_s: float) -> Answered:
        self._tell(f"answering {action.rows:,} {action.split} rows with {action.config.name}")
        settings = action.settings
        child = self._opened.child(action.config, settings, remaining_s)
        rows = self.material.splits[action.split].take(slice(0, action.rows))
        outputs = answers_of(child, rows, settings.batch, max(5.0, remaining_s))
        self.study.save_arrays(self._outputs_name(action), outputs)
        return self._judged(action)

    def _judged(self, action: Answer) -> Answered:
        if self.material.judge is None or action.split == "trace":
            return Answered(None, None)
        outputs = self.outputs(action)
        rows = (action.split, action.rows)
        if action.config == self.material.baseline:  # the search has it answer before all others
            self._baseline_answers[rows] = outputs
        baseline = self._baseline_answers[rows]
        judgement, quality = self.material.judge(outputs, baseline, *rows)
        referred = action.config.untrusted == "refer"
        floor, trusted = self.material.judge.floor_of(outputs, baseline, *rows, referred=referred)
        return Answered(judgement, quality, floor, trusted, self.material.judge.error_loss(outputs, baseline, *rows))

    def _compose(self, action: Compose) -> Composable:
        if self.material.judge is None:
            raise RuntimeError("nothing is composed where nothing is judged")
        self._tell(f"putting {' and '.join(asked.part.name for asked in action.stages)} together")
        rows = action.stages[0].answers[0].rows
        evidence = self.material.judge.evidence(self._baseline_answers["search", rows], "search", rows)
        return compose_stages(action, evidence, self.material.judge, self.outputs)

    def _doubt(self, action: Doubt) -> Doubted:
        if self.material.judge is None:
            raise RuntimeError("nothing is doubted where nothing is judged")
        rows = action.answers[0].rows
        evidence = self.material.judge.evidence(self._baseline_answers["search", rows], "search", rows)
        return doubt(action, evidence, self.material.judge, self.outputs)

    def _near(self, action: NearMatch) -> NearMatched:
        if self.material.judge is None or self.material.requests is None:
            raise RuntimeError("nothing is matched where nothing is judged, or it is not known what was asked for")
        self._tell("trying how nearly inputs must match to share an answer")
        requests = self.material.requests
        return match_nearly(action, self.outputs, requests, self.material.judge, self.material.splits)

    def _load(self, action: Load) -> Loaded:
        if self.material.traffic is None:
            raise RuntimeError("there is no traffic to load")
        loaded = put_under_traffic(
            action,
            self.material.traffic,
            self.study,
            self.sample,
            self._opened.memory_cap(action.entrant.config),
            self.material.environment,
            self.material.seed,
            self.material.limits.p99_s,
        )
        value, samples = self.material.value, loaded.profile.samples
        if value is None or samples is None:
            return loaded
        seen, limit_s = self.study.load_arrays(samples), self.material.limits.p99_s
        loss = traffic_loss(seen["latency_s"], int(seen["unanswered"]), value.latency_threshold_s, limit_s)
        return loaded.model_copy(update={"loss": loss})

    # --- look-ups -----------------------------------------------------------------------------------------------

    def _variant(self, recipe: Recipe, remaining_s: float) -> Variant:
        if not recipe.steps:
            return self.material.originals[recipe.source]
        known = self._variants.get(recipe.content_digest)
        return known if known is not None else self._build(recipe, remaining_s)

    def _outputs_name(self, action: Answer) -> str:
        return f"{action.split}-{action.content_digest}"
