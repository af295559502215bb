"""What can be timed, judged and served: a model in a runtime and a precision, or several that answer together."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from equipoise.core.candidate import CandidateStage
from equipoise.core.noun import Noun
from equipoise.core.plan import AcceptRule, AnswerForm, BatchRule, Combine, DistrustAnswer, PlanStage, StageModel
from equipoise.core.profile import Precision, RuntimeName, Settings
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Variant


class Config(Noun):
    """A variant in a runtime and a precision: what quality belongs to."""

    variant: Variant
    runtime: RuntimeName
    precision: Precision

    @property
    def name(self) -> str:
        """Readable and unique within a study."""
        return f"{self.variant.recipe} @ {self.runtime} {self.precision}"

    @property
    def recipe(self) -> Recipe:
        """How it was made."""
        return self.variant.recipe

    @property
    def digest(self) -> str:
        """Of its artifact."""
        return self.variant.artifact

    @property
    def configs(self) -> tuple[Config, ...]:
        """The configs it consists of: itself."""
        return (self,)

    @property
    def artifact_bytes(self) -> int:
        """Size of its files."""
        return self.variant.artifact_bytes

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size it takes; null where any will do."""
        return self.variant.spec.fixed_batch

    @property
    def form(self) -> AnswerForm | None:
        """A single model's outputs are passed on as they are."""
        return None

    @property
    def untrusted(self) -> DistrustAnswer | None:
        """A single model's answers always stand."""
        return None

    @property
    def data_use(self) -> DataUse:
        """The most of the data that any step of its recipe read."""
        return self.variant.data_use

    @property
    def roles(self) -> tuple[CandidateStage, ...]:
        """None: it is alone."""
        return ()

    def stages(self, settings: Settings) -> tuple[PlanStage, ...]:
        """As a plan has it: one stage whose answers stand."""
        return (PlanStage(models=(_model(self, settings),), batch_rule=BatchRule(max_rows=settings.batch)),)


class Part(Noun):
    """A stage of a composed plan, before it has a setting.

    Attributes:
        members: One config, or several whose answers are combined.
        combine: How.
        accept: When its answer stands; null where it always does.
        share: Share of the search rows that reach it.
    """

    members: tuple[Config, ...]
    combine: Combine | None = None
    accept: AcceptRule | None = None
    share: float = 1.0

    @property
    def name(self) -> str:
        """Readable."""
        names = " and ".join(member.name for member in self.members)
        return names if self.combine is None else f"{self.combine} of ({names})"


class Composed(Noun):
    """Several configs that answer together: a cascade, or an ensemble. It stands wherever a config does.

    Attributes:
        parts: Its stages, in the order they are asked.
        form: What the judged output holds.
        untrusted: What is given where the last stage does not trust its answer; null to give that answer.
        default: The label, or the number, that is given as a default.
    """

    parts: tuple[Part, ...]
    form: AnswerForm
    untrusted: DistrustAnswer | None = None
    default: str | None = None

    @property
    def name(self) -> str:
        """Readable and unique within a study."""
        if len(self.parts) == 1:
            return self.parts[0].name
        until = [
            f"{part.name} where {part.accept.measure} >= {part.accept.at_least:.4g}" if part.accept else part.name
            for part in self.parts
        ]
        return f"cascade: {', else '.join(until)}"

    @property
    def kind(self) -> Literal["cascade", "ensemble"]:
        """What it is."""
        return "cascade" if len(self.parts) > 1 else "ensemble"

    @property
    def recipe(self) -> Recipe:
        """How it is put together."""
        parts: list[JsonValue] = [part.name for part in self.parts]
        return Recipe(steps=(Step(technique=self.kind, parameters={"stages": parts, "plan": self.digest[:12]}),))

    @property
    def digest(self) -> str:
        """Of the whole composition, its thresholds and calibrations included."""
        return self.content_digest

    @property
    def configs(self) -> tuple[Config, ...]:
        """The configs it consists of, each once."""
        return tuple({member.name: member for part in self.parts for member in part.members}.values())

    @property
    def artifact_bytes(self) -> int:
        """Size of the files of all its models."""
        return sum({config.digest: config.artifact_bytes for config in self.configs}.values())

    @property
    def fixed_batch(self) -> int | None:
        """Null: only models that take any batch size are composed."""
        return None

    @property
    def runtime(self) -> RuntimeName:
        """Of its last stage."""
        return self.parts[-1].members[0].runtime

    @property
    def precision(self) -> Precision:
        """Of its last stage."""
        return self.parts[-1].members[0].precision

    @property
    def data_use(self) -> DataUse:
        """Its thresholds and calibrations are learnt from rows whose right answers are known."""
        return "labelled"

    @property
    def roles(self) -> tuple[CandidateStage, ...]:
        """What each stage does, on the search rows."""
        later = [part.share for part in self.parts[1:]] + [0.0]
        return tuple(
            CandidateStage(
                name=part.name,
                accepts="" if part.accept is None else f"{part.accept.measure} >= {part.accept.at_least:.4g}",
                share_reached=part.share,
                share_answered=part.share - passed_on,
            )
            for part, passed_on in zip(self.parts, later, strict=True)
        )

    def stages(self, settings: Settings) -> tuple[PlanStage, ...]:
        """As a plan has it: every model with the same threads and replicas, so that a free one can run any stage."""
        return tuple(
            PlanStage(
                models=tuple(_model(member, settings) for member in part.members),
                combine=part.combine,
                batch_rule=BatchRule(max_rows=settings.batch),
                accept=part.accept,
                share=part.share,
            )
            for part in self.parts
        )


Servable = Config | Composed
"""What can be timed, judged and served."""


class Entrant(Noun):
    """A config, or a composition, in one setting: what speed and cost belong to."""

    name: str
    config: Servable
    settings: Settings


def single(config: Servable) -> Config:
    """A config that is none of several.

    Raises:
        TypeError: It is a composition.
    """
    if not isinstance(config, Config):
        raise TypeError(f"{config.name} is composed of several configs")
    return config


def _model(config: Config, settings: Settings) -> StageModel:
    own = settings.model_copy(update={"runtime": config.runtime, "precision": config.precision})
    return StageModel(artifact=config.variant.artifact, format=config.variant.format, settings=own)
