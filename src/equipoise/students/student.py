"""A whole student: a model's inputs in, the model's outputs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from equipoise.core.tensor import TensorSpec
from equipoise.errors import TechniqueError
from equipoise.students.families import family_named
from equipoise.students.intake import intake_for
from equipoise.students.task import Task

AnswerKind = Literal["logits", "probabilities", "value"]


class Student(nn.Module):
    """A network that takes the model's inputs as they come and gives its outputs under their own names.

    Args:
        task: What it is fed and must give.
        family: A family's name, or `module:function`.
        width: How wide.
        depth: How deep; null for the family's usual depth.
        outputs: The model's outputs.
        judged: Name of the output that it is taught.
        kind: What that output holds.

    Raises:
        TechniqueError: The model has an output that cannot be made from the one that is taught.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        task: Task,
        family: str,
        width: int,
        depth: int | None,
        outputs: Sequence[TensorSpec],
        judged: str,
        kind: AnswerKind,
    ) -> None:
        super().__init__()
        found = family_named(family)
        if task.kind not in found.kinds:
            raise TechniqueError(f"{family} works on {' and '.join(found.kinds)} rows, not on {task.kind} rows")
        self.task, self.kind, self.judged = task, kind, judged
        self.specs = tuple(outputs)
        for spec in outputs:
            if spec.name != judged and not (spec.dtype in ("int64", "int32") and len(spec.shape) == 1):
                raise TechniqueError(f"a student is taught {judged!r} and cannot give the output {spec.name!r} besides")
        self.intake = intake_for(task)
        self.body = found.make(task, width, found.depth if depth is None else depth)
        self.register_buffer("centre", torch.zeros(1))
        self.register_buffer("spread", torch.ones(1))

    def scale(self, centre: float, spread: float) -> None:
        """Have the body compute values in units of their own spread."""
        self.centre.fill_(centre)
        self.spread.fill_(spread)

    def teachable(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What is taught: logits of the classes, or values; [n, outputs]."""
        answers: Tensor = self.body(self.intake(inputs))
        return answers * self.spread + self.centre if self.kind == "value" else answers

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Answer a batch: inputs in the model's order in, outputs in the model's order out."""
        answers = self.teachable(dict(zip(self.task.inputs, inputs, strict=True)))
        given = tuple(self._output(spec, answers) for spec in self.specs)
        return given if len(given) > 1 else given[0]

    def _output(self, spec: TensorSpec, answers: Tensor) -> Tensor:
        if spec.name != self.judged:
            labels = answers.argmax(1)
            return labels.int() if spec.dtype == "int32" else labels
        answers = torch.softmax(answers, 1) if self.kind == "probabilities" else answers
        answers = answers.double() if spec.dtype == "float64" else answers
        return answers.squeeze(1) if len(spec.shape) == 1 else answers
