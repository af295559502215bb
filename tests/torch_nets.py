"""Small PyTorch models, and files of them: what `equipoise` reads, and what it must not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

GRAPH = "models/model.json"
ROWS = 40


class Classifier(nn.Module):
    """`image` uint8 [n, 8, 8, 3] to `logits` [n, 4] and `features` [n, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout()
        self.head = nn.Linear(6, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Logits, and what they are made from."""
        x = image.permute(0, 3, 1, 2).float() / 255
        features = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return {"logits": self.head(self.drop(features)), "features": features}


class Sum(nn.Module):
    """`width` [n, 3] and `height` [n, 3] to one number a row."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(3))

    def forward(self, width: Tensor, height: Tensor, scale: Tensor | None = None) -> Tensor:
        """A weighted sum."""
        total = (width + height) @ self.weights
        return total if scale is None else total * scale


def classifier() -> Classifier:
    """Always the same."""
    torch.manual_seed(0)
    made = Classifier()
    made.norm.running_mean.uniform_(-0.2, 0.2)
    return made.eval()


def linear() -> nn.Module:
    """`input` [n, 2] to [n, 3]."""
    return nn.Linear(2, 3)


def number() -> int:
    """No module at all."""
    return 3


def raising() -> nn.Module:
    """Code that fails."""
    raise RuntimeError("no weights today")


class Reshaped(nn.Module):
    """`x` [n, 4] in another shape, by a rule of one's own."""

    def __init__(self, rule: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        """What the rule makes of it."""
        return self.rule(x) * 2


def fixing() -> nn.Module:
    """Knows its rows as a plain number."""
    return Reshaped(lambda x: x.view(int(x.shape[0]), -1))


def branching() -> nn.Module:
    """Does something else with few rows."""
    return Reshaped(lambda x: x if x.shape[0] > 5 else x + 1)


def regrouping() -> nn.Module:
    """Two answers a row."""
    return Reshaped(lambda x: x.reshape(-1, 2))


@cache
def exported() -> Any:
    """The classifier as most people export it: a tensor by position, any number of rows."""
    batch = torch.export.Dim("batch")
    image = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    return torch.export.export(classifier(), (image,), dynamic_shapes={"image": {0: batch}})


def saved(path: Path) -> Path:
    """The classifier's `.pt2`."""
    torch.export.save(exported(), path)
    return path


def rewritten(
    source: Path,
    target: Path,
    graph: Callable[[dict[str, Any]], None] | None = None,
    members: Mapping[str, bytes] | None = None,
) -> Path:
    """A `.pt2` with its graph changed, and with members replaced or added."""
    reader = PT2ArchiveReader(str(source))
    own = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
    content = {name: reader.read_bytes(name) for name in reader.get_file_names() if name not in own}
    document = json.loads(content[GRAPH])
    if graph is not None:
        graph(document)
    content |= {GRAPH: json.dumps(document).encode()} | dict(members or {})
    with PT2ArchiveWriter(str(target)) as writer:
        for name, data in content.items():
            writer.write_bytes(name, data)
    return target
