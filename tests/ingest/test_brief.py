from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from equipoise.core.brief import OwnedMachine
from equipoise.core.certificate import Margin
from equipoise.errors import BriefError
from equipoise.ingest.brief import UNBOUNDED_METRICS, brief_from_options, brief_from_toml
from equipoise.ingest.brief_keys import KEYS
from equipoise.ingest.spellings import METRICS
from equipoise.stats.metrics import METRIC_NAMES, metric_named

TOML = """
seed = 7
[model]
path = "model.onnx"
alternatives = ["model.onnx"]
output = "logits"
output_kind = "logits"
labels = ["a", "b", "c"]
[data]
path = "data.npz"
target = "label"
calibration = "more.npz"
train = "more.npz"
group = "g"
small_slices = "pool"
real_golden_rows = true
[data.slices]
sex = 0.02
"age:group" = "2%"
[data.ood.winter]
path = "more.npz"
max_drop = 0.03
[quality]
metric = "f1_binary"
max_drop = "1.5%"
confidence = 0.9
positive_class = "a"
[limits]
p99_ms = 30
memory_mb = 512.5
budget = "5m"
[workload]
rate = 100
arrivals = "bursty"
[hardware]
owned = { capex_usd = 2400, months = 36, watts = 180, usd_per_kwh = 0.15 }
"""


def _options(files: Path, **more: Any) -> dict[str, Any]:
    return {"model": files / "model.onnx", "data": files / "data.npz", **more}


def test_class_names_from_a_file(files: Path) -> None:
    (files / "names.txt").write_text("cat\n\nsea lion \neel\n", encoding="utf-8-sig")
    (files / "brief.toml").write_text('[model]\npath = "model.onnx"\nlabels = "names.txt"\n[data]\npath = "data.npz"\n')
    assert brief_from_toml(files / "brief.toml").model.labels == ("cat", "sea lion", "eel")
    given = {"model": files / "model.onnx", "data": files / "data.npz"}
    for name, message in (("gone.txt", "one name a line"), ("twice.txt", "cat more than once")):
        (files / "twice.txt").write_text("cat\ncat\n")
        with pytest.raises(BriefError, match=message):
            brief_from_options(**given, labels=str(files / name))


def test_options_and_toml_say_the_same(files: Path) -> None:
    (files / "brief.toml").write_text(TOML)
    options = brief_from_options(
        **_options(
            files,
            seed="7",
            alternative=(str(files / "model.onnx"),),
            output="logits",
            output_kind="logits",
            labels="a, b,c",
            trust=True,
            target="label",
            calibration=files / "more.npz",
            train=files / "more.npz",
            group="g",
            small_slices="pool",
            real_golden_rows=True,
            slice=("sex:0.02", "age:group:2%"),
            ood=(f"winter={files / 'more.npz'}:0.03",),
            metric="f1_binary",
            max_drop="1.5%",
            confidence="0.9",
            positive_class="a",
            p99_ms="30",
            memory_mb="512.5",
            budget="300s",
            rate="100",
            arrivals="bursty",
            owned="2400,36,180,0.15",
        )
    )
    assert brief_from_toml(files / "brief.toml", {"trust": True}) == options
    assert options.data.slices == {"sex": Margin(drop=0.02), "age:group": Margin(drop=0.02, relative=True)}
    assert options.quality.max_drop == Margin(drop=0.015, relative=True)
    assert options.limits.p99_s == pytest.approx(0.03)
    assert options.limits.memory_bytes == 512_500_000
    assert options.limits.budget_s == 300
    assert options.hardware.owned == OwnedMachine(capex_usd=2400, months=36, watts=180, usd_per_kwh=0.15)


@pytest.mark.parametrize("spelling", ["true", "false", "'yes'"])
def test_a_file_cannot_say_that_pickles_are_trusted(files: Path, spelling: str) -> None:
    (files / "brief.toml").write_text(TOML.replace("[model]", f"[model]\ntrust = {spelling}"))
    with pytest.raises(
        BriefError, match=r"brief\.toml: model\.trust: found .*remove it, and give --trust on the command"
    ):
        brief_from_toml(files / "brief.toml", {"trust": True})


def test_what_is_not_said_keeps_its_default(files: Path) -> None:
    brief = brief_from_options(**_options(files, metric=None, slice=(), alternative=[]))
    assert brief.quality.metric is None
    assert brief.quality.max_drop == Margin(drop=0.01)
    assert brief.limits.budget_s == 300
    assert brief.data.slices == {}


def test_options_go_before_the_file(files: Path) -> None:
    (files / "brief.toml").write_text(TOML)
    brief = brief_from_toml(files / "brief.toml", {"budget": "1h", "price": "0.5", "trace": str(files / "trace.csv")})
    assert brief.limits.budget_s == 3600
    assert brief.hardware.usd_per_hour == 0.5
    assert brief.hardware.owned is None
    assert brief.workload.rate_rps is None
    assert brief.quality.confidence == 0.9


@pytest.mark.parametrize(
    ("spelling", "seconds"), [("5m", 300), ("300s", 300), ("90", 90), ("1h", 3600), ("1.5 min", 90), (45, 45)]
)
def test_durations(files: Path, spelling: object, seconds: float) -> None:
    assert brief_from_options(**_options(files, budget=spelling)).limits.budget_s == seconds


@pytest.mark.parametrize("metric", [*METRICS, "my_metrics.cost:per_row"])
def test_known_metrics_and_ones_own(files: Path, metric: str) -> None:
    positive = {"positive_class": "1"} if metric == "f1_binary" else {}
    assert brief_from_options(**_options(files, metric=metric, **positive)).quality.metric == metric


def test_metric_names_are_those_of_stats() -> None:
    assert set(METRICS) == {*METRIC_NAMES, "none"}
    assert set(UNBOUNDED_METRICS) == {name for name in METRIC_NAMES if not metric_named(name).bounded}


def test_a_large_drop_is_fine_in_units_without_an_upper_end(files: Path) -> None:
    assert brief_from_options(**_options(files, metric="mae", max_drop="1200")).quality.max_drop.drop == 1200


def test_every_key_stands_for_a_field_of_its_own() -> None:
    for names in ([key.toml for key in KEYS], [key.option for key in KEYS], [key.field for key in KEYS]):
        assert len(set(names)) == len(names)


def test_a_message_has_where_found_and_needed(files: Path) -> None:
    with pytest.raises(BriefError) as caught:
        brief_from_options(**_options(files, max_drop="1"))
    assert caught.value.where == "--max-drop"
    assert caught.value.found == "found 1"
    assert caught.value.needed.startswith("1 means 100 points; did you mean 0.01?")


def test_classes_may_be_numbers(files: Path) -> None:
    (files / "brief.toml").write_text(
        '[model]\npath = "model.onnx"\nlabels = [0, 1, 2]\n[data]\npath = "data.npz"\n[quality]\npositive_class = 1\n'
    )
    brief = brief_from_toml(files / "brief.toml")
    assert brief.model.labels == ("0", "1", "2")
    assert brief.quality.positive_class == "1"
