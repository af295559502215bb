"""Compare Equipoise with plain engines on the shapes of well-known networks: ResNet-50, MobileNetV2 and the like.

The weights are random and nothing is judged (`--metric none`): what is compared is speed alone. Beside `equipoise
optimize` stand plain NNCF, plain ONNX Runtime int8 (static and dynamic) and, where torch is installed, `torch.compile`
in float32 and bfloat16; each once as it is left, and once with the best threads, replicas and batch that our own sweep
finds for it, all timed in turns. Only ratios of things timed side by side are printed.

    python benchmarks/engines/run.py            # four shapes, 5 minutes for ours, about 40 in all
    python benchmarks/engines/run.py --quick    # small forms of them, 20 s each: to see that everything runs
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OPTIMIZERS = HERE.parent / "optimizers"
sys.path.insert(0, str(OPTIMIZERS))  # the contest is the same

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from contest import ORIGINAL, OURS, TUNED, Case, Other, Row, contest  # noqa: E402
from shapes import SHAPES, Shape  # noqa: E402

from equipoise.core.environment import Environment  # noqa: E402
from equipoise.errors import InputError  # noqa: E402
from equipoise.host.environment import environment  # noqa: E402
from equipoise.ingest.spellings import duration_s  # noqa: E402

BUDGET, QUICK_BUDGET, RACE_SHARE = "5m", "20s", 0.4
ROWS, CALIBRATION = 96, 32
TOOLS = ("NNCF", "ONNX Runtime static", "ONNX Runtime dynamic")
COLUMNS = ("shape", "engine", "settings", "runs as", "cost / ours", "made in", "note")
AMX_FLAGS = ("amx_int8", "amx_bf16")
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
LONGEST_NOTE = 120
WANTED_OF_AMX = 4.0


def main() -> None:
    """Run the contests and print a table and our ratios."""
    options = _options()
    budget_s = duration_s(options.budget or (QUICK_BUDGET if options.quick else BUDGET), "--budget")
    out = options.out or Path(tempfile.mkdtemp(prefix="equipoise-engines-"))
    out.mkdir(parents=True, exist_ok=True)
    # Children must find the tools, and the person's register of opened rows is none of a benchmark's business.
    paths = [str(HERE), str(OPTIMIZERS), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ["EQUIPOISE_STORE"] = f"sqlite:///{out.resolve() / 'store.db'}"

    machine = environment()
    begin = time.monotonic()
    others = _torch_forms(machine)
    print(f"{_spoken(machine)}; {budget_s:g} s for each engine{', small forms' * options.quick}; files in {out}")
    if not others:
        print('torch is not installed: torch.compile is left out (pip install "equipoise[torch]")')
    print(flush=True)

    def tell(doing: str) -> None:
        print(f"[{time.monotonic() - begin:5.0f} s] {doing}", file=sys.stderr, flush=True)

    report: dict[str, Any] = {"budget_s": budget_s, "quick": options.quick, "environment": machine.model_dump()}
    report["shapes"] = {}
    print(f"{_line(COLUMNS)}\n{_line(['---'] * len(COLUMNS))}", flush=True)
    for name in options.shape or SHAPES:
        case = _case(SHAPES[name], out / name, options.quick)
        rows = contest(case, budget_s, RACE_SHARE * budget_s, out / name, tell, TOOLS, others)
        ratios = {"ratio": _ratio(rows, ORIGINAL, 0), "ratio_tuned": _ratio(rows, ORIGINAL, -1)}
        report["shapes"][name] = ratios | {"rows": [row.model_dump() for row in rows]}
        (out / "result.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
        print("\n".join(_line(_cells(name, row)) for row in rows), flush=True)
    print()
    for name, found in report["shapes"].items():
        shown = ", ".join(f"{key} {value['value']:.2f}" for key in ("ratio", "ratio_tuned") if (value := found[key]))
        print(f"{name}: {OURS} is so many times as cheap as the model as it is deployed, and as tuned: {shown}")
        if found["ratio_tuned"] is not None:
            needed = wanted(name, machine)
            holds = found["ratio_tuned"]["value"] >= needed
            print(f"{name}: ratio_tuned of at least {needed:g} is wanted here: {'PASS' if holds else 'SHORT'}")


def wanted(shape: str, machine: Environment) -> float:
    """What `ratio_tuned` should be at least: what the matrix units are there for, and never a loss."""
    return WANTED_OF_AMX if shape in ("resnet50", "bert-base") and set(AMX_FLAGS) <= set(machine.cpu_flags) else 1.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--budget", help=f"wall time for each engine (default: {BUDGET}; {QUICK_BUDGET} with --quick)")
    parser.add_argument("--quick", action="store_true", help="small shapes: to see that everything runs")
    parser.add_argument("--out", type=Path, help="new folder for everything (default: a temporary one)")
    parser.add_argument("--shape", choices=SHAPES, action="append", help="only this one (default: all)")
    options = parser.parse_args()
    if options.out is not None and options.out.exists() and any(options.out.iterdir()):
        parser.error(f"--out {options.out} is not empty; give a new folder")
    return options


def _case(shape: Shape, out: Path, quick: bool) -> Case:
    """The model and its rows as files, as options of `equipoise optimize`."""
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(shape.model(quick), out / "model.onnx")
    rows = shape.rows(ROWS + CALIBRATION, quick)
    np.savez(out / "rows.npz", **{name: array[:ROWS] for name, array in rows.items()})
    np.savez(out / "calibration.npz", **{name: array[ROWS:] for name, array in rows.items()})
    files = {"model": out / "model.onnx", "data": out / "rows.npz", "calibration": out / "calibration.npz"}
    return Case(shape.name, {**files, "metric": "none"})


def _torch_forms(machine: Environment) -> tuple[Other, ...]:
    """`torch.compile` in float32, and in bfloat16 where this CPU computes in it; none without torch."""
    if find_spec("torch") is None:
        return ()
    from torch_form import write_program

    found = [Other("torch.compile", write_program, "torch_compile", "f32")]
    if BF16_FLAGS & set(machine.cpu_flags):
        found.append(Other("torch.compile bf16", write_program, "torch_compile", "bf16"))
    return tuple(found)


def _ratio(rows: list[Row], engine: str, which: int) -> dict[str, Any] | None:
    """What an engine costs over ours: as it is left (0), or in its own best settings (-1); null where not timed."""
    costs = [row.cost_to_ours for row in rows if row.tool == engine]
    cost = costs[which] if costs else None
    return None if cost is None else cost.model_dump()


def _cells(shape: str, row: Row) -> list[str]:
    cost = row.cost_to_ours
    shown = ""
    if cost is not None:
        ends = "" if cost.low is None or cost.high is None else f" [{cost.low:.2f}, {cost.high:.2f}]"
        shown = f"{cost.value:.2f}{ends}"
    note = " ".join(row.note.split())
    note = note if len(note) <= LONGEST_NOTE else f"{note[: LONGEST_NOTE - 3]}..."
    made_in = "" if row.optimise_s is None or row.setting == TUNED else f"{row.optimise_s:.0f} s"
    return [shape, row.tool, row.setting, row.runs_as, shown, made_in, note]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _spoken(machine: Environment) -> str:
    """The machine, and whether it has the matrix units that the largest ratios come from."""
    has = [flag for flag in AMX_FLAGS if flag in machine.cpu_flags]
    others = [flag for flag in ("avx512_vnni", "avx_vnni", "avx512_bf16") if flag in machine.cpu_flags]
    units = f"AMX ({', '.join(has)})" if has else f"no AMX ({', '.join(others) or 'no 8-bit dot products'})"
    return f"{machine.cpu_model}, {machine.cores} cores, {units}"


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"run.py: {error}")
