"""What `import equipoise` offers: the same verbs as the command line, in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipoise.core.anatomy import Anatomy
from equipoise.core.check import Check
from equipoise.core.result import Result
from equipoise.core.simulation import SimulationResult
from equipoise.execute.verify import Verification
from equipoise.flow.progress import Watcher, nobody_watches

PathLike = str | Path


def optimize(
    source: PathLike | None = None,
    *,
    out: PathLike | None = None,
    resume: PathLike | None = None,
    watcher: Watcher = nobody_watches,
    **options: Any,
) -> Result:
    """Find the cheapest way to serve a model within the limits, prove it, and write result, report and bundle.

    Args:
        source: A model (`.onnx`, `.xml`, `.tflite`, `.pt2`, `.skops`, `.joblib`, `.pkl`), `module:function`, or a
            brief (`.toml`); null with `resume`.
        out: Folder for the answer; null for a new folder beside the current one's other studies.
        resume: Folder of an interrupted study to go on with.
        watcher: Called with a `flow.progress.Progress` at every step.
        options: The command line's options without dashes: `data="test.npz"`, `max_drop=0.01`, `p99_ms=30`,
            `budget="5m"`, `slice=["sex:0.01"]` ...

    Returns:
        The answer, as `result.json` holds it.

    Raises:
        InputError: Something that was given cannot be used.
    """
    from equipoise.flow.optimize import optimize_from

    result, _ = optimize_from(_path(source), options, out=_path(out), resume=_path(resume), watcher=watcher)
    return result


def verify(bundle: PathLike) -> Verification:
    """Find any changed byte of a bundle, and any answer that changed on this machine.

    Raises:
        BundleError: It is not a bundle.
    """
    from equipoise.execute.verify import verify_bundle

    return verify_bundle(Path(bundle))


def check(
    bundle: PathLike,
    *,
    data: PathLike,
    baseline: PathLike | None = None,
    state_dict: PathLike | None = None,
    columns: str | Sequence[str] | None = None,
    ood: Mapping[str, PathLike] | None = None,
    **options: Any,
) -> Check:
    """Test a bundle's certificate again on new rows, and look for changed files and answers.

    Args:
        bundle: Folder of the bundle.
        data: New rows with true answers, of any kind that a study takes.
        baseline: The model that the bundle was made from; null for the weaker claim about the bundle alone.
        state_dict: Weights of a `baseline` that is `module:function`.
        columns: Column names of CSV files that have no header: a list, or `"age,sex,label"`.
        ood: Name of an out-of-distribution set of the certificate to a file of new rows of it.
        options: Others of the command line, without dashes: `target="label"`, `group="patient"`, `trust=True`,
            `positive_class="yes"`, `small_slices="report"`, `seed=0`.

    Returns:
        What was found, claim by claim; `ok` where nothing fails.

    Raises:
        InputError: Bundle, rows, original or an option cannot be used.
    """
    from equipoise.flow.check import CheckWish, check_bundle
    from equipoise.ingest.spellings import names, refuse_unknown

    refuse_unknown(options, ("target", "group", "trust", "positive_class", "small_slices", "seed"), "check")
    wish = CheckWish(
        data=Path(data),
        baseline=_path(baseline),
        state_dict=_path(state_dict),
        columns=None if columns is None else names(columns, "columns"),
        ood={name: Path(path) for name, path in (ood or {}).items()},
        **options,
    )
    return check_bundle(Path(bundle), wish)


def predict(bundle: PathLike, *, data: PathLike, out: PathLike, columns: str | Sequence[str] | None = None) -> int:
    """Answer a file with a bundle, chunk by chunk.

    Args:
        bundle: Folder of the bundle.
        data: A `.npz`, `.csv` or `.parquet` file with the model's inputs; texts; or an image, a folder or an archive
            of them.
        out: File for the answers, of any of these kinds.
        columns: Column names of a CSV file that has no header: a list, or `"age,sex,label"`.

    Returns:
        Rows that were answered.

    Raises:
        InputError: Bundle or data cannot be used.
    """
    from equipoise.execute.predict_file import predict_file
    from equipoise.ingest.spellings import names
    from equipoise.store.bundle import read_bundle

    header = None if columns is None else names(columns, "columns")
    return predict_file(read_bundle(Path(bundle)), Path(data), Path(out), header=header).rows


def simulate(bundle: PathLike, *, out: PathLike | None = None, **options: Any) -> SimulationResult:
    """Play traffic against a bundle's plan on machines as it was measured, without running a model.

    Args:
        bundle: Folder of the bundle.
        out: Folder for `simulation.json` and `simulation.html`; null to write nothing.
        options: The command line's options without dashes: `trace="requests.csv"`, or `rate=200` with
            `arrivals="bursty"`; `seconds=60`, `machines=3`, `p99_ms=30`, `price=0.0892`, `seed=0`.

    Returns:
        What was found, as `simulation.json` holds it.

    Raises:
        InputError: Bundle, trace or an option cannot be used.
    """
    from equipoise.flow.simulate import simulate_bundle, simulate_options, write_simulation
    from equipoise.ingest.spellings import refuse_unknown
    from equipoise.store.bundle import read_bundle

    known = ("trace", "rate", "arrivals", "seconds", "machines", "p99_ms", "price", "seed")
    refuse_unknown(options, known, "simulate")
    result = simulate_bundle(read_bundle(Path(bundle)), simulate_options(options))
    if out is not None:
        write_simulation(result, Path(out))
    return result


def profile(model: PathLike, *, out: PathLike | None = None, **options: Any) -> Anatomy:
    """Find out which layers and operators of a model cost what on this machine.

    Args:
        model: A `.onnx`, `.xml`, `.tflite`, `.pt2`, `.skops`, `.joblib` or `.pkl` file.
        out: Folder for `anatomy.json` and `anatomy.html`; null to write nothing.
        options: The command line's options without dashes: `data="rows.npz"`, or `length=128`,
            `shape={"image": (3, 224, 224)}`; `runtime="openvino"`, `precision="bf16"`, `batch=8`, `threads=2` ...

    Returns:
        What was found, as `anatomy.json` holds it.

    Raises:
        InputError: Model, data or an option cannot be used.
    """
    from equipoise.flow.profile import profile_model, write_anatomy
    from equipoise.flow.profile_options import profile_options

    anatomy = profile_model(profile_options(Path(model), options))
    if out is not None:
        write_anatomy(anatomy, Path(out))
    return anatomy


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
