"""The example with images: what a server answers to curl is what predict answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import equipoise
from equipoise.core.result import Result

EXAMPLE = Path(__file__).parents[1] / "examples" / "cifar10_images.py"


def run(data: Path, out: Path, *more: str) -> Result:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = [sys.executable, str(EXAMPLE), "--data", str(data), "--out", str(out), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the same answer"
    return Result.model_validate_json((out / "result.json").read_text())


def test_a_few_images_end_to_end(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "cifar10" / "test.tar.gz") as archive:
        for member in archive:
            if member.isreg() and int(Path(member.name).stem) < 40:
                file = archive.extractfile(member)
                assert file is not None
                place = tmp_path / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read())
    found = run(shared_data, tmp_path / "out", "--images", str(tmp_path / "test"), "--budget", "10s")
    assert any("no preprocessing was given" in warning for warning in found.warnings)
    bundle = tmp_path / "out" / "bundle"
    assert (bundle / "preprocess.json").is_file()
    checked = equipoise.check(bundle, data=tmp_path / "test")
    accuracy = next(claim for claim in checked.claims if claim.kind == "metric")
    assert accuracy.n == 400


@pytest.mark.slow
def test_the_whole_archive(shared_data: Path, tmp_path: Path) -> None:
    found = run(shared_data, tmp_path / "out", "--budget", "3m")
    assert found.certificate is not None
    assert found.decision in ("replace", "keep")
    assert found.splits.certify >= 2_500
