"""The other servers: what each needs, how it is started, and how it is asked."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from load import Target, post
from questions import request, right_answers
from server import free_port

from equipoise.execute.plan import OpenPlan

HERE = Path(__file__).resolve().parent
PEERS, VENVS = HERE / "peers", HERE / ".venvs"
UNWANTED = ("torch", "nvidia-", "tensorflow", "triton")
"""What no contestant needs here and would bring gigabytes; nothing is installed that asks for it."""
MODEL_PACKAGES = ("numpy", "onnxruntime")


@dataclass(frozen=True)
class Contestant:
    """Another server.

    Attributes:
        packages: What its environment needs; empty to run in this one.
        arguments: Of Python, to start it; it reads MODEL and PORT.
        ready: Path that answers with 200 once it is ready.
        paths: Label to path of what is asked.
        spreads: Whether its work is done by several processes.
        protocol: Whether it speaks the Open Inference Protocol; otherwise it gets `{"x": [...]}`.
        environment: Further variables.
        folder: Where it runs.
        port_variables: Variables that hold ports beside `PORT`: one that it shares, others that must be free.
    """

    packages: tuple[str, ...]
    arguments: tuple[str, ...]
    ready: str
    paths: dict[str, str]
    spreads: bool = False
    protocol: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = PEERS
    port_variables: tuple[str, ...] = ()

    def variables(self, model: Path, port: int) -> dict[str, str]:
        """The environment that it is started in."""
        ports = {name: str(free_port()) for name in self.port_variables}
        own = {"MODEL": str(model), "PORT": str(port), "PYTHONPATH": ""}
        return own | ports | self.environment_at(port)

    def environment_at(self, port: int) -> dict[str, str]:
        """Its further variables, with the port filled in."""
        return {name: value.format(port=port) for name, value in self.environment.items()}

    def target(self, port: int, path: str, direct: OpenPlan, rows: Any) -> Target:
        """One question a row, and what is right for it."""
        right = right_answers(direct, rows)
        if self.protocol:
            requests = [request("mlp", "x", "FP32", row[None], "json") for row in rows]
        else:
            requests = [post(path, orjson.dumps({"x": row}, option=orjson.OPT_SERIALIZE_NUMPY)) for row in rows]

        def check(question: int, body: bytes) -> bool:
            said = orjson.loads(body)
            found = np.array(said["outputs"][0]["data"] if self.protocol else said["logits"])
            return bool(np.allclose(found, right[question][0], atol=1e-3))

        # MLServer gives each answer an id of its own.
        return Target(port, requests, check, stable=not self.protocol or not self.packages)


CONTESTANTS: dict[str, Contestant] = {
    "ceiling": Contestant((), ("ceiling.py",), "/ready", {"ceiling": "/v2/models/mlp/infer"}, protocol=True),
    "fastapi": Contestant(
        ("fastapi", "uvicorn[standard]", *MODEL_PACKAGES),
        ("fastapi_app.py",),
        "/ready",
        {"fastapi": "/def", "fastapi, async def": "/async"},
    ),
    "mlserver": Contestant(
        ("mlserver", *MODEL_PACKAGES),
        ("-c", "from mlserver.cli import main; main()", "start", "."),
        "/v2/health/ready",
        {"mlserver": "/v2/models/mlp/infer"},
        protocol=True,
        environment={"MLSERVER_HTTP_PORT": "{port}", "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"},
        folder=PEERS / "mlserver",
        port_variables=("MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT"),
    ),
    "litserve": Contestant(
        ("litserve", *MODEL_PACKAGES), ("litserve_app.py",), "/health", {"litserve": "/predict"}, spreads=True
    ),
    "ray": Contestant(
        ("ray[serve]", *MODEL_PACKAGES),
        ("ray_app.py",),
        "/mlp",
        {"ray": "/mlp"},
        spreads=True,
        environment={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0"},
    ),
}


def installed(names: Sequence[str], say: Callable[[str], None]) -> tuple[dict[str, str], dict[str, str]]:
    """Make an environment for each that has none yet.

    Returns:
        Name to Python for those that can run, and name to reason for the others.
    """
    pythons: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in names:
        packages = CONTESTANTS[name].packages
        if not packages:
            pythons[name] = sys.executable
            continue
        python = VENVS / name / "bin" / "python"
        done = VENVS / name / ".done"
        try:
            if not done.is_file():
                say(f"installing {' '.join(packages)}")
                _install(VENVS / name, str(python), packages)
                done.touch()
            pythons[name] = str(python)
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            said = error.stderr[-500:] if isinstance(error, subprocess.CalledProcessError) else str(error)
            missing[name] = f"it could not be installed: {said}"
    return pythons, missing


def _install(folder: Path, python: str, packages: Sequence[str]) -> None:
    venv.create(folder, with_pip=True, clear=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    plan = subprocess.run(
        [*pip, "--dry-run", "--report", "-", *packages], check=True, capture_output=True, text=True, timeout=600
    )
    wanted = [one["metadata"]["name"].lower() for one in json.loads(plan.stdout)["install"]]
    unwanted = [name for name in wanted if name.startswith(UNWANTED) and name != "tritonclient"]
    if unwanted:
        raise ValueError(f"it asks for {', '.join(unwanted)}")
    subprocess.run([*pip, *packages], check=True, capture_output=True, text=True, timeout=1800)
