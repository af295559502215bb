"""Which recipes are worth building for a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest

from equipoise.compress.base import ModelFacts, Technique
from equipoise.core.recipe import Recipe, Step
from equipoise.registry import techniques
from equipoise.runtimes.torch_layers import ONNX_NAMES

MOST_RECIPES, MOST_NEXT = 20, 4
# What usually pays most on CPUs comes first; a technique of a stranger comes after ours.
ORDER = (
    "free_batch", "onnx_form", "torch_openvino", "torch_onnx", "int8_nncf", "smaller_forest", "int8_static",
    "linear_form", "int8_dynamic", "int8_weights", "int4_weights",
    "graph_cleanup", "fp16",
    "student", "prune", "shallow", "low_rank",
)  # fmt: skip


def propose_recipes(facts: ModelFacts, source: str) -> tuple[Recipe, ...]:
    """Recipes of one and two steps for a model, the most promising first, at most 20.

    Each technique says what it would try; their proposals are dealt out in turns, so that a cut at 20 or at a budget
    leaves every technique its best. A change of a scikit-learn model is followed by its ONNX form, which is where it
    pays; a quantisation also starts from the cleaned graph. Where a model takes one batch size, the forms that take
    any come before all others.

    Args:
        facts: What the model is.
        source: `model` for the model under study, else the file name of one of the person's alternatives.
    """
    base = Recipe(source=source)
    first = [base.then(step) for step in _in_turns(facts, base)]
    ordered: list[Recipe] = []
    if facts.format == "torch":
        ordered = first + [recipe.then(step) for recipe in first for step in _next_steps(facts, recipe)]
    elif facts.format == "sklearn":  # ONNX forms first: nearly always the faster ones
        forms = [[recipe.then(step) for step in _next_steps(facts, recipe)] for recipe in first]
        converted = [form[0] if form else recipe for recipe, form in zip(first, forms, strict=True)]
        ordered = [*converted, *(recipe for recipe, form in zip(first, forms, strict=True) if form)]
    else:
        ordered = first + [recipe.then(step) for recipe in first for step in _next_steps(facts, recipe)]
        ordered.sort(key=lambda recipe: recipe.steps[0].technique != "free_batch")
    unique = {recipe.content_digest: recipe for recipe in ordered}
    return tuple(unique.values())[:MOST_RECIPES]


def propose_trainings(facts: ModelFacts, source: str) -> tuple[Recipe, ...]:
    """Recipes whose one step trains, the most promising of each technique first, at most 20; they name no time yet."""
    base = Recipe(source=source)
    return tuple(base.then(step) for step in _in_turns(facts, base, trains=True))[:MOST_RECIPES]


def propose_next(facts: ModelFacts, recipe: Recipe) -> tuple[Recipe, ...]:
    """What is worth building of a variant that was trained: the best idea of each technique that trains nothing.

    Args:
        facts: What the variant is.
        recipe: How it was made.
    """
    same = [technique for technique in _ordered() if not getattr(technique, "reshapes", False)]
    ideas = [technique.propose(facts, recipe)[:1] for technique in same]
    return tuple(recipe.then(step) for steps in ideas for step in steps)[:MOST_NEXT]


def _in_turns(facts: ModelFacts, recipe: Recipe, *, trains: bool = False) -> Iterator[Step]:
    """First proposals of all techniques, then second ones, and so on."""
    proposals = [technique.propose(facts, recipe) for technique in _ordered(trains=trains)]
    for turn in zip_longest(*proposals):
        yield from (step for step in turn if step is not None)


def _next_steps(facts: ModelFacts, recipe: Recipe) -> list[Step]:
    last = recipe.steps[-1]
    installed = techniques()
    if facts.format == "sklearn" and last.technique in ("smaller_forest", "linear_form"):
        size = last.parameters.get("estimators", facts.estimators) if last.technique == "smaller_forest" else None
        changed = replace(facts, estimators=size if isinstance(size, int) else None)
        return _of(installed.get("onnx_form"), changed, recipe)[:1]
    if facts.format == "onnx" and last.technique == "graph_cleanup":
        wanted = ("int8_nncf", "int8_static")
        return [step for name in wanted for step in _of(installed.get(name), facts, recipe)[:1]]
    if last.technique == "torch_onnx":
        exported = replace(facts, format="onnx", operators=_as_onnx(facts.operators))
        names = ("int8_nncf", "int8_static", "int8_dynamic", "int8_weights", "int4_weights", "fp16")
        proposals = [_of(installed.get(name), exported, recipe) for name in names]
        return [step for turn in zip_longest(*proposals) for step in turn if step is not None]
    if last.technique == "free_batch":
        return [step for name in ("int8_nncf", "fp16") for step in _of(installed.get(name), facts, recipe)]
    return []


def _as_onnx(operators: dict[str, int]) -> dict[str, int]:
    """Roughly what torch's exporter will make of a program's operators: enough to tell what is worth trying."""
    found: dict[str, int] = {}
    for name, count in operators.items():
        exported = ONNX_NAMES.get(name, name)
        found[exported] = found.get(exported, 0) + count
    if "scaled_dot_product_attention" in operators:
        count = operators["scaled_dot_product_attention"]
        found |= {"MatMul": found.get("MatMul", 0) + 2 * count, "Softmax": found.get("Softmax", 0) + count}
    return found


def _of(technique: Technique | None, facts: ModelFacts, recipe: Recipe) -> list[Step]:
    return [] if technique is None else technique.propose(facts, recipe)


def _ordered(*, trains: bool = False) -> list[Technique]:
    installed = {name: each for name, each in techniques().items() if getattr(each, "trains", False) == trains}
    names = [name for name in ORDER if name in installed] + [name for name in installed if name not in ORDER]
    return [installed[name] for name in names]
