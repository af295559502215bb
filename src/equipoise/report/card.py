"""The model card of a bundle, in the form that Hugging Face reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from equipoise.core.candidate import Candidate
from equipoise.core.certificate import Certificate
from equipoise.core.result import Result
from equipoise.core.variant import DataUse
from equipoise.report.naming import accepts_text, composition_of, kind_of, made_by
from equipoise.report.parts import cache_line, distrust_line, fallback_line
from equipoise.report.points import cost_of, settings_text
from equipoise.report.wording import (
    NOTHING,
    allowed,
    duration,
    loss,
    metric_name,
    money,
    percent,
    quality,
    significant,
    size,
)

LIBRARIES = {"onnxruntime": "onnx", "openvino": "openvino", "sklearn": "sklearn", "torch_compile": "torch"}
DATA_USES: dict[DataUse, str] = {
    "none": "none",
    "unlabelled": "rows without their true answers, for calibration",
    "labelled": "rows with their true answers, for thresholds or training",
}
TASKS = {"mae": "tabular-regression", "rmse": "tabular-regression", "r2": "tabular-regression"}


def model_card(result: Result, model: str, data: str = "the person's own", p99_limit_s: float | None = None) -> str:
    """The bundle's `README.md`: YAML front matter with the certified figures, then what a person needs to know.

    Licence and intended use are left to the person: nothing in a study tells them.

    Args:
        result: The answer.
        model: Name of the model's file.
        data: Name of the data's file.
        p99_limit_s: Seconds within which 99 of 100 requests must be answered; null for no limit.
    """
    candidate = result.chosen or result.baseline
    front = "\n".join(_yaml(_front_matter(result, model, data, candidate)))
    sections = [
        f"# {_text(model)}, served cheaper" if not candidate.recipe.is_original else f"# {_text(model)}",
        _text(result.sentence),
        _serving(candidate, p99_limit_s),
        *_composition(candidate),
        _quality(result.certificate),
        *_degraded(result),
        _cost(result, candidate),
        _use(),
        "## Licence and intended use\n\nTo be filled in by whoever publishes this bundle.",
    ]
    return f"---\n{front}\n---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(result: Result, model: str, data: str, candidate: Candidate) -> dict[str, Any]:
    kind = kind_of(candidate.recipe)
    front: dict[str, Any] = {
        "license": "unknown",
        "library_name": LIBRARIES.get(candidate.runtime, candidate.runtime),
        "tags": ["equipoise", candidate.runtime, candidate.precision, *([kind] if kind != "single model" else [])],
    }
    certificate = result.certificate
    if certificate is None:
        return front
    measured = {"type": certificate.metric, "name": metric_name(certificate.metric), "value": certificate.chosen.value}
    entry = {
        "task": {"type": TASKS.get(certificate.metric, "other")},
        "dataset": {"name": data, "type": "private"},
        "metrics": [measured],
    }
    return {**front, "metrics": [certificate.metric], "model-index": [{"name": model, "results": [entry]}]}


def _serving(candidate: Candidate, p99_limit_s: float | None) -> str:
    lines = [
        f"- Made by: {_text(made_by(candidate.recipe))}",
        f"- Data that went into it: {DATA_USES[candidate.data_use]}",
        f"- Runs on: {settings_text(candidate)}",
        f"- Size: {size(candidate.artifact_bytes)}; memory at most {size(candidate.peak_memory_bytes.value)}",
        f"- Speed: {significant(candidate.throughput_rps.value)} answers a second, machine kept full",
    ]
    if candidate.latency_s.p99 is not None:
        limit = f" (limit {duration(p99_limit_s)})" if p99_limit_s is not None else ""
        lines.append(f"- 99 of 100 answers within {duration(candidate.latency_s.p99.value)}{limit}")
    return "## What is served\n\n" + "\n".join(lines)


def _composition(candidate: Candidate) -> list[str]:
    found = composition_of(candidate)
    if found is None:
        return []
    rows = [
        f"| {place}. {_text(stage.name)} "
        f"| {NOTHING if stage.share_reached is None else percent(stage.share_reached)} "
        f"| {NOTHING if stage.share_answered is None else percent(stage.share_answered)} "
        f"| {_text(accepts_text(stage.accepts))} |"
        for place, stage in enumerate(found.stages, 1)
    ]
    lines = [
        "A row goes on to the next stage until an answer stands.",
        "",
        "| stage | asked for | answers | its answer stands when |",
        "|---|---|---|---|",
        *rows,
    ]
    return [f"## How the {found.kind} is put together\n\n" + "\n".join(lines)]


def _degraded(result: Result) -> list[str]:
    modes = [
        *([("Under pressure", result.fallback.certificate)] if result.fallback is not None else []),
        *([("When it is not sure", result.distrust.certificate)] if result.distrust is not None else []),
    ]
    lines = [
        *([f"- Under pressure: {_text(fallback_line(result.fallback))}"] if result.fallback is not None else []),
        *([f"- When it is not sure: {_text(distrust_line(result.distrust))}"] if result.distrust is not None else []),
        *([f"- From memory: {_text(cache_line(result.cache))}"] if result.cache is not None else []),
    ]
    if not lines:
        return []
    tests = [f"Test ({title.lower()}): {_text(proved.method)}." for title, proved in modes]
    return ["## Under pressure, in doubt, from memory\n\n" + "\n".join([*lines, *(["", *tests] if tests else [])])]


def _quality(certificate: Certificate | None) -> str:
    if certificate is None:
        return "## Quality\n\nNo claim is made about quality: `certificate.json` is null."
    metric = certificate.metric
    bound = certificate.difference.high
    verdict = "Certified" if certificate.passed else "Not certified"
    lines = [
        f"{verdict}: loses at most {allowed(metric, certificate.margin)} of {_text(metric_name(metric))} against the "
        f"original, with {significant(certificate.confidence * 100)}% confidence, on {certificate.n:,} rows.",
        "",
        "| | original | this bundle | loss | at most |",
        "|---|---|---|---|---|",
        f"| {_text(metric_name(metric))} | {quality(metric, certificate.baseline.value)} "
        f"| {quality(metric, certificate.chosen.value)} | {loss(metric, certificate.difference.value)} "
        f"| {loss(metric, bound)} |",
        *(
            f"| {_text(s.name)} ({s.verdict}, {s.n:,} rows) | | "
            f"| {loss(metric, s.difference.value if s.difference else None)} "
            f"| {loss(metric, s.difference.high if s.difference else None)} |"
            for s in certificate.slices
        ),
        "",
        f"Test: {_text(certificate.method)}. It says nothing about rows unlike these, nor about other machines.",
    ]
    return "## Quality\n\n" + "\n".join(lines)


def _cost(result: Result, candidate: Candidate) -> str:
    price = result.cost.price
    dated = f", {price.dated}" if price.dated else ""
    return (
        "## Cost\n\n"
        f"{money(cost_of(candidate, result))} per million answers ({result.cost.basis}), at "
        f"{money(price.usd_per_hour)} an hour ({_text(price.source)}{dated}); the original as people deploy it: "
        f"{money(cost_of(result.baseline, result))}. Measured on {_text(result.environment.cpu_model)}, "
        f"{result.environment.cores} cores."
    )


def _use() -> str:
    return (
        "## Use\n\n"
        "```sh\n"
        "equipoise verify .                               # every byte, and every golden answer on this machine\n"
        "equipoise predict . --data rows.csv --out answers.csv\n"
        "```\n\n"
        "`golden.npz` holds a few inputs with the answers that are expected to them."
    )


def _yaml(content: Mapping[str, Any], indent: str = "") -> list[str]:
    # JSON strings and numbers are YAML: quoting everything a person named leaves nothing that could be read as YAML.
    lines = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_yaml(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{indent}{key}:")
            for item in value:
                first, *rest = (
                    _yaml(item, indent + "  ") if isinstance(item, Mapping) else [f"{indent}  {json.dumps(item)}"]
                )
                lines += [f"{indent}- {first.strip()}", *rest]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}")
    return lines


def _text(text: str) -> str:
    """What a person named, as plain text inside Markdown: no HTML, no table border, no line of its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
