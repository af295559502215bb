"""The GitHub Action in `examples/ci` calls the command as it is."""

from __future__ import annotations

import re
from pathlib import Path

from equipoise.cli.check import check

ACTION = Path(__file__).resolve().parents[2] / "examples" / "ci" / "equipoise-check.yml"


def test_the_action_uses_options_that_there_are() -> None:
    command = re.search(r"run: >\n((?: {10}.+\n)+)", ACTION.read_text())
    assert command is not None
    used = set(re.findall(r"--[a-z-]+", command[1]))
    known = {name for option in check.params for name in option.opts}
    assert {"--data", "--target", "--baseline", "--junit"} <= used <= known


def test_every_variable_of_the_action_is_set() -> None:
    text = ACTION.read_text()
    (environment,) = re.findall(r"^env:\n((?:  [A-Z]+: .+\n)+)", text, re.MULTILINE)
    assert set(re.findall(r'"\$([A-Z]+)"', text)) == set(re.findall(r"([A-Z]+):", environment))
