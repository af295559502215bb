"""Which families there are, for what, and in which sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from torch import nn

from equipoise.errors import TechniqueError
from equipoise.students.bag_of_embeddings import bag_of_embeddings
from equipoise.students.efficientnet import efficientnet
from equipoise.students.mlp import mlp
from equipoise.students.mobilenet import mobilenet
from equipoise.students.small_cnn import small_cnn
from equipoise.students.small_resnet import small_resnet
from equipoise.students.task import Kind, Task
from equipoise.students.text_cnn import text_cnn
from equipoise.students.transformer import transformer

Factory = Callable[[Task, int, int], nn.Module]


@dataclass(frozen=True)
class Family:
    """One family of students.

    Attributes:
        make: Makes an untrained body from a task, a width and a depth.
        kinds: What it can be fed.
        depth: Its usual depth.
        widths: Widths from small to large, of which a search picks.
    """

    make: Factory
    kinds: tuple[Kind, ...]
    depth: int
    widths: tuple[int, ...]


FAMILIES: dict[str, Family] = {
    "small_cnn": Family(small_cnn, ("image",), 2, (8, 16, 24, 32, 48, 64)),
    "small_resnet": Family(small_resnet, ("image",), 1, (8, 16, 24, 32, 48, 64)),
    "mobilenet": Family(mobilenet, ("image",), 2, (8, 16, 24, 32, 48)),
    "efficientnet": Family(efficientnet, ("image",), 2, (8, 16, 24, 32)),
    "bag_of_embeddings": Family(bag_of_embeddings, ("text",), 1, (16, 32, 64, 128)),
    "text_cnn": Family(text_cnn, ("text",), 1, (32, 64, 96, 128)),
    "transformer": Family(transformer, ("text",), 2, (32, 64, 128, 192)),
    "mlp": Family(mlp, ("table", "image"), 2, (16, 32, 64, 128, 256)),
}


def family_named(name: str) -> Family:
    """Find a family, or load a person's own factory.

    Args:
        name: A family's name, or `module:function` of a function that takes a task, a width and a depth.

    Raises:
        TechniqueError: There is no such family, or the factory cannot be loaded.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise TechniqueError(
            f"there is no family {name!r}; there are {', '.join(FAMILIES)}, or give your own as module:function"
        )
    try:
        make: Factory = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise TechniqueError(
            f"the factory {name} cannot be loaded: {error}; install the module that holds it"
        ) from error
    return Family(make, ("image", "text", "table"), 1, (16, 32, 64))


def families_for(task: Task) -> dict[str, Family]:
    """The families that a task can be given to."""
    return {name: family for name, family in FAMILIES.items() if task.kind in family.kinds}
