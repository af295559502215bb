"""The official HTTP clients, each in a process of its own, against `equipoise serve` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from equipoise.execute.plan import open_plan
from equipoise.store.bundle import read_bundle

Array = NDArray[Any]
CLIENTS = Path(__file__).parent / "clients"
MANY = 300
KSERVE = "kserve==0.21.0"


@pytest.fixture(scope="session")
def kserve_python() -> Path:
    """Python with kserve, which wants older packages than Equipoise does: in an environment that is kept for the next
    time.
    """
    folder = CLIENTS.parents[2] / ".venvs" / KSERVE.replace("==", "-")
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", KSERVE]
        subprocess.run(install, check=True, capture_output=True)
        whole.touch()
    return python


def found_by(python: Path | str, script: str, *arguments: Any) -> Any:
    done = subprocess.run(
        [str(python), str(CLIENTS / script), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def made(cascade: Callable[..., Any]) -> Any:
    return cascade(lanes=2)


@pytest.fixture
def people(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {name: table[name].tolist() for name in ("age", "income", "town")}


def require_people(found: Any, bundle: Path, people: dict[str, list[Any]]) -> None:
    answers = open_plan(read_bundle(bundle)).answer({name: np.array(each)[:, None] for name, each in people.items()})
    assert found["label"] == answers["label"].tolist()
    np.testing.assert_allclose(found["probabilities"], answers["probabilities"])


@pytest.mark.parametrize("form", ["sync", "aio"])
def test_triton(
    form: str, serving: Any, made: Any, sklearn_bundle: Path, people: dict[str, list[Any]], images: Array
) -> None:
    given = [f"m={made.folder}", f"m={made.folder}", f"other={made.folder}", f"people={sklearn_bundle}", "--admin"]
    with serving(*given) as server:
        asked = json.dumps({"image": images.tolist(), "people": people})
        found = found_by(sys.executable, "triton_http.py", server.port, form, asked)
    expected = made.expected(images)["logits"]
    for name in ("plain", "version", "json", "json in", "json out", "small gzip out", "in time"):
        assert found[name]["version"] == ("1" if name == "version" else "2")
        assert found[name]["id"] == ("mine" if name == "version" else "")
        np.testing.assert_allclose(found[name]["logits"], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    for name in ("gzip", "deflate", "gzip out", "deflate out"):
        many = np.concatenate([expected] * MANY)
        np.testing.assert_allclose(found[name]["logits"], many, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found["high"]["logits"], made.of_stage(1, images), rtol=1e-5, atol=1e-6)
    for place, logits in enumerate(found["at once"]):
        np.testing.assert_allclose(logits, expected[place:], rtol=1e-5, atol=1e-6)
    for name, status in (
        ("late", "504"), ("version of none", "404"), ("output of none", "400"), ("classes", "400"), ("too few", "400"),
    ):  # fmt: skip
        assert found[name]["status"] == status, (name, found[name])
    for name in ("people binary", "people json"):
        assert found[name]["outputs"] == ["probabilities", "label"]
        require_people(found[name], sklearn_bundle, people)
    require_described(found, len(images))


def require_described(found: Any, rows: int) -> None:
    for name in ("is_server_live", "is_server_ready", "is_model_ready", "is_model_ready of 1", "ready once loaded"):
        assert found[name] is True, name
    for name in ("is_model_ready of none", "ready once unloaded"):
        assert found[name] is False, name
    assert (found["load"], found["unload"]) == (None, None)
    assert set(found["get_server_metadata of all"]["extensions"]) == {
        "binary_tensor_data", "model_configuration", "model_repository", "statistics",
    }  # fmt: skip
    metadata = found["get_model_metadata"]
    assert metadata == found["get_model_metadata of 1"]
    assert (metadata["versions"], metadata["inputs"]) == (
        ["1", "2"], [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 2]}],
    )  # fmt: skip
    assert (found["get_model_config"]["name"], found["get_model_config"]["max_batch_size"]) == ("m", 4)
    states = [(each["name"], each["version"], each["state"]) for each in found["get_model_repository_index of all"]]
    assert states == [
        (name, version, "READY") for name, version in (("m", "1"), ("m", "2"), ("other", "1"), ("people", "1"))
    ]
    (first,) = found["get_inference_statistics of 1"]["model_stats"]
    assert (first["inference_count"], first["inference_stats"]["success"]["count"]) == (rows, 1)
    every = [(each["name"], each["version"]) for each in found["get_inference_statistics of all"]["model_stats"]]
    assert every == [("m", "1"), ("m", "2"), ("other", "1"), ("people", "1")]
    for name in ("get_model_metadata", "get_model_config", "get_inference_statistics"):
        assert found[f"{name} of none"]["status"] == "404", name
    for name in (
        "get_trace_settings", "get_log_settings", "get_system_shared_memory_status", "get_cuda_shared_memory_status",
        "register",
    ):  # fmt: skip
        assert (found[name]["status"], " here" in found[name]["error"]) == ("404", True), name
    assert found["load of none"]["status"] == "404"
    assert found["load with a config"]["status"] == "400"


def test_kserve(
    kserve_python: Path, serving: Any, made: Any, sklearn_bundle: Path, people: dict[str, list[Any]], images: Array
) -> None:
    with serving(f"m={made.folder}", f"people={sklearn_bundle}") as server:
        asked = json.dumps({"image": images.tolist(), "people": people})
        found = found_by(kserve_python, "kserve_rest.py", server.port, asked)
    assert (found["live"], found["ready"], found["model ready"]) == (True, True, True)
    for name in ("json", "binary in", "binary"):
        assert found[name]["id"] == name
        np.testing.assert_allclose(found[name]["logits"], made.expected(images)["logits"], rtol=1e-5, atol=1e-6)
    require_people(found["people"], sklearn_bundle, people)
    assert (found["none"]["status"], "no model 'none' is served" in found["none"]["error"]) == (404, True)
    assert (found["too few"]["status"], "the model takes" in found["too few"]["error"]) == (400, True)
