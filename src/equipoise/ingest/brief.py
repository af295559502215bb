"""Reads a brief from a TOML file or from options: the same keys, the same checks, the same messages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from equipoise.core.brief import Brief, ModelBrief
from equipoise.core.certificate import Margin
from equipoise.errors import BriefError
from equipoise.ingest.brief_keys import FILE_KEYS, KEYS, SECTIONS, BriefKey
from equipoise.ingest.factory import is_factory
from equipoise.ingest.huggingface_folder import HUB, is_huggingface
from equipoise.ingest.spellings import NAMES_SUFFIX, refuse_unknown, suggestion
from equipoise.ingest.value_checks import check_value
from equipoise.preprocess.columns import SUFFIXES as DATA_SUFFIXES
from equipoise.preprocess.image_files import ARCHIVE_SUFFIXES, has_images

MODEL_SUFFIXES = (".onnx", ".xml", ".tflite", ".pt2", ".skops", ".joblib", ".pkl")
STATE_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")
TRACE_SUFFIXES = (".csv",)
LARGEST_PLAUSIBLE_DROP = 0.5
EXCLUSIVE = (("hardware.price", "hardware.instance", "hardware.owned"), ("workload.rate", "workload.trace"))
UNBOUNDED_METRICS = ("mae", "rmse", "log_loss")

Found = dict[str, tuple[Any, str]]
"""Dotted TOML name to the value as it was spelled, and where it stands."""


def brief_from_toml(path: Path, options: Mapping[str, Any] | None = None) -> Brief:
    """Read a brief from a TOML file.

    Paths in the file count from the file's own folder. Trust in pickles is no key of it: whoever sends a brief does not
    decide what may run here.

    Args:
        path: The file.
        options: What the command line says besides, as keywords of `brief_from_options`; it goes before the file.

    Raises:
        BriefError: A key is unknown, missing, of the wrong type or out of range, two contradict each other, or a file
            that it names does not exist.
    """
    document = _toml_document(path)
    found: Found = {}
    top = [key.toml for key in FILE_KEYS if not key.section]
    for name, value in document.items():
        if name in top:
            found[name] = (value, f"{path}: {name}")
        elif name not in SECTIONS:
            known = [*(section for section in SECTIONS if section), *top]
            hint = suggestion(name, [*known, *(key.toml for key in FILE_KEYS)])
            raise BriefError(f"{path}: {name}", "found an unknown key", f"{hint}needed one of {', '.join(known)}")
        elif not isinstance(value, dict):
            raise BriefError(f"{path}: {name}", f"found {value!r}", f"needed a table: a line [{name}] with keys below")
        else:
            found |= _section(path, name, value)
    for key in KEYS:
        if key.is_path and key.toml in found:
            value, where = found[key.toml]
            found[key.toml] = (_from_folder(path.parent, value), where)
    labels, where = found.get("model.labels", (None, ""))
    if isinstance(labels, str) and labels.endswith(NAMES_SUFFIX):
        found["model.labels"] = (_from_folder(path.parent, labels), where)
    if isinstance(sets := found.get("data.ood", (None,))[0], dict):
        moved = {
            name: entry | {"path": _from_folder(path.parent, entry.get("path"))} if "path" in entry else entry
            for name, entry in sets.items()
            if isinstance(entry, dict)
        }
        found["data.ood"] = (sets | moved, found["data.ood"][1])
    given = _options(options or {})
    for choice in EXCLUSIVE:  # an option replaces what the file says in its place
        if any(name in given for name in choice):
            found = {name: value for name, value in found.items() if name not in choice}
    return _brief(found | given, str(path))


def brief_from_options(**options: Any) -> Brief:
    """Read a brief from the command line's options.

    Args:
        options: Option to value as it was spelled, `None` where it was not given. The names are those of the command
            line without dashes: `model`, `data`, `target`, `max_drop`, `p99_ms`, `owned` ...; the repeatable ones
            (`alternative`, `slice`, `ood`, `corrupt`) take a list.

    Raises:
        BriefError: An option is missing, of the wrong type or out of range, two contradict each other, or a file that
            one names does not exist.

    Example:
        >>> brief_from_options(model="m.onnx", data="d.npz", max_drop="-1")
        Traceback (most recent call last):
        ...
        equipoise.errors.BriefError: --max-drop: found "-1"; needed a number that is 0 or more, such as 0.01, ...
    """
    return _brief(_options(options), "options")


def _options(options: Mapping[str, Any]) -> Found:
    by_argument = {key.argument: key for key in KEYS}
    refuse_unknown(dict(options), list(by_argument), "options")
    return {
        by_argument[name].toml: (str(value) if isinstance(value, Path) else value, _shown(by_argument[name]))
        for name, value in options.items()
        if value is not None and value != () and value != []
    }


def _toml_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BriefError(
            str(path), f"cannot be read: {error.strerror}", "needed a TOML brief; `equipoise init` writes one"
        ) from None
    except UnicodeDecodeError as error:
        raise BriefError(
            str(path), f"not UTF-8 text: {error.reason} at byte {error.start}", "needed a TOML brief"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise BriefError(
            str(path), f"not valid TOML: {error}", "needed a TOML brief; `equipoise init` writes one"
        ) from None


def _section(path: Path, section: str, table: dict[str, Any]) -> Found:
    known = {key.toml.rpartition(".")[2]: key for key in FILE_KEYS if key.section == section}
    options = {key.toml: key.option for key in KEYS if not key.in_file}
    for name, value in table.items():
        if f"{section}.{name}" in options:
            raise BriefError(
                f"{path}: {section}.{name}",
                f"found {value!r}, which a file cannot say, since it lets pickles run code on this machine",
                f"remove it, and give {options[f'{section}.{name}']} on the command line if you made them yourself",
            )
        if name not in known:
            where = f"{path}: {section}.{name}"
            hint = suggestion(f"{section}.{name}", [key.toml for key in FILE_KEYS])
            raise BriefError(where, "found an unknown key", f"{hint}[{section}] has {', '.join(known)}")
    return {known[name].toml: (value, f"{path}: {section}.{name}") for name, value in table.items()}


def _from_folder(folder: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_from_folder(folder, path) for path in value]
    if isinstance(value, dict):  # a table of settings, which may name a file
        return value | {"tokenizer": _from_folder(folder, value["tokenizer"])} if "tokenizer" in value else value
    if isinstance(value, str) and value.startswith(HUB):
        return value
    if isinstance(value, str) and is_factory(value) and not value.rpartition(":")[0].endswith(".py"):
        return value  # a module of the import path
    return str(folder / value) if isinstance(value, str) and value else value


def _brief(found: Found, source: str) -> Brief:
    fields: dict[str, Any] = {}
    for key in KEYS:
        if key.toml in found:
            value, where = found[key.toml]
            _set(fields, key, key.parse(value, where))
        elif key.required:
            raise BriefError(_name(key, source), "found nothing", f"needed: {key.about}")
    try:
        brief = Brief.model_validate(fields)
    except ValidationError as error:  # the parsers should have refused it: say as much as is known
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BriefError(f"{source}: {where}", f"found {problem.get('input')!r}", problem["msg"]) from None
    where_of = {key.field: found[key.toml][1] if key.toml in found else _name(key, source) for key in KEYS}
    _check_together(brief, where_of)
    _check_files(brief, where_of)
    return brief


def _set(fields: dict[str, Any], key: BriefKey, value: Any) -> None:
    *parents, name = key.field.split(".")
    table = fields
    for parent in parents:
        table = table.setdefault(parent, {})
    table[name] = value


def _name(key: BriefKey, source: str) -> str:
    return _shown(key) if source == "options" else f"{source}: {key.toml}"


def _shown(key: BriefKey) -> str:
    return "MODEL" if key.toml == "model.path" else key.option


def _check_together(brief: Brief, where: Mapping[str, str]) -> None:
    hardware, workload, quality = brief.hardware, brief.workload, brief.quality
    prices = [name for name in ("usd_per_hour", "instance", "owned") if getattr(hardware, name) is not None]
    if len(prices) > 1:
        places = " and ".join(where[f"hardware.{name}"] for name in prices)
        raise BriefError(places, f"found {len(prices)} prices of one machine", "needed at most one of them")
    if workload.rate_rps is not None and workload.trace is not None:
        raise BriefError(
            f"{where['workload.rate_rps']} and {where['workload.trace']}",
            f"found a rate of {workload.rate_rps:g} requests a second and the trace {workload.trace}",
            "needed one of them: a trace says its own rate",
        )
    if quality.metric == "f1_binary" and quality.positive_class is None:
        raise BriefError(
            where["quality.positive_class"], "found nothing", "needed the class that counts as positive for f1_binary"
        )
    if brief.limits.train_s:
        _check_training(brief, where)
    if brief.data.corrupt and quality.metric == "none":
        raise BriefError(
            where["data.corrupt"], "found it with the metric none", "needed a metric: it says what corruption did"
        )
    _check_degraded(brief, where)
    check_value(brief, where)
    margins = [(where["quality.max_drop"], quality.max_drop)]
    margins += [(f"{where['data.slices']} {column}", margin) for column, margin in brief.data.slices.items()]
    margins += [(f"{where['data.ood']} {name}", ood.max_drop) for name, ood in brief.data.ood.items()]
    margins += [(f"{where['data.corrupt']} {each.name}", each.max_drop) for each in brief.data.corrupt if each.max_drop]
    if both := sorted({each.set_name for each in brief.data.corrupt} & set(brief.data.ood)):
        raise BriefError(where["data.ood"], f"found the name {both[0]!r}", "needed another: it is a corruption's")
    for place, margin in margins:
        _check_plausible(place, margin, quality.metric)


def _check_training(brief: Brief, where: Mapping[str, str]) -> None:
    place, found = where["limits.train_s"], f"found {brief.limits.train_s / 60:g} minutes"
    if brief.data.train is None:
        raise BriefError(place, f"{found} and no rows to train on", f"needed them: {_option('data.train')}")
    if brief.quality.metric == "none":
        raise BriefError(
            place, f"{found} with the metric none", "needed a metric: a student that nobody judges may answer anything"
        )
    if brief.data.data_use == "none":
        raise BriefError(
            place, f"{found} with data_use = none", "needed unlabelled or labelled: a student is made of training rows"
        )


def _check_degraded(brief: Brief, where: Mapping[str, str]) -> None:
    quality = brief.quality
    if quality.floor is not None and quality.metric in ("none", "ece"):
        raise BriefError(
            where["quality.floor"],
            f"found {quality.floor:g} with the metric {quality.metric}",
            "needed a metric that can be certified: a floor is proved or not offered",
        )
    bounded = quality.metric not in (*UNBOUNDED_METRICS, "r2") and ":" not in (quality.metric or "")
    if quality.floor is not None and bounded and not 0 <= quality.floor < 1:
        raise BriefError(
            where["quality.floor"], f"found {quality.floor:g}", "needed a share from 0 up to 1, such as 0.8"
        )
    if quality.distrust is not None and quality.floor is None:
        raise BriefError(
            where["quality.distrust"],
            f"found {quality.distrust} and no floor",
            f"needed the least quality it must have: {_option('quality.floor')}",
        )
    if quality.distrust is None and quality.distrust_below is not None:
        raise BriefError(
            where["quality.distrust_below"],
            f"found {quality.distrust_below:g} and nothing to give where an answer is not trusted",
            f"needed what is given then: {_option('quality.distrust')}",
        )
    if (quality.distrust == "default") != (quality.distrust_default is not None):
        raise BriefError(
            where["quality.distrust_default"],
            f"found {quality.distrust_default or 'nothing'} with --distrust {quality.distrust or 'not given'}",
            "needed the answer that is given with --distrust default, and none otherwise",
        )


def _option(field: str) -> str:
    return next(key.option for key in KEYS if key.field == field)


def _check_plausible(where: str, margin: Margin, metric: str | None) -> None:
    bounded = metric is None or not (metric in UNBOUNDED_METRICS or ":" in metric)
    if bounded and not margin.relative and margin.drop > LARGEST_PLAUSIBLE_DROP:
        scale = f"the best {metric or 'figure'} is 1"
        raise BriefError(
            where,
            f"found {margin.drop:g}",
            f"{margin.drop:g} means {margin.drop * 100:g} points; did you mean {margin.drop / 100:g}? "
            f"({scale}; needed at most {LARGEST_PLAUSIBLE_DROP:g}, or a share such as 2%)",
        )


def _check_files(brief: Brief, where: Mapping[str, str]) -> None:
    model, data = brief.model, brief.data
    files: list[tuple[str, str, tuple[str, ...]]] = []
    if is_factory(model.path):
        _check_factory(model, where)
    elif not is_huggingface(model.path):
        files.append((where["model.path"], model.path, MODEL_SUFFIXES))
    if model.state_dict is not None:
        files.append((where["model.state_dict"], model.state_dict, STATE_SUFFIXES))
    alternatives = [path for path in model.alternatives if not is_huggingface(path)]
    files += [(where["model.alternatives"], path, MODEL_SUFFIXES) for path in alternatives]
    files += [(where["data.path"], data.path, DATA_SUFFIXES)]
    files += [
        (where[f"data.{name}"], path, DATA_SUFFIXES)
        for name in ("calibration", "train")
        if (path := getattr(data, name)) is not None
    ]
    files += [(f"{where['data.ood']} {name}", ood.path, DATA_SUFFIXES) for name, ood in data.ood.items()]
    if brief.workload.trace is not None:
        files.append((where["workload.trace"], brief.workload.trace, TRACE_SUFFIXES))
    for place, path, suffixes in files:
        _check_file(place, Path(path), suffixes)


def _check_factory(model: ModelBrief, where: Mapping[str, str]) -> None:
    """A function runs code: a file may name one only where the person at the keyboard says that they trust it."""
    if where["model.path"] != "MODEL" and not model.trust:
        raise BriefError(
            where["model.path"],
            f"found {model.path}, a function whose module runs on this machine",
            "give --trust on the command line if it is your own, or name it there instead of the brief",
        )


def _check_file(where: str, path: Path, suffixes: tuple[str, ...]) -> None:
    accepted = ", ".join(suffixes)
    if suffixes == DATA_SUFFIXES:
        accepted += ", or a folder of images by class, or an archive of one"
        if has_images(path) or (path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES)):
            return
    if path.is_dir():
        raise BriefError(where, f"found {path}, a folder", f"needed a file ({accepted})")
    if not path.is_file():
        raise BriefError(where, f"found no file {path}", f"needed an existing file ({accepted}); check the path")
    if path.suffix.lower() not in suffixes:
        raise BriefError(where, f"found {path}, of the kind {path.suffix or 'without suffix'}", f"needed {accepted}")
