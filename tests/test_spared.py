"""Libraries that others load only because they are there are not loaded, and can be all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from equipoise.spared import spared
with spared("torch"):
    {first}
assert "torch" not in sys.modules
import torch
assert torch.__version__
with spared("torch"):
    import torch.nn
"""


@pytest.mark.parametrize("first", ["import skops.io", "import nncf"])
def test_torch_is_loaded_by_who_asks_for_it_alone(first: str) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(first=first)]
    assert subprocess.run(command, check=False).returncode == 0
