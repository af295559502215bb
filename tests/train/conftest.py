"""A tiny torch classifier with residual blocks, its rows, and trainings on a clock that the test winds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from equipoise.compress.base import BuildContext  # noqa: E402
from equipoise.compress.tools import open_natively  # noqa: E402
from equipoise.compress.training import Training  # noqa: E402
from equipoise.preprocess.rows import Rows  # noqa: E402
from equipoise.runtimes.torch_program import export_program, save_program  # noqa: E402
from equipoise.testing.example import Example  # noqa: E402
from equipoise.testing.laboratory import TickingClock  # noqa: E402

ROWS, SEARCH_ROWS, CLASSES = 320, 96, 4


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width, momentum=0.5), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width, momentum=0.5),
        )  # fmt: skip

    def forward(self, images: Any) -> Any:
        return torch.relu(images + self.body(images))


class Network(nn.Module):
    """Bytes [n, 8, 8, 3] to logits [n, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32, momentum=0.5), nn.ReLU(),
            Block(32), Block(32), Block(32),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(32, CLASSES)

    def forward(self, image: Any) -> Any:
        return self.head(self.body((image.float() / 255).permute(0, 3, 1, 2)))


def images(n: int, seed: int) -> Rows:
    """Images with one bright quarter, which is their class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, n)
    image = rng.normal(80, 40, (n, 8, 8, 3))
    for row, quarter in enumerate(label):
        image[row, 4 * (quarter // 2) :, 4 * (quarter % 2) :] += 90
    image = np.clip(image, 0, 255).astype(np.uint8)
    return Rows(feeds={"image": image}, target=label, population=np.full(n, "main", dtype=object))


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A torch program, and rows that it answers."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Network()
    rows = images(ROWS, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(12):
        logits = network(torch.from_numpy(rows.feeds["image"]))
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, torch.from_numpy(rows.target)).backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("torch") / "artifact"
    folder.mkdir()
    batch = torch.from_numpy(rows.feeds["image"][:4])
    save_program(export_program(network.eval(), {"image": batch}, "the network"), folder, "the network")
    return Example("torch network", folder, rows, images(SEARCH_ROWS, 2), "output")


class Agreement:
    """Share of search rows to which a student gives the teacher's class."""

    higher_is_better = True

    def __init__(self, teacher: Any) -> None:
        self.teacher = teacher["output"].argmax(1)

    def __call__(self, outputs: Any) -> float:
        return float((outputs["output"].argmax(1) == self.teacher).mean())


@pytest.fixture(scope="session")
def answers(example: Example) -> dict[str, Any]:
    """The teacher's answers to the training rows."""
    return answers_of(example.artifact, example.rows)


def answers_of(artifact: Path, rows: Rows) -> dict[str, Any]:
    session = open_natively(artifact)
    return session.run(session.prepare(rows.feeds))


@pytest.fixture
def contexts(example: Example, answers: dict[str, Any], tmp_path: Path) -> Callable[..., BuildContext]:
    """Contexts of trainings: each has a new folder for its artifact, and checkpoints of its own or another's."""
    count = 0
    judge = Agreement(answers_of(example.artifact, example.search))

    def make(checkpoints: Path | None = None, **changes: Any) -> BuildContext:
        nonlocal count
        count += 1
        folder = tmp_path / f"made-{count}"
        kept = checkpoints or tmp_path / f"checkpoints-{count}"
        for each in (folder, kept):
            each.mkdir(exist_ok=True)
        training = Training(
            rows=example.rows,
            teacher=answers,
            teacher_artifact=example.artifact,
            search=example.search,
            quality=judge,
            folder=kept,
            clock=TickingClock(),
        )
        training = replace(training, **changes)
        return BuildContext(example.rows, "output", folder, seed=0, threads=1, training=training)

    return make
