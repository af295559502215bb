"""Whether profiles add up: layers against the whole, and the machine's roofs against a plain product and a plain copy.

    python benchmarks/anatomy.py             # ResNet-50 and BERT-base shapes, two runtimes, 20 s each
    python benchmarks/anatomy.py 60
    python benchmarks/anatomy.py 0           # the roofs alone

The layers of each model are timed in turns with the whole, in processes of their own; printed is the sum of the layers
over the whole, which should be within 0.9 and 1.1 (`PASS`, else `SHORT`). Each roof is printed over what a plain large
matrix product (NumPy, ONNX Runtime and OpenVINO themselves, timed from outside) or a plain copy reaches right before
or after, which should be within 0.85 and 1.15. It asserts nothing: on a machine that does other things besides, both
are off.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import equipoise
from equipoise.core.profile import Settings
from equipoise.core.roofline import Roofline
from equipoise.flow.roofline import machine_roofline
from equipoise.host.environment import environment
from equipoise.measure.roofline import SIZE, product_rows, write_product
from equipoise.registry import runtimes

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHAPES: dict[str, dict[str, Any]] = {"resnet50": {}, "bert": {"length": 128}}
RUNTIMES = (("onnxruntime", "f32"), ("openvino", "f32"), ("openvino", "bf16"))
SUM_WITHIN, ROOF_WITHIN = 0.1, 0.15
REPEATS = 32
COPY_FLOATS = 1 << 26


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    machine = environment()
    print(f"{machine.cpu_model}, {machine.cores} cores, {' '.join(machine.cpu_flags)}\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        before = plain(machine.cores, folder / "before")
        roofline = machine_roofline(machine, machine.cores, folder, again=True)
        show_roofs(roofline, before, plain(machine.cores, folder / "after"))
        if seconds:
            show_models(seconds, folder)


def show_models(seconds: float, folder: Path) -> None:
    print("| model | runtime | whole | layers / whole | | GFLOPs | weights |\n|---|---|---|---|---|---|---|")
    for shape, options in SHAPES.items():
        path = folder / f"{shape}.onnx"
        onnx.save(made(shape), path)
        for runtime, precision in RUNTIMES:
            if precision in runtimes()[runtime].precisions("onnx", False, environment()):
                found = equipoise.profile(path, runtime=runtime, precision=precision, seconds=seconds, **options)
                covered = found.layers_s / found.whole_s.value
                print(
                    f"| {shape} | {runtime} {precision} | {found.whole_s.value * 1000:.1f} ms | "
                    f"{covered:.3f} | {verdict(covered, SUM_WITHIN)} | {(found.flops or 0) / 1e9:.2f} | "
                    f"{(found.parameters or 0) / 1e6:.1f} M |"
                )


def made(shape: str) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    return example("bert_shape").bert(rng) if shape == "bert" else example("slow_int8").resnet50(rng)


def example(name: str) -> Any:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def plain(threads: int, folder: Path) -> dict[str, dict[str, float]]:
    """What plain products and a plain copy reach: roof to who to operations, or bytes, a second."""
    found: dict[str, dict[str, float]] = {"f32": {"numpy": plain_numpy()}, "memory": {"numpy.copyto": plain_copy()}}
    for name, runtime in runtimes().items():
        for precision in ("f32", "bf16", "f16", "int8"):
            if "onnx" in runtime.formats and precision in runtime.precisions(
                "onnx", precision == "int8", environment()
            ):
                place = folder / f"{name}-{precision}"
                place.mkdir(parents=True)
                write_product(place, SIZE, precision)
                settings = Settings(runtime=name, precision=precision, threads=threads, replicas=1, batch=SIZE)
                session = runtime.open(place, settings)
                run = partial(session.run, session.prepare(product_rows(SIZE)))
                found.setdefault(precision, {})[name] = 2 * SIZE**3 / fastest_s(run)
    return found


def show_roofs(roofline: Roofline, *plains: dict[str, dict[str, float]]) -> None:
    """Print each roof over the best that the plain thing reached before or after."""
    print("| roof | measured | plain | measured / plain | | plain is |\n|---|---|---|---|---|---|")
    measured = {peak.precision: peak.flops_per_s.value for peak in roofline.peaks}
    for roof, value in {**measured, "memory": roofline.bytes_per_s.value}.items():
        best, how = max((reached, name) for each in plains for name, reached in each[roof].items())
        unit = "GB/s" if roof == "memory" else "GFLOP/s"
        ratio = f"{value / best:.2f} | {verdict(value / best, ROOF_WITHIN)}"
        print(f"| {roof} | {value / 1e9:.1f} {unit} | {best / 1e9:.1f} {unit} | {ratio} | {how} |")
    print()


def verdict(ratio: float, within: float) -> str:
    """Whether a ratio is as near to 1 as it is wanted."""
    return "PASS" if abs(ratio - 1) <= within else f"SHORT: {1 - within:g} to {1 + within:g} is wanted"


def plain_numpy() -> float:
    left = product_rows(SIZE)["x"]
    right = np.ascontiguousarray(left.T)
    return 2 * SIZE**3 / fastest_s(lambda: left @ right)


def plain_copy() -> float:
    source, target = np.ones(COPY_FLOATS, np.float32), np.zeros(COPY_FLOATS, np.float32)
    return 2 * source.nbytes / fastest_s(lambda: np.copyto(target, source))


def fastest_s(run: Callable[[], Any]) -> float:
    run()
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


if __name__ == "__main__":
    main()
