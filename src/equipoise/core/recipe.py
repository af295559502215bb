"""How a variant is made from a model that the person gave."""

from __future__ import annotations

from pydantic import Field, JsonValue

from equipoise.core.noun import Noun
from equipoise.core.training import TRAIN_S


class Step(Noun):
    """One technique with its parameters."""

    technique: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)

    def __str__(self) -> str:
        if not self.parameters:
            return self.technique
        return f"{self.technique}({', '.join(f'{key}={value}' for key, value in sorted(self.parameters.items()))})"


class Recipe(Noun):
    """Ordered steps from a source model to a variant; its digest is the variant's identity.

    Attributes:
        source: `model` for the model under study, else the file name of one of the person's alternatives.
        steps: What is done to it, in order; none for the model as it was given.
    """

    source: str = "model"
    steps: tuple[Step, ...] = ()

    @property
    def is_original(self) -> bool:
        """Whether this is the model under study, as it was given."""
        return self.source == "model" and not self.steps

    @property
    def train_s(self) -> float:
        """Seconds that its steps may train in all; 0 where none of them trains."""
        found = (step.parameters.get(TRAIN_S, 0) for step in self.steps)
        return float(sum(seconds for seconds in found if isinstance(seconds, int | float)))

    @property
    def last_train_s(self) -> float:
        """Seconds that its last step may train in all; 0 where that does not train."""
        return Recipe(steps=self.steps[-1:]).train_s

    def training_for(self, seconds: float) -> Recipe:
        """This recipe, its last step trained for so long."""
        last = self.steps[-1]
        trained = Step(technique=last.technique, parameters={**last.parameters, TRAIN_S: round(seconds, 1)})
        return Recipe(source=self.source, steps=(*self.steps[:-1], trained))

    def then(self, step: Step) -> Recipe:
        """This recipe with one more step at its end."""
        return Recipe(source=self.source, steps=(*self.steps, step))

    def __str__(self) -> str:
        steps = [str(step) for step in self.steps]
        if self.source != "model":
            return " + ".join([self.source, *steps])
        return " + ".join(steps) or "original"
