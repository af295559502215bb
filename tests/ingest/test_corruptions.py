"""How corruptions are spelled, in options and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.certificate import Margin
from equipoise.core.corruption import FAMILY_OF, Corruption
from equipoise.corrupt.rows import IMAGES, TEXT, needed_for
from equipoise.errors import BriefError
from equipoise.ingest.brief import brief_from_options, brief_from_toml
from equipoise.ingest.corruptions import corruptions

SPELLINGS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(name="gaussian_noise"),
    "jpeg:3": Corruption(name="jpeg", strength=3),
    "jpeg:3:0.02": Corruption(name="jpeg", strength=3, max_drop=Margin(drop=0.02)),
    "contrast:2%": Corruption(name="contrast", max_drop=Margin(drop=0.02, relative=True)),
    "contrast:all:4": Corruption(name="contrast", max_drop=Margin(drop=4)),
    "unit_x0.1:report": Corruption(name="unit_x0.1", blocks=False),
    "typos:5:report": Corruption(name="typos", strength=5, blocks=False),
    "all": Corruption(name="all"),
    "all:2:0.1": Corruption(name="all", strength=2, max_drop=Margin(drop=0.1)),
}
WRONG: dict[Any, str] = {
    "gausian_noise": "did you mean gaussian_noise?",
    "jpeg:6:0.1": "needed a strength from 1 to 5, or all",
    "jpeg:1:2:3": "needed NAME",
    "jpeg:-0.1": "0 or more",
    "jpeg:often": "such as 0.01",
    ("jpeg:3", "jpeg:3:0.1"): "found jpeg:3 twice",
    7: "needed NAME",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_options(spelling: str) -> None:
    assert corruptions([spelling], "--corrupt") == (SPELLINGS[spelling],)
    assert Corruption.of_set(SPELLINGS[spelling].set_name).set_name == SPELLINGS[spelling].set_name


@pytest.mark.parametrize("spelling", WRONG)
def test_what_cannot_be_meant_is_refused(spelling: Any) -> None:
    given = list(spelling) if isinstance(spelling, tuple) else [spelling]
    with pytest.raises(BriefError) as refused:
        corruptions(given, "--corrupt")
    assert WRONG[spelling] in str(refused.value)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").write_bytes(b"")
    np.savez(tmp_path / "d.npz", x=np.zeros(3))
    return tmp_path


def test_a_file_says_the_same_as_options(files: Path) -> None:
    (files / "brief.toml").write_text(
        '[model]\npath = "m.onnx"\n[data]\npath = "d.npz"\n'
        '[[corrupt]]\nname = "jpeg"\nstrength = 3\nmax_drop = "2%"\n[[corrupt]]\nname = "all"\nmax_drop = "report"\n'
    )
    asked = ["jpeg:3:2%", "all:report"]
    given = brief_from_options(model=str(files / "m.onnx"), data=str(files / "d.npz"), corrupt=asked)
    assert brief_from_toml(files / "brief.toml") == given
    assert [each.blocks for each in given.data.corrupt] == [True, False]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"corrupt": ["jpeg:3:1.5"]}, "did you mean 0.015"),
        ({"corrupt": ["jpeg"], "ood": ["jpeg={data}:0.1"]}, "it is a corruption's"),
    ],
)
def test_what_contradicts_itself_is_refused(files: Path, options: dict[str, list[str]], why: str) -> None:
    data = str(files / "d.npz")
    given = {key: [each.replace("{data}", data) for each in value] for key, value in options.items()}
    with pytest.raises(BriefError, match=why):
        brief_from_options(model=str(files / "m.onnx"), data=data, **given)


def test_every_name_can_be_done_to_something() -> None:
    assert {name for name, family in FAMILY_OF.items() if family == "images"} == set(IMAGES)
    assert {name for name, family in FAMILY_OF.items() if family == "text"} == set(TEXT)
    assert all(needed_for(name) for name in FAMILY_OF)
