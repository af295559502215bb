"""Names of candidates as people read them.

A study's names are unique and complete: `resnet20.onnx + int8_nncf(preset=mixed) @ openvino int8, 1 thread, batch 8`. A
picture or a sentence needs them short, and those of composed candidates stage by stage. Source files have whatever name
people gave them, so what cannot be read as a name of that form is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from equipoise.core.candidate import Candidate, CandidateStage
from equipoise.core.recipe import Recipe

Kind = Literal["single model", "cascade", "ensemble"]

ALWAYS = "always"
COMPOSED: dict[str, Kind] = {"cascade": "cascade", "ensemble": "ensemble"}
MEASURES = {
    "max_probability": "its likeliest answer has a probability of at least {}",
    "margin": "its likeliest answer leads the second by at least {}",
    "entropy": "its certainty (1 - entropy) is at least {}",
    "agreement": "the share of its members that agree is at least {}",
    "spread": "minus the spread of its members is at least {}",
}
PRECISIONS = {"int8_bf16": "int8"}
_SETTING = re.compile(r", (\d+ threads?(?: x \d+ replicas)?, batch \d+)$")
_CONFIG = re.compile(r"^(?P<recipe>.+) @ (?P<runtime>\S+) (?P<precision>[a-z0-9_]+)(?P<rest>.*)$", re.DOTALL)
_TECHNIQUE = re.compile(r"^([a-z][a-z0-9_]*)(?:\(.*\))?$", re.DOTALL)
_TOGETHER = re.compile(r"^(mean|vote) of \((.+)\)$", re.DOTALL)
_WHERE = re.compile(r"^(.+) where ([a-z_]+) >= (\S+)$", re.DOTALL)
_ONLY_PRECISION = re.compile(r"^(?:int8_\w+|fp16|graph_cleanup|free_batch)$")


@dataclass(frozen=True)
class Composition:
    """How a candidate is put together.

    Attributes:
        kind: What it is.
        stages: In the order they are asked; shares are null where nothing was said of them.
        setting: Threads, replicas and batch; empty where it was never run.
    """

    kind: Kind
    stages: tuple[NamedStage, ...]
    setting: str = ""


@dataclass(frozen=True)
class NamedStage:
    """One stage of it: its configs, when its answer stands (empty for always), and its shares, 0 to 1."""

    name: str
    accepts: str = ""
    share_reached: float | None = None
    share_answered: float | None = None


def composition(name: str, stages: Sequence[CandidateStage] = ()) -> Composition | None:
    """Read a candidate's name; null for a single model.

    Args:
        name: As the study made it.
        stages: What is known of its stages, where it is.

    Example:
        >>> found = composition("cascade: a.onnx @ openvino int8 where margin >= 0.5, else original @ openvino f32")
        >>> [(stage.name, stage.accepts) for stage in found.stages]
        [('a.onnx @ openvino int8', 'margin >= 0.5'), ('original @ openvino f32', '')]
    """
    setting = _SETTING.search(name)
    body = name[: setting.start()] if setting else name
    named: list[NamedStage]
    kind: Kind
    if body.startswith("cascade: "):
        kind, named = "cascade", [_stage(part) for part in _parts(body.removeprefix("cascade: "), ", else ")]
    elif _TOGETHER.match(body):
        kind, named = "ensemble", [NamedStage(body)]
    else:
        return None
    if stages:
        named = [NamedStage(each.name, each.accepts, each.share_reached, each.share_answered) for each in stages]
    return Composition(kind, tuple(named), setting.group(1) if setting else "")


def composition_of(candidate: Candidate) -> Composition | None:
    """How a candidate is put together; null for a single model. Its recipe says so, whatever its name."""
    kind = kind_of(candidate.recipe)
    if kind == "single model":
        return None
    found = composition(candidate.name, candidate.stages)
    if found is not None:
        return found
    if candidate.stages:
        named = tuple(
            NamedStage(each.name, each.accepts, each.share_reached, each.share_answered) for each in candidate.stages
        )
    else:
        named = tuple(NamedStage(name) for name in _recipe_stages(candidate.recipe))
    return Composition(kind, named)


def kind_of(recipe: Recipe) -> Kind:
    """What a recipe makes."""
    return COMPOSED.get(recipe.steps[0].technique, "single model") if len(recipe.steps) == 1 else "single model"


def made_by(recipe: Recipe) -> str:
    """A recipe in words: a composed one by its stages."""
    kind = kind_of(recipe)
    stages = _recipe_stages(recipe)
    if kind == "single model" or not stages:
        return str(recipe)
    return f"{kind} of {', then '.join(stages)}"


def members(stage: str) -> tuple[str, ...]:
    """The configs that a stage asks.

    Example:
        >>> members("mean of (a.onnx @ openvino f32 and b.onnx @ openvino f32)")
        ('a.onnx @ openvino f32', 'b.onnx @ openvino f32')
    """
    together = _TOGETHER.match(stage)
    return tuple(_parts(together.group(2), " and ")) if together else (stage,)


def short_name(name: str) -> str:
    """A name without parameters: source, techniques, runtime and precision, and a composed one stage by stage.

    Example:
        >>> short_name("resnet20.onnx + int8_nncf(preset=mixed, target=onnx) @ openvino int8, 1 thread, batch 8")
        'resnet20.onnx + int8_nncf (openvino int8)'
        >>> short_name("original @ onnxruntime f32")
        'original (onnxruntime f32)'
    """
    found = composition(name)
    if found is not None and found.kind == "cascade":
        return f"cascade of {', then '.join(short_names([stage.name for stage in found.stages]))}"
    return short_names([name])[0]


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Several candidates or stages, short as far as that tells them apart."""
    cascades = {name: short_name(name) for name in names if name.startswith("cascade: ")}
    others = {name: config_name(name) for name in names if name not in cascades}
    apart = _told_apart(list(others.values()), (_short_config,))
    shortened = {**cascades, **dict(zip(others, apart, strict=True))}
    return tuple(shortened[name] for name in names)


