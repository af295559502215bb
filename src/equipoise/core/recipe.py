"""How a variant is made from a model that the person gave."""

from __future__ import annotations

from pydantic import Field, JsonValue

from equipoise.core.noun import Noun


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

    def then(self, step: Step) -> Recipe:
        """This recipe with one more step at its end."""
        return Recipe(source=self.source, steps=(*self.steps, step))

    def __str__(self) -> str:
        steps = [str(step) for step in self.steps]
        if self.source != "model":
            return " + ".join([self.source, *steps])
        return " + ".join(steps) or "original"
