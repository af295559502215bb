"""Results as a study could have ended: `replace`, `keep`, `infeasible`, speed only, and with hostile names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from equipoise.core.anatomy import Anatomy
from equipoise.core.candidate import Candidate, CandidateStage, Saving
from equipoise.core.certificate import Certificate, FloorCertificate, Margin, Provable, SliceVerdict
from equipoise.core.environment import Environment
from equipoise.core.estimate import Estimate
from equipoise.core.plan import CacheRule, Distrust
from equipoise.core.price import Price
from equipoise.core.profile import LatencyQuantiles, Precision
from equipoise.core.recipe import Recipe, Step
from equipoise.core.result import CacheFigures, Cost, DegradedMode, NearestMiss, Result
from equipoise.core.splits import Duplicates, Splits
from equipoise.core.variant import Failure
from equipoise.report.details import ReportDetails, ScreenedPoint
from layering import made_anatomy

PRICE = 0.0892
RATE = 260.0


def estimate(value: float, spread: float = 0.01, n: int = 1000) -> Estimate:
    return Estimate(value=value, low=value * (1 - spread), high=value * (1 + spread), n=n, method="order statistics")


def candidate(
    name: str,
    recipe: Recipe,
    rps: float,
    quality: float | None,
    runtime: str = "openvino",
    precision: Precision = "f32",
    batch: int = 1,
    traffic: bool = True,
) -> Candidate:
    packed = PRICE / (rps * 3600) * 1e6
    machines = -(-RATE // rps)
    provisioned = machines * PRICE / (RATE * 3600) * 1e6 if traffic else None
    basis = packed if provisioned is None else provisioned
    p50 = batch / rps
    return Candidate(
        name=name,
        digest="a" * 64,
        recipe=recipe,
        runtime=runtime,
        precision=precision,
        threads=2,
        replicas=1,
        batch=batch,
        quality=None if quality is None else estimate(quality, 0.012, 3000),
        latency_s=LatencyQuantiles(p50=estimate(p50), p95=estimate(p50 * 1.2), p99=estimate(p50 * 1.4, 0.05)),
        throughput_rps=estimate(rps, 0.02),
        peak_memory_bytes=estimate(2.1e8, 0.01, 3),
        artifact_bytes=3_480_000,
        cold_start_s=estimate(0.41, 0.1, 3),
        usd_per_million_packed=packed,
        usd_per_million_provisioned=provisioned,
        usd_per_million_correct=None if quality is None else basis / quality,
    )


ORIGINAL = Recipe()
BASELINE = candidate("original @ onnxruntime f32 default", ORIGINAL, 118, 0.8302, "onnxruntime")
TUNED = candidate("original @ onnxruntime f32 batch 16", ORIGINAL, 193, 0.8302, "onnxruntime", batch=16)
BF16 = candidate("original @ openvino bf16 batch 32", ORIGINAL, 1040, 0.8298, precision="bf16", batch=32)
INT8 = candidate(
    "int8_nncf(preset=mixed) @ openvino int8 batch 32",
    Recipe(steps=(Step(technique="int8_nncf", parameters={"preset": "mixed"}),)),
    1190,
    0.8121,
    precision="int8",
    batch=32,
)
SMALL = candidate("resnet20.onnx @ openvino bf16 batch 32", Recipe(source="resnet20.onnx"), 2900, 0.8102, batch=32)
ENVIRONMENT = Environment(
    cpu_model="Intel(R) Xeon(R) Platinum 8488C",
    cpu_flags=("amx_bf16", "amx_int8", "avx2", "avx512_vnni", "avx512f"),
    cores=2,
    memory_bytes=8_300_000_000,
    system="Linux x86_64",
    python="3.11.9",
    libraries={"onnxruntime": "1.22.0", "openvino": "2025.4.0", "numpy": "2.3.1"},
)
SPLITS = Splits(
    calibrate=2000,
    search=2000,
    certify=3000,
    groups_in_certify=None,
    data_digest="d" * 64,
    duplicates=Duplicates(exact=12, near=31, in_training=4, conflicting_targets=2),
)


def loss(value: float, high: float) -> Estimate:
    return Estimate(value=value, low=value - (high - value), high=high, n=3000, method="Tango 1998")


SLICES = (
    SliceVerdict(
        name="sex=Female", kind="slice", margin=Margin(drop=0.01), n=1010, needed=None,
        difference=loss(0.001, 0.006), verdict="within", blocks=False,
    ),
    SliceVerdict(
        name="race=Other", kind="slice", margin=Margin(drop=0.02), n=41, needed=134, difference=loss(0.0, 0.06),
        verdict="too few", blocks=False,
    ),
    SliceVerdict(
        name="night photographs", kind="ood", margin=Margin(drop=0.03, relative=True), n=800, needed=None,
        difference=loss(0.051, 0.07), verdict="worse", blocks=True,
    ),
)  # fmt: skip
CERTIFICATE = Certificate(
    metric="accuracy",
    margin=Margin(drop=0.01),
    confidence=0.95,
    n=3000,
    baseline=estimate(0.8302),
    chosen=estimate(0.8298),
    difference=loss(0.0004, 0.0031),
    method="Tango's score interval for paired proportions, in a fixed sequence",
    candidates_tried=41,
    candidates_certified=6,
    slices=SLICES,
    reused=1,
    passed=True,
)
FAILURES = (
    Failure(
        name="int8_dynamic @ onnxruntime int8",
        recipe=Recipe(steps=(Step(technique="int8_dynamic"),)),
        stage="screen",
        reason="1.9 times dearer than the tuned baseline: no setting can make that up",
    ),
    Failure(
        name="fp16 @ onnxruntime f16",
        recipe=Recipe(steps=(Step(technique="fp16"),)),
        stage="convert",
        reason="output 'logits' differs from its source: 0.31 (allowed: 0.02)",
        log="line one\nline two",
    ),
    Failure(name=INT8.name, recipe=INT8.recipe, stage="certify", reason="it may lose 2.4 points (margin 1 point)"),
    Failure(name=SMALL.name, recipe=SMALL.recipe, stage="certify", reason="it may lose 2.9 points (margin 1 point)"),
)


LITTLE = "resnet20.onnx + int8_nncf(preset=performance, target=openvino) @ openvino int8"
LARGE = "int8_static(calibration=minmax, per_channel=True, reduce_range=False) @ openvino int8_bf16"
OTHER = "resnet20.onnx + int8_static(calibration=entropy, per_channel=True, reduce_range=False) @ onnxruntime int8"


def composed_of(kind: str, *stages: str) -> Recipe:
    return Recipe(steps=(Step(technique=kind, parameters={"stages": list(stages), "plan": "fba84dbc7ae3"}),))


CASCADE = candidate(
    f"cascade: {LITTLE} where max_probability >= 0.5994, else {LARGE}, 1 thread x 2 replicas, batch 8",
    composed_of("cascade", LITTLE, LARGE),
    2827,
    0.8334,
    precision="int8_bf16",
    batch=8,
).model_copy(
    update={
        "threads": 1,
        "replicas": 2,
        "stages": (
            CandidateStage(
                name=LITTLE, accepts="max_probability >= 0.5994", share_reached=1.0, share_answered=0.803
            ),
            CandidateStage(name=LARGE, accepts="", share_reached=0.197, share_answered=0.197),
        ),
        "savings": (
            Saving(part=f"stage {LITTLE}", usd_per_million_without=0.21, note="from the measured speeds of its stages"),
            Saving(
                part=f"stage {LARGE}",
                usd_per_million_without=0.081,
                note="cheaper without it, but then the quality is not kept",
            ),
            Saving(
                part=f"compression and runtime of {LITTLE}",
                usd_per_million_without=0.166,
                note="with resnet20.onnx @ onnxruntime f32 instead, from the measured speeds of its stages",
            ),
            Saving(part="batching", usd_per_million_without=0.134),
            Saving(part="cache", usd_per_million_without=0.0953),
        ),
    }
)  # fmt: skip
SIBLING = CASCADE.model_copy(
    update={
        "name": f"cascade: {LITTLE} where margin >= 0.7697, else {LARGE}, 1 thread x 2 replicas, batch 32",
        "stages": (),
        "savings": (),
    }
)
ENSEMBLE = candidate(
    f"mean of ({LITTLE} and {OTHER}), 2 threads, batch 32",
    composed_of("ensemble", f"mean of ({LITTLE} and {OTHER})"),
    1400,
    0.8291,
    batch=32,
).model_copy(
    update={
        "stages": (
            CandidateStage(
                name=f"mean of ({LITTLE} and {OTHER})", accepts="", share_reached=1.0, share_answered=1.0
            ),
        )
    }
)  # fmt: skip


def floor_certificate(value: float, n: int = 3000, passed: bool = True) -> FloorCertificate:
    quality = Estimate(value=value, low=value - 0.011, high=value + 0.01, n=n, method="Wilson interval")
    return FloorCertificate(
        metric="accuracy", floor=0.75, confidence=0.95, n=n, quality=quality, p_value=0.0021 if passed else 0.7,
        method="exact binomial test", passed=passed,
    )  # fmt: skip


FALLBACK = DegradedMode(name=LITTLE, usd_per_million_packed=0.0071, certificate=floor_certificate(0.7911), offered=True)
DISTRUST = Distrust(answer="refer", share_answered=0.958, certificate=floor_certificate(0.852, 2874))
CACHE = CacheFigures(
    rule=CacheRule(max_entries=100_000, entry_bytes=312, hit_share=0.3),
    lookup_s=0.0000123,
    usd_per_million_without=0.0953,
    usd_per_million_with=0.0701,
    memory_usd_per_million=0.00021,
    source="the share of repeats that was given",
    chosen=True,
)


def study(random: np.random.Generator) -> ReportDetails:
    points = [
        ScreenedPoint(
            name=c.name, settings=f"{c.runtime} {c.precision}, batch {c.batch}",
            usd_per_million=c.usd_per_million_provisioned or 0, quality=c.quality,
            p99_s=c.latency_s.p99.value if c.latency_s.p99 else None, drop_high=drop, certified=certified,
        )
        for c, drop, certified in (
            (BASELINE, None, None), (TUNED, 0.0, True), (BF16, 0.004, True), (INT8, 0.024, False),
            (SMALL, 0.029, False),
        )
    ]  # fmt: skip
    for index in range(24):
        rps, good = float(random.uniform(90, 1500)), float(0.832 - random.exponential(0.012))
        points.append(
            ScreenedPoint(
                name=f"candidate {index}", settings="openvino int8", usd_per_million=PRICE / (rps * 3600) * 1e6 * 4.5,
                quality=estimate(good), p99_s=None if index % 3 else 8 / rps, drop_high=0.836 - good,
            )
        )  # fmt: skip
    samples = {
        c.name: random.lognormal(np.log(c.batch / c.throughput_rps.value), 0.14, 600)
        for c in (BASELINE, TUNED, BF16, INT8)
    }
    return ReportDetails(
        model="resnet56.onnx", data="test.npz", metric="accuracy", margin=Margin(drop=0.01), p99_limit_s=0.1,
        memory_limit_bytes=2_000_000_000, rate_rps=RATE, screened=tuple(points), latency_samples_s=samples,
    )  # fmt: skip


@pytest.fixture
def details() -> ReportDetails:
    return study(np.random.default_rng(0))


@pytest.fixture
def replaced() -> Result:
    before, tuned, after = (c.usd_per_million_provisioned or 0 for c in (BASELINE, TUNED, BF16))
    cost = Cost(
        usd_per_million_baseline=before,
        usd_per_million_baseline_tuned=tuned,
        usd_per_million_chosen=after,
        ratio=before / after,
        ratio_tuned=tuned / after,
        ratio_interval=estimate(tuned / after, 0.04),
        basis="provisioned",
        price=Price(
            usd_per_hour=PRICE,
            kind="instance",
            source="AWS on-demand, us-east-1",
            dated="2026-07-20",
            instance="aws:c7i.large",
        ),
        monthly_usd_baseline=3 * PRICE * 730.5,
        monthly_usd_chosen=PRICE * 730.5,
        break_even_rps=193,
    )
    return Result(
        decision="replace",
        sentence="Serve `original @ openvino bf16, batch 32` instead of what you have: $0.0953 instead of $0.286 per "
        "million requests, p99 43.1 ms (limit 100 ms), accuracy 83.0% -> 83.0%, certified to lose at most 1 point "
        "with 95% confidence.",
        baseline=BASELINE,
        baseline_tuned=TUNED,
        chosen=BF16,
        frontier=(SMALL, INT8, BF16),
        rejected=FAILURES,
        certificate=CERTIFICATE,
        provable=Provable(drop=0.0031, plan=BF16.name, n=3000, rows_for_margin=730, total_rows_for_margin=1216),
        cost=cost,
        splits=SPLITS,
        environment=ENVIRONMENT,
        seed=0,
        wall_s=238.4,
        warnings=("12 rows of the data repeat an earlier row.", "The price is 4 months old."),
    )


def _composed(result: Result, chosen: Candidate) -> Result:
    usd = chosen.usd_per_million_provisioned or 0
    before, tuned = (c.usd_per_million_provisioned or 0 for c in (BASELINE, TUNED))
    cost = result.cost.model_copy(
        update={"usd_per_million_chosen": usd, "ratio": before / usd, "ratio_tuned": tuned / usd}
    )
    dearer = Failure(
        name=SIBLING.name.removesuffix(", 1 thread x 2 replicas, batch 32"),
        recipe=SIBLING.recipe,
        stage="choose",
        reason=f"certified, but {CASCADE.name} is cheaper",
    )
    return result.model_copy(
        update={"chosen": chosen, "frontier": (SMALL, CASCADE, SIBLING, ENSEMBLE), "fallback": FALLBACK,
                "distrust": DISTRUST, "cache": CACHE, "cost": cost, "rejected": (*FAILURES, dearer)}
    )  # fmt: skip


@pytest.fixture
def composed(replaced: Result) -> Result:
    """A cascade, with everything that a plan can have besides."""
    chosen = CASCADE.model_copy(update={"usd_per_million_provisioned": CACHE.usd_per_million_with})
    return _composed(replaced, chosen)


@pytest.fixture
def together(replaced: Result) -> Result:
    """An ensemble; what was looked for besides was rejected."""
    result = _composed(replaced, ENSEMBLE)
    assert result.fallback is not None
    assert result.cache is not None
    failed = result.fallback.model_copy(
        update={"certificate": floor_certificate(0.744, passed=False), "offered": False}
    )
    cache = CACHE.model_copy(update={"chosen": False, "usd_per_million_with": 0.0961, "memory_usd_per_million": 0.004})
    return result.model_copy(update={"fallback": failed, "cache": cache, "distrust": None})


@pytest.fixture
def composed_details(details: ReportDetails, composed: Result) -> ReportDetails:
    random = np.random.default_rng(1)
    cheap = CASCADE.model_copy(update={"usd_per_million_provisioned": CACHE.usd_per_million_with})
    shown = (cheap, SIBLING, ENSEMBLE)
    points = tuple(
        ScreenedPoint(
            name=c.name, settings=f"{c.threads} threads, batch {c.batch}",
            usd_per_million=c.usd_per_million_provisioned or 0, quality=c.quality, p99_s=0.02, drop_high=0.005,
            certified=c is not ENSEMBLE,
        )
        for c in shown
    )  # fmt: skip
    samples = {c.name: random.lognormal(np.log(c.batch / c.throughput_rps.value), 0.2, 500) for c in shown}
    return replace(
        details, screened=(*details.screened, *points), latency_samples_s={**details.latency_samples_s, **samples}
    )


def _kept(result: Result) -> Result:
    cost = result.cost.model_copy(
        update={"usd_per_million_chosen": result.cost.usd_per_million_baseline, "ratio": 1.0, "ratio_tuned": 0.9,
                "ratio_interval": None, "break_even_rps": None, "monthly_usd_chosen": result.cost.monthly_usd_baseline}
    )  # fmt: skip
    update = {
        "decision": "keep",
        "sentence": "Keep what you have.",
        "chosen": BASELINE,
        "cost": cost,
        "frontier": (BASELINE,),
    }
    return result.model_copy(update=update)


@pytest.fixture
def kept(replaced: Result) -> Result:
    return _kept(replaced)


@pytest.fixture
def infeasible(replaced: Result) -> Result:
    cost = replaced.cost.model_copy(
        update={"usd_per_million_chosen": None, "ratio": None, "ratio_tuned": None, "ratio_interval": None,
                "break_even_rps": None, "monthly_usd_chosen": None}
    )  # fmt: skip
    miss = NearestMiss(name=BF16.name, limit="p99", found="43 ms", needed="at most 5 ms")
    return replaced.model_copy(
        update={"decision": "infeasible", "sentence": "Nothing meets these limits.", "chosen": None, "cost": cost,
                "nearest_miss": miss, "certificate": None, "frontier": ()}
    )  # fmt: skip


@pytest.fixture
def speed_only(replaced: Result) -> Result:
    def unjudged(c: Candidate) -> Candidate:
        return c.model_copy(
            update={"quality": None, "usd_per_million_provisioned": None, "usd_per_million_correct": None,
                    "latency_s": LatencyQuantiles()}
        )  # fmt: skip

    cost = replaced.cost.model_copy(
        update={"basis": "packed", "monthly_usd_baseline": None, "monthly_usd_chosen": None}
    )
    return replaced.model_copy(
        update={"certificate": None, "provable": None, "baseline": unjudged(BASELINE),
                "baseline_tuned": unjudged(TUNED), "chosen": unjudged(BF16), "frontier": (unjudged(BF16),),
                "cost": cost, "warnings": (), "rejected": ()}
    )  # fmt: skip


@pytest.fixture
def anatomy() -> Anatomy:
    return made_anatomy()