def spoken_names(stages: Sequence[str]) -> tuple[str, ...]:
    """Stages as a person would speak of them, as far as that tells them apart.

    Example:
        >>> spoken_names(["resnet20.onnx + int8_nncf(preset=mixed) @ openvino int8", "original @ openvino f32"])
        ('resnet20.onnx in int8', 'your model as it is')
    """
    return _told_apart(stages, (_spoken_config, _short_config))


def said(name: str) -> str:
    """A candidate inside a sentence: a single model by its name, a composed one by its stages.

    Example:
        >>> said("cascade: a.onnx @ openvino int8 where margin >= 0.5, else original @ openvino f32, 1 thread, batch 8")
        'the cascade of a.onnx (openvino int8), then original (openvino f32)'
    """
    if composition(name) is None:
        return name
    return f"the {short_name(name)}"


def with_short_names(text: str, names: Iterable[str]) -> str:
    """A sentence with every composed candidate in it by its short name.

    Args:
        text: The sentence.
        names: Of candidates that it may speak of.
    """
    for name in sorted({name for name in names if composition(name) is not None}, key=len, reverse=True):
        text = text.replace(name, said(name))
    return text


def first_apart(ways: Sequence[Sequence[str]], full: Sequence[str]) -> list[str]:
    """For each thing the first of its names, from the shortest on, that no other thing has.

    Args:
        ways: Names of all things, one list a way of naming them.
        full: Their full names, each its own.

    Example:
        >>> first_apart([["a", "b", "b"], ["a1", "b1", "b2"]], ["aaa", "bbb", "bbc"])
        ['a', 'b1', 'b2']
    """
    return [
        next((way[place] for way in ways if list(way).count(way[place]) == 1), name) for place, name in enumerate(full)
    ]


def accepts_text(accepts: str) -> str:
    """When a stage's answer stands, in words.

    Example:
        >>> accepts_text("margin >= 0.5"), accepts_text("it feels sure"), accepts_text("")
        ('its likeliest answer leads the second by at least 0.5', 'it feels sure', 'always')
    """
    measure, between, least = accepts.partition(" >= ")
    if between and measure in MEASURES:
        return MEASURES[measure].format(least)
    return accepts or ALWAYS


def config_name(name: str) -> str:
    """A candidate's name without its setting.

    Example:
        >>> config_name("original @ openvino f32, 1 thread x 2 replicas, batch 8")
        'original @ openvino f32'
    """
    return _SETTING.sub("", name)


