"""What this machine can do at most, measured in children and kept for the next time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from equipoise.core.environment import Environment
from equipoise.core.profile import Precision, Settings
from equipoise.core.roofline import Peak, Roofline
from equipoise.errors import EquipoiseError
from equipoise.host.sandbox import Sandbox
from equipoise.measure.layers import open_batch, time_batch, timed_layers
from equipoise.measure.roofline import SIZE, copy_bandwidth, peak_flops, product_rows, write_product
from equipoise.registry import runtimes
from equipoise.runtimes.layers import LayerRuntime, TimedLayers
from equipoise.store.rooflines import keep_roofline, kept_roofline

TIMEOUT_S = 300.0
PRODUCTS = 32
PEAKS: tuple[Precision, ...] = ("f32", "bf16", "f16", "int8")


def machine_roofline(
    machine: Environment,
    threads: int,
    folder: Path,
    *,
    again: bool = False,
    size: int = SIZE,
    say: Callable[[str], None] = lambda _: None,
) -> Roofline:
    """The roofline of this machine: the one that was kept, or one that is measured now, and kept.

    Args:
        machine: This machine and its libraries; others have another roofline.
        threads: Threads to measure with.
        folder: An existing folder for what is written meanwhile.
        again: Measure even where one was kept.
        size: Rows and columns of the matrices that are multiplied.
        say: Told what is measured.

    Raises:
        BriefError: The store cannot be used.
        EquipoiseError: The copy of memory could not be measured.
    """
    environment = machine.content_digest
    kept = None if again else kept_roofline(environment, threads)
    if kept is not None:
        return kept
    say("measuring what this machine can do at most (once)")
    log = folder / "roofline.log"
    with Sandbox(log) as child:
        bytes_per_s = child.call(copy_bandwidth, threads, timeout_s=TIMEOUT_S)
    peaks = [peak for precision in PEAKS if (peak := _peak(precision, machine, threads, folder, size)) is not None]
    roofline = Roofline(environment=environment, threads=threads, peaks=tuple(peaks), bytes_per_s=bytes_per_s)
    keep_roofline(roofline)
    return roofline


def _peak(precision: Precision, machine: Environment, threads: int, folder: Path, size: int) -> Peak | None:
    """The fastest product in a precision that any runtime reaches; null where none computes in it."""
    found = []
    for name, runtime in runtimes().items():
        if not isinstance(runtime, LayerRuntime) or "onnx" not in getattr(runtime, "formats", ()):
            continue
        if precision not in runtime.precisions("onnx", precision == "int8", machine):
            continue
        settings = Settings(runtime=name, precision=precision, threads=threads, replicas=1, batch=size)
        place = folder / f"peak-{precision}-{name}"
        try:
            layers = _timed_product(settings, size, place)
        except EquipoiseError:  # this runtime has no part in it then
            continue
        flops_per_s = peak_flops(layers.layers, size)
        if flops_per_s is not None:
            found.append(Peak(precision=precision, flops_per_s=flops_per_s, runtime=name))
    return max(found, key=lambda peak: peak.flops_per_s.value, default=None)


def _timed_product(settings: Settings, size: int, place: Path) -> TimedLayers:
    artifact, scratch = place / "model", place / "scratch"
    for folder in (artifact, scratch):
        folder.mkdir(parents=True)
    write_product(artifact, size, settings.precision)
    with Sandbox(place / "log") as child:
        child.call(open_batch, settings, artifact, product_rows(size), scratch, timeout_s=TIMEOUT_S)
        for _ in range(PRODUCTS):
            child.call(partial(time_batch, warm=False), 0.0, timeout_s=TIMEOUT_S)
        layers: TimedLayers = child.call(timed_layers, timeout_s=TIMEOUT_S)
    return layers
