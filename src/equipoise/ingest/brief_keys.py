"""Every key of the brief, once: its name in TOML, its option, its field, its parser, its schema and its explanation.

The TOML reader, the options, the commented template and the JSON Schema are all made from this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from equipoise.ingest import corruptions, spellings
from equipoise.ingest.preprocess_settings import preprocessing

Schema = Mapping[str, Any]

SECTIONS = {
    "model": "What is served now.",
    "data": "Rows that show what the model's job is.",
    "quality": 'What "doing its job" means.',
    "limits": "What must not be passed.",
    "workload": "The traffic to serve.",
    "hardware": "What a machine costs: at most one of the three; none for a dated reference price.",
    "value": "What errors, slow answers and failures cost you: where given, the best net value within the limits wins.",
    "": "Of the study itself.",
}

TEXT: Schema = {"type": "string", "minLength": 1}
NAMES: Schema = {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True}
CLASS_NAME: Schema = {"anyOf": [TEXT, {"type": "integer"}]}
CLASS_NAMES: Schema = {
    "anyOf": [
        {"type": "array", "items": CLASS_NAME, "minItems": 1, "uniqueItems": True},
        {"type": "string", "pattern": r"\.txt$"},
    ]
}
SHARE: Schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
ABOVE_ZERO: Schema = {"type": "number", "exclusiveMinimum": 0}
MARGIN: Schema = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?([eE]-?\d+)?\s*%?\s*$"}],
}
OOD_SET: Schema = {
    "type": "object",
    "properties": {"path": TEXT, "max_drop": MARGIN},
    "required": ["path", "max_drop"],
    "additionalProperties": False,
}
NOT_NEGATIVE: Schema = {"type": "number", "minimum": 0}
OWNED: Schema = {
    "type": "object",
    "properties": {"capex_usd": ABOVE_ZERO, "months": ABOVE_ZERO}
    | {key: {"type": "number", "minimum": 0} for key in ("watts", "usd_per_kwh")},
    "required": list(spellings.OWNED_KEYS),
    "additionalProperties": False,
}


PREPROCESSING: Schema = {
    "anyOf": [TEXT, {"type": "object", "minProperties": 1}],
}


@dataclass(frozen=True)
class BriefKey:
    """One key of the brief.

    Attributes:
        toml: Its dotted name in TOML.
        option: Its option on the command line.
        field: Its dotted name in `core.brief.Brief`.
        parse: Value as spelled and where it stands, to the value of the field.
        schema: JSON Schema of its TOML form.
        example: A TOML value for the template.
        about: What it means, for the template and the schema.
        required: Whether a brief without it is refused.
        is_path: Whether it holds paths, which TOML counts from its own folder.
        in_file: Whether a TOML brief may say it: what lets files run code is for the person at the keyboard to say.
    """

    toml: str
    option: str
    field: str
    parse: Callable[[Any, str], Any]
    schema: Schema
    example: str
    about: str
    required: bool = False
    is_path: bool = False
    in_file: bool = True

    @property
    def section(self) -> str:
        """The TOML table it stands in; empty at the top."""
        return self.toml.rpartition(".")[0]

    @property
    def argument(self) -> str:
        """Its name as a keyword of `brief_from_options`."""
        return self.option.removeprefix("--").replace("-", "_")


def _choice(*words: str) -> dict[str, Any]:
    return {"parse": spellings.one_of(*words), "schema": {"enum": list(words)}}


KEYS = (
    BriefKey(
        "model.path", "--model", "model.path", spellings.text, TEXT, '"model.onnx"',
        "The model: .onnx, .xml (OpenVINO), .tflite, .pt2, .skops, a pickle that you trust (.joblib, .pkl), "
        "module:function, which makes a PyTorch module, or a Hugging Face folder (hf:owner/name from the hub).",
        required=True, is_path=True,
    ),
    BriefKey(
        "model.state_dict", "--state-dict", "model.state_dict", spellings.text, TEXT, '"weights.safetensors"',
        "Weights of the PyTorch module that module:function makes: .safetensors, or what torch.save wrote.",
        is_path=True,
    ),
    BriefKey(
        "model.alternatives", "--alternative", "model.alternatives", spellings.paths,
        {"type": "array", "items": TEXT}, '["smaller.onnx"]',
        "Other models that you already have for the same job; judged beside every compressed form.", is_path=True,
    ),
    BriefKey(
        "model.output", "--output", "model.output", spellings.text, TEXT, '"logits"',
        "The output that is judged, where there are several.",
    ),
    BriefKey(
        "model.output_kind", "--output-kind", "model.output_kind",
        **_choice("logits", "probabilities", "labels", "value"), example='"logits"',
        about="What that output holds; found from its type and values where it is not said.",
    ),
    BriefKey(
        "model.labels", "--labels", "model.labels", spellings.class_names, CLASS_NAMES, '["cat", "dog"]',
        "Class names in the order of the output's columns, where classes are not numbered from 0: a list, or a .txt "
        "file with one a line.",
    ),
    BriefKey(
        "model.trust", "--trust", "model.trust", spellings.flag, {"type": "boolean"}, "false",
        "Open .joblib and .pkl files: they can run any code on this machine, so only your own.", in_file=False,
    ),
    BriefKey(
        "data.path", "--data", "data.path", spellings.text, TEXT, '"test.npz"',
        "Rows the model was not trained on: .npz (keys are input names), .csv or .parquet; a folder of images by "
        "class, or an archive of one; or labelled text (.jsonl, lines of `label text`).", required=True, is_path=True,
    ),
    BriefKey(
        "data.target", "--target", "data.target", spellings.text, TEXT, '"label"',
        "Column or array of the true answers; otherwise `label`, then `y`.",
    ),
    BriefKey(
        "data.columns", "--columns", "data.columns", spellings.names, NAMES, '["age", "sex", "label"]',
        "Column names of CSV files that have no header.",
    ),
    BriefKey(
        "data.text_columns", "--text-column", "data.text_columns", spellings.names, NAMES, '["sentence"]',
        "Column of the text that a model of text reads, where there are several columns of text; two for pairs.",
    ),
    BriefKey(
        "data.calibration", "--calibration", "data.calibration", spellings.text, TEXT, '"calibration.npz"',
        "Rows for calibration; otherwise a tenth of the data, at most 2,000 rows.", is_path=True,
    ),
    BriefKey(
        "data.train", "--train", "data.train", spellings.text, TEXT, '"train.npz"',
        "The rows the model was trained on: to find test rows among them, and to train smaller models on.",
        is_path=True,
    ),
    BriefKey(
        "data.group", "--group", "data.group", spellings.text, TEXT, '"patient"',
        "Column whose equal values belong together; they stay in one split and are counted as one.",
    ),
    BriefKey(
        "data.small_slices", "--small-slices", "data.small_slices", **_choice("block", "report", "pool"),
        example='"block"', about="What a slice with too few rows for a verdict does.",
    ),
    BriefKey(
        "data.real_golden_rows", "--real-golden-rows", "data.real_golden_rows", spellings.flag, {"type": "boolean"},
        "false", "Put real rows, not synthetic ones, into the bundle's golden answers.",
    ),
    BriefKey(
        "data.show_rows", "--show-rows", "data.show_rows", spellings.flag, {"type": "boolean"}, "false",
        "Show in the answer what the rows hold whose answers changed for the worse, and not their numbers alone.",
    ),
    BriefKey(
        "data.data_use", "--data-use", "data.data_use", **_choice("none", "unlabelled", "labelled"),
        example='"unlabelled"',
        about="The most of the data that may go into what is made: nothing, rows without true answers, or all.",
    ),
    BriefKey(
        "data.slices", "--slice", "data.slices", spellings.slices,
        {"type": "object", "additionalProperties": MARGIN}, "{ sex = 0.01 }",
        "Column to the largest drop on each of its values.",
    ),
    BriefKey(
        "data.ood", "--ood", "data.ood", spellings.ood_sets, {"type": "object", "additionalProperties": OOD_SET},
        '{ winter = { path = "winter.npz", max_drop = 0.02 } }',
        "Further sets of rows, from other conditions, each with its own largest drop.",
    ),
    BriefKey(
        "corrupt", "--corrupt", "data.corrupt", corruptions.corruptions, corruptions.SCHEMA,
        '[{ name = "gaussian_noise" }, { name = "jpeg", strength = 3, max_drop = 0.02 }]',
        "Standard corruptions that the rows are put to, as further sets: a name or `all`; a strength from 1 to 5, or "
        "all five; a largest drop of its own, or `report` to block nothing.",
    ),
    BriefKey(
        "quality.metric", "--metric", "quality.metric", spellings.metric,
        {"anyOf": [{"enum": list(spellings.METRICS)},
                   {"type": "string", "pattern": f"^{spellings.PERSONS_METRIC.pattern}$"}]},
        '"accuracy"', f"One of {', '.join(spellings.METRICS)}, or your own module:function.",
    ),
    BriefKey(
        "quality.max_drop", "--max-drop", "quality.max_drop", spellings.margin, MARGIN, "0.01",
        'The largest loss you accept: in the metric\'s units, or "2%" of the original\'s figure.',
    ),
    BriefKey(
        "quality.confidence", "--confidence", "quality.confidence", spellings.confidence,
        {"type": "number", "minimum": 0.5, "exclusiveMaximum": 1}, "0.95",
        "Probability with which the answer may be relied on.",
    ),
    BriefKey(
        "quality.positive_class", "--positive-class", "quality.positive_class", spellings.class_name, CLASS_NAME,
        '"yes"',
        "The class that counts as positive: for f1_binary, and auroc with two classes.",
    ),
    BriefKey(
        "quality.floor", "--floor", "quality.floor", spellings.number, {"type": "number"}, "0.8",
        "Least figure of the metric (most, where lower is better) that an emergency answer may have by itself.",
    ),
    BriefKey(
        "quality.distrust", "--distrust", "quality.distrust", **_choice("refer", "simple", "default"),
        example='"refer"',
        about="What is given where the plan is unsure: refer to a person, the simple model's answer, or a default.",
    ),
    BriefKey(
        "quality.distrust_below", "--distrust-below", "quality.distrust_below", spellings.share, SHARE, "0.5",
        "Probability of being right below which an answer is not trusted.",
    ),
    BriefKey(
        "quality.distrust_default", "--distrust-default", "quality.distrust_default", spellings.class_name, CLASS_NAME,
        '"unknown"', "The label, or number, that is given with the default.",
    ),
    BriefKey(
        "limits.p99_ms", "--p99-ms", "limits.p99_s", spellings.positive("milliseconds", 1e-3), ABOVE_ZERO, "30",
        "Milliseconds within which 99 of 100 requests must be answered.",
    ),
    BriefKey(
        "limits.memory_mb", "--memory-mb", "limits.memory_bytes", spellings.memory_bytes, ABOVE_ZERO, "2000",
        "Megabytes (1,000,000 bytes) that one serving process may hold.",
    ),
    BriefKey(
        "limits.budget", "--budget", "limits.budget_s", spellings.duration_s,
        {"anyOf": [{"type": "number", "minimum": spellings.MIN_BUDGET_S},
                   {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(s|sec|m|min|h)?\s*$"}]},
        '"5m"', "Wall time for the whole study: 90, 300s, 5m or 1h.",
    ),
    BriefKey(
        "limits.train_minutes", "--train-minutes", "limits.train_s", spellings.positive("minutes", 60.0), ABOVE_ZERO,
        "15", "Minutes for training smaller models, beside the budget; not given, nothing is trained. Needs train.",
    ),
    BriefKey(
        "limits.device", "--device", "limits.train_device", **_choice("auto", "cpu", "cuda"), example='"cuda"',
        about="Where torch trains; auto, where it is not said: on a GPU where it finds one.",
    ),
    BriefKey(
        "limits.payback_days", "--payback-days", "limits.payback_days", spellings.positive("days"), ABOVE_ZERO, "90",
        "Days within which training must have paid for itself at your rate; 90 where it is not said.",
    ),
    BriefKey(
        "workload.rate", "--rate", "workload.rate_rps", spellings.positive("requests a second"), ABOVE_ZERO, "100",
        "Mean requests a second.",
    ),
    BriefKey(
        "workload.arrivals", "--arrivals", "workload.arrivals", **_choice("constant", "poisson", "bursty"),
        example='"poisson"', about="How requests arrive around that rate.",
    ),
    BriefKey(
        "workload.trace", "--trace", "workload.trace", spellings.text, TEXT, '"requests.csv"',
        "Real traffic instead of a rate: a CSV with timestamp (also key, row, priority), or with period and count.",
        is_path=True,
    ),
    BriefKey(
        "workload.repeat_share", "--repeat-share", "workload.repeat_share", spellings.share, SHARE, "0.2",
        "Share of requests that repeat an earlier one exactly, 0 to 1; a trace with the column key says it itself.",
    ),
    BriefKey(
        "hardware.price", "--price", "hardware.usd_per_hour", spellings.positive("US dollars an hour"), ABOVE_ZERO,
        "0.0892", "US dollars that an hour of the machine costs.",
    ),
    BriefKey(
        "hardware.instance", "--instance", "hardware.instance", spellings.text, TEXT, '"aws:c7i.large"',
        "An instance type of the price table.",
    ),
    BriefKey(
        "hardware.owned", "--owned", "hardware.owned", spellings.owned_machine, OWNED,
        "{ capex_usd = 2400, months = 36, watts = 180, usd_per_kwh = 0.15 }",
        "A machine of your own: its price, how long it lasts, its power and what electricity costs.",
    ),
    BriefKey(
        "value.usd_per_error", "--usd-per-error", "value.usd_per_error", spellings.usd_per_error,
        {"anyOf": [NOT_NEGATIVE, {"type": "object", "additionalProperties": NOT_NEGATIVE, "minProperties": 1}]},
        "{ fraud = 5.0, ok = 0.1 }",
        "US dollars that a wrong answer costs: one price, or one for each true class (fraud=5,ok=0.1 as an option).",
    ),
    BriefKey(
        "value.usd_per_second_of_latency", "--usd-per-second-of-latency", "value.usd_per_second_of_latency",
        spellings.not_negative("US dollars"), NOT_NEGATIVE, "0.001",
        "US dollars for each second that an answer takes beyond the threshold; needs traffic.",
    ),
    BriefKey(
        "value.latency_threshold_ms", "--latency-threshold-ms", "value.latency_threshold_s",
        spellings.not_negative("milliseconds", 1e-3), NOT_NEGATIVE, "100", "Milliseconds of latency that cost nothing.",
    ),
    BriefKey(
        "value.usd_per_failed_request", "--usd-per-failed-request", "value.usd_per_failed_request",
        spellings.not_negative("US dollars"), NOT_NEGATIVE, "0.01",
        "US dollars that a request without an answer, or with one past the p99 limit, costs; needs traffic.",
    ),
    BriefKey(
        "preprocess", "--preprocess", "preprocess", preprocessing, PREPROCESSING,
        "{ size = { height = 224, width = 224 }, image_mean = [0.5, 0.5, 0.5], image_std = [0.5, 0.5, 0.5] }",
        "How images or texts become the model's inputs: a preprocessor_config.json, a tokenizer.json, a folder with "
        "one of them, or a table of such settings.", is_path=True,
    ),
    BriefKey(
        "seed", "--seed", "seed", spellings.whole_number, {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}, "0",
        "For everything random; the same brief with the same seed splits the rows in the same way.",
    ),
)  # fmt: skip
FILE_KEYS = tuple(key for key in KEYS if key.in_file)
"""The keys that a TOML brief may have."""
