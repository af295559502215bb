"""`equipoise simulate` through the real command line, its files, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import equipoise
from equipoise.core.certificate import FloorCertificate
from equipoise.core.estimate import Estimate
from equipoise.core.plan import (
    AcceptRule,
    BatchRule,
    CacheRule,
    Fallback,
    Forecast,
    Plan,
    PlanStage,
    StageModel,
)
from equipoise.core.profile import Settings
from equipoise.core.simulation import SimulationResult
from equipoise.core.splits import Duplicates, Splits
from equipoise.errors import BriefError, BundleError, DataError
from equipoise.host.environment import environment
from equipoise.store.artifacts import artifact_digest
from equipoise.store.bundle import write_bundle

LIMIT_S = 0.05


def write_model(folder: Path) -> Path:
    import onnx
    from onnx import helper

    folder.mkdir()
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")
    return folder


def samples(first_s, row_s):
    rng = np.random.default_rng(0)
    return {rows: (first_s + row_s * rows) * rng.lognormal(0, 0.1, 60) for rows in (1, 4, 16)}


EXACT = CacheRule(max_entries=100, entry_bytes=100, hit_share=0.2)


def make_bundle(place: Path, *, cascade: bool = False, service: bool = True, cache: CacheRule = EXACT) -> Path:
    artifact = write_model(place.with_name(f"{place.name}-model"))
    digest = artifact_digest(artifact)
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=2, batch=16)
    model = StageModel(artifact=digest, format="onnx", settings=settings)

    def stage(**changes):
        return PlanStage(models=(model,), batch_rule=BatchRule(max_rows=16, limit_s=LIMIT_S), **changes)

    rule = AcceptRule(measure="margin", at_least=0.5)
    floor = FloorCertificate(
        metric="accuracy",
        floor=0.5,
        confidence=0.95,
        n=300,
        quality=Estimate(value=0.8, low=0.7, high=0.9, n=300, method="test"),
        p_value=0.01,
        method="test",
        passed=True,
    )
    plan = Plan(
        name="tiny <plan>",
        output="y",
        output_kind="logits",
        stages=(stage(accept=rule), stage(share=0.25)) if cascade else (stage(),),
        cache=cache if cascade else None,
        fallback=Fallback(stage=stage(), certificate=floor) if cascade else None,
        usd_per_hour=0.36,
        forecast=Forecast(
            quality=0.9, p99_s=0.1, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
        ),
    )
    nothing = Duplicates(exact=0, near=0, in_training=None, conflicting_targets=0)
    splits = Splits(calibrate=1, search=1, certify=1, groups_in_certify=None, data_digest="0" * 64, duplicates=nothing)
    times = [samples(0.002, 0.0002), samples(0.006, 0.001), samples(0.001, 0.0001)] if cascade else [samples(0.004, 0)]
    x = np.zeros((2, 3), dtype=np.float32)
    write_bundle(
        place, plan, None, environment(), splits, None, {"x": x}, {"y": x}, {digest: artifact}, "# card\n",
        service=times if service else (),
    )  # fmt: skip
    return place


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def cascade_bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "cascade", cascade=True)


@pytest.fixture
def keyed_trace(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    at_s = np.cumsum(rng.exponential(0.002, 3000))
    lines = [
        f"{at:.6f},k{key},{word}"
        for at, key, word in zip(at_s, rng.zipf(1.3, 3000), ["", "high", ""] * 1000, strict=True)
    ]
    path = tmp_path / "requests.csv"
    path.write_text("timestamp,key,priority\n" + "\n".join(lines) + "\n")
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = "from equipoise.cli.main import main; main()"
    command = [sys.executable, "-c", program, "simulate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_keyed_trace_on_several_machines_from_end_to_end(cascade_bundle, keyed_trace, tmp_path):
    out = tmp_path / "out" / "deep"
    done = run(cascade_bundle, "--trace", keyed_trace, "--machines", 2, "--out", out, "--price", 3.6)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 machine" in done.stdout
    assert "2 machines" in done.stdout
    assert "answered by fallback" in done.stdout
    result = SimulationResult.model_validate_json((out / "simulation.json").read_text())
    assert result.version == 1
    assert result.usd_per_hour == 3.6
    assert [fleet.machines for fleet in result.fleets] == [1, 2]
    assert [at.capacity_share for at in result.loads] == [0.25, 0.5, 0.75, 0.9, 1.0]
    for fleet in result.fleets:
        assert fleet.requests == 3000
        assert fleet.hit_share > 0.2
        answered = sum(stage.answered_share for stage in fleet.stages) + fleet.hit_share
        assert answered == pytest.approx(1 - fleet.shed_share)
        assert fleet.usd_per_million == pytest.approx(
            fleet.machines * 3.6 * fleet.duration_s / 3600 / fleet.answered * 1e6
        )
    # A machine's own cache sees only its share of the requests.
    assert result.fleets[1].hit_share <= result.fleets[0].hit_share


def test_a_look_up_takes_what_was_measured_and_near_matches_are_told_of(tmp_path, keyed_trace):
    rule = EXACT.model_copy(update={"lookup_s": 1.23e-4, "near": {"x": 0.5}})
    measured = equipoise.simulate(make_bundle(tmp_path / "measured", cascade=True, cache=rule), trace=keyed_trace)
    assumed = equipoise.simulate(make_bundle(tmp_path / "assumed", cascade=True), trace=keyed_trace)
    assert any("was measured to last 123 µs" in note for note in measured.notes)
    assert any("near matches" in note for note in measured.notes)
    assert any("is taken to last 10 µs" in note for note in assumed.notes)
    assert not any("near matches" in note for note in assumed.notes)


def test_the_page_loads_nothing_and_shows_every_picture(cascade_bundle, tmp_path):
    equipoise.simulate(cascade_bundle, rate=400, seconds=5, machines=3, out=tmp_path)
    content = (tmp_path / "simulation.html").read_text()
    assert "default-src 'none'" in content
    assert "tiny &lt;plan&gt;" in content
    assert "tiny <plan>" not in content
    for key in ("latencies", "load", "batches", "answerers"):
        figure = re.search(rf'<script type="application/json" id="data-{key}">(.*?)</script>', content, re.S)
        assert figure is not None, key
        assert json.loads(figure[1])["data"]
    outside_plotly = content[: content.index("plotly.js v")] + content[content.rindex("<script>") :]
    assert not re.search(r'(src|href)="(?!#)', outside_plotly)


def test_the_api_and_the_command_line_say_the_same(bundle):
    done = run(bundle, "--rate", 300, "--seconds", 5, "--arrivals", "bursty", "--seed", 3, "--p99-ms", 20, "--json")
    assert done.returncode == 0
    result = equipoise.simulate(bundle, rate=300, seconds=5, arrivals="bursty", seed=3, p99_ms=20)
    assert SimulationResult.model_validate_json(done.stdout) == result
    assert result.limit_s == 0.02
    assert len(result.fleets) == 1
    assert equipoise.simulate(bundle, rate=300, seconds=5, arrivals="bursty", seed=4, p99_ms=20) != result


def test_without_traffic_the_machines_get_most_of_what_they_can_answer(bundle):
    result = equipoise.simulate(bundle, machines=2)
    assert result.rate_rps == pytest.approx(0.7 * 2 * result.capacity_rps, rel=0.05)
    assert result.limit_s == LIMIT_S
    assert result.usd_per_hour == 0.36


def test_a_trace_is_replayed_as_it_is_or_its_busiest_stretch(bundle, tmp_path):
    trace = tmp_path / "periods.csv"
    trace.write_text("period,count\n0,100\n60,4000\n120,50\n")
    whole = equipoise.simulate(bundle, trace=trace)
    assert whole.fleets[0].requests == 4150
    assert whole.rate_rps == pytest.approx(4150 / 180)
    busiest = equipoise.simulate(bundle, trace=trace, seconds=60)
    assert busiest.fleets[0].requests == 4000
    assert "busiest 60 s" in busiest.traffic


def test_rows_of_a_trace_stand_for_keys(cascade_bundle, tmp_path):
    trace = tmp_path / "rows.csv"
    trace.write_text("timestamp,row\n" + "".join(f"{k},{k % 5}\n" for k in range(400)))
    assert equipoise.simulate(cascade_bundle, trace=trace).fleets[0].hit_share == pytest.approx(395 / 400)


def wrong(bundle, tmp_path, **options):
    with pytest.raises(equipoise.InputError) as caught:
        equipoise.simulate(bundle, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rate": 0}, "above 0, in requests a second"),
        ({"rate": "many"}, "above 0, in requests a second"),
        ({"rate": 10, "arrivals": "possion"}, "poisson"),
        ({"machines": 0}, "at least 1 machine"),
        ({"machines": "two"}, "whole number"),
        ({"p99_ms": -1}, "milliseconds"),
        ({"price": 0}, "US dollars"),
        ({"seconds": 0, "rate": 1}, "in seconds"),
        ({"rate": 1e9, "seconds": 60}, "shorter --seconds than 60"),
        ({"rate": 1e-9, "seconds": 1}, "none came"),
        ({"trace": "x.csv", "rate": 10}, "a trace has its own arrivals"),
        ({"trace": "nowhere.csv"}, "no such file"),
        ({"speed": 3}, "unknown key"),
    ],
)
def test_wrong_options_are_one_clear_error(bundle, tmp_path, options, expected):
    assert expected in wrong(bundle, tmp_path, **options)


def test_a_bundle_without_service_times_says_to_make_it_again(tmp_path):
    old = make_bundle(tmp_path / "old", service=False)
    with pytest.raises(BundleError, match="make the bundle again"):
        equipoise.simulate(old)
    done = run(old)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "service.npz" in done.stderr


def test_wrong_input_on_the_command_line_is_one_line_and_status_2(bundle, tmp_path):
    for arguments in (
        [tmp_path / "nothing"],
        [bundle, "--rate", "-3"],
        [bundle, "--trace", tmp_path / "none.csv"],
        [bundle, "--rate", "10", "--out", bundle / "plan.json"],
    ):
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_a_trace_with_too_many_requests_says_what_to_do(bundle, tmp_path):
    trace = tmp_path / "busy.csv"
    trace.write_text("period,count\n0,9000000\n60,9000000\n")
    with pytest.raises(BriefError, match="shorter --seconds"):
        equipoise.simulate(bundle, trace=trace)
    with pytest.raises(DataError):
        equipoise.simulate(bundle, trace=tmp_path)