def of_hundred(share: float) -> str:
    """A share of requests as people say it.

    Example:
        >>> [of_hundred(share) for share in (0.803, 0.004, 0.998, 1.0, 0.0)]
        ['80 of 100', 'fewer than 1 of 100', 'more than 99 of 100', '100 of 100', '0 of 100']
    """
    if 0 < share < 0.01:
        return "fewer than 1 of 100"
    if 0.99 < share < 1:
        return "more than 99 of 100"
    return f"{round(share * 100)} of 100"


def setting_of(candidate: Candidate) -> tuple[str, str]:
    """Runtimes and precisions that a candidate runs with: of all its stages where it has several."""
    found = composition_of(candidate)
    configs = [_CONFIG.match(name) for stage in found.stages for name in members(stage.name)] if found else []
    read = [config for config in configs if config]
    if not read:
        return candidate.runtime, candidate.precision
    runtimes = dict.fromkeys(config["runtime"] for config in read)
    precisions = dict.fromkeys(config["precision"] for config in read)
    return " and ".join(runtimes), " and ".join(precisions)


def _stage(text: str) -> NamedStage:
    found = _WHERE.match(text)
    return NamedStage(found.group(1), f"{found.group(2)} >= {found.group(3)}") if found else NamedStage(text)


def _parts(text: str, between: str) -> list[str]:
    """Names between separators; a file name may hold a separator itself, so a piece without a runtime is joined on."""
    parts: list[str] = []
    for piece in text.split(between):
        if parts and " @ " not in parts[-1]:
            parts[-1] += between + piece
        else:
            parts.append(piece)
    return parts


def _recipe_stages(recipe: Recipe) -> tuple[str, ...]:
    stages = recipe.steps[0].parameters.get("stages") if recipe.steps else None
    return tuple(str(stage) for stage in stages) if isinstance(stages, list) else ()


def _together(stage: str, names: Sequence[str]) -> str:
    """A stage with its members by other names."""
    found = _TOGETHER.match(stage)
    return names[0] if found is None else f"{found.group(1)} of {', '.join(names[:-1])} and {names[-1]}"


def _read(config: str) -> tuple[str, list[str], str, str] | None:
    """Source, techniques, runtime and precision."""
    found = _CONFIG.match(config)
    if found is None:
        return None
    source, techniques = "model", []
    for place, step in enumerate(_steps(found["recipe"])):
        technique = _TECHNIQUE.match(step)
        if technique is not None and step != "original":
            techniques.append(technique.group(1))
        elif place == 0 and step != "original":
            source = step
        elif step != "original":
            return None
    return source, techniques, found["runtime"], found["precision"]


def _steps(recipe: str) -> list[str]:
    steps: list[str] = []
    for piece in recipe.split(" + "):
        if steps and steps[-1].count("(") > steps[-1].count(")"):
            steps[-1] += f" + {piece}"
        else:
            steps.append(piece)
    return steps


def _short_config(config: str) -> str:
    read = _read(config)
    if read is None:
        return config
    source, techniques, runtime, precision = read
    made = " + ".join([*([] if source == "model" else [source]), *techniques]) or "original"
    return f"{made} ({runtime} {precision})"


def _spoken_config(config: str) -> str:
    read = _read(config)
    if read is None:
        return config
    source, techniques, _, precision = read
    what = "your model" if source == "model" else source
    if not techniques and precision == "f32":
        return f"{what} as it is" if source == "model" else what
    said_of = [technique for technique in techniques if not _ONLY_PRECISION.match(technique)]
    made = f"{' and '.join(said_of)} of {what}" if said_of else what
    return f"{made} in {PRECISIONS.get(precision, precision)}"


def _told_apart(stages: Sequence[str], ways: Sequence[Callable[[str], str]]) -> tuple[str, ...]:
    """Stages, each config in them by the first way of naming that no other one shares."""
    every = list(dict.fromkeys(config for stage in stages for config in members(stage)))
    named = dict(zip(every, first_apart([[way(config) for config in every] for way in ways], every), strict=True))
    return tuple(_together(stage, [named[config] for config in members(stage)]) for stage in stages)
