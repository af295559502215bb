"""The package as a whole: what importing it loads, what installing it brings, what its documents promise."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import equipoise

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = (
    "nncf",
    "onnx",
    "onnxruntime",
    "openvino",
    "pandas",
    "plotly",
    "pyarrow",
    "scipy",
    "skl2onnx",
    "sklearn",
    "torch",
)
MOST_PACKAGES = 60


@pytest.mark.parametrize(
    "program",
    [
        "import equipoise",
        "import sys; sys.argv = ['equipoise', '--help']; from equipoise.cli.main import main; main()",
        "import sys; sys.argv = ['equipoise', 'optimize', '--help']; from equipoise.cli.main import main; main()",
    ],
)
def test_loads_no_heavy_library(program: str) -> None:
    check = (
        f"import atexit, sys\natexit.register(lambda: print('LOADED', *sorted(set(sys.modules) & set({HEAVY!r}))))\n"
    )
    done = subprocess.run([sys.executable, "-c", check + program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "LOADED"


def test_public_names_are_frozen() -> None:
    assert equipoise.__all__ == [
        "Brief", "EquipoiseError", "InputError", "Result", "check", "optimize", "predict", "profile", "simulate",
        "verify",
    ]  # fmt: skip
    assert all(getattr(equipoise, name) is not None for name in equipoise.__all__)


def test_core_install_is_small_and_without_torch() -> None:
    needed: set[str] = set()
    waiting = ["equipoise"]
    while waiting:
        for line in requires(waiting.pop()) or []:
            requirement = Requirement(line)
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and name not in needed:
                distribution(name)  # installed, so that its own requirements are known
                needed.add(name)
                waiting.append(name)
    assert len(needed) < MOST_PACKAGES
    assert not {"torch", "torchvision", "tensorflow"} & needed


def test_every_verb_is_in_the_readme_and_answers_help() -> None:
    from click.testing import CliRunner

    from equipoise.cli.main import VERBS, cli

    readme = (REPOSITORY / "README.md").read_text()
    for verb in VERBS:
        assert f"equipoise {verb}" in readme
        assert CliRunner().invoke(cli, [verb, "--help"]).exit_code == 0


def test_every_dependency_has_a_line_in_the_decisions() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    decision = (REPOSITORY / "docs/decisions/0001-dependencies.md").read_text()
    for line in project["dependencies"]:
        assert re.search(rf"\b{Requirement(line).name}\b", decision), line


def test_every_technique_has_a_page() -> None:
    from equipoise.registry import techniques

    for name in techniques():
        assert (REPOSITORY / "docs" / "techniques" / f"{name}.md").is_file(), name
