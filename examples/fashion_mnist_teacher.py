"""Train a residual network on Fashion-MNIST, in minutes on two cores: the model that `fashion_mnist.py` makes cheap.

It reads images as they are stored (28 x 28 bytes; the scaling is part of it) and answers ten logits. Its file,
`teacher.pt2`, holds the graph and the weights and no code. The test rows are looked at once, at the end.

    python examples/fashion_mnist_teacher.py --data ../shared/data/fashion_mnist --out fashion
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (24, 48, 96)
BLOCKS = 2
BATCH = 128
EVALUATION_BATCH = 500
LARGEST_RATE = 0.1
MOST_EPOCHS = 12
SHIFT = 2


class Block(nn.Module):
    """Two convolutions whose result is added to what they were given."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, images: Tensor) -> Tensor:
        """Compute a batch."""
        return torch.relu(self.body(images) + self.shortcut(images))


class Teacher(nn.Module):
    """A residual network: bytes [n, 28, 28] to logits [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(1, WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
        before = WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            for position in range(BLOCKS):
                parts.append(Block(before, width, 2 if stage > 0 and position == 0 else 1))
                before = width
        self.body = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(before, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Answer a batch."""
        images = (x.float() / 255 - 0.2860) / 0.3530
        logits: Tensor = self.head(self.body(images.unsqueeze(1)))
        return logits


def main() -> None:
    """Train, look at the test rows once, and write the model."""
    default = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data")) / "fashion_mnist"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=default, help="folder with train.npz and test.npz")
    parser.add_argument("--out", type=Path, default=Path("fashion"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=8.0, help="time to train (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads (default: %(default)s)")
    options = parser.parse_args()
    if not (options.data / "train.npz").is_file():
        parser.error(f"{options.data} holds no train.npz; give the folder of Fashion-MNIST with --data")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images, labels = read(options.data / "train.npz")
    teacher = train(Teacher(), images, labels, options.minutes * 60)
    accuracy = accuracy_of(teacher, *read(options.data / "test.npz"))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "teacher.pt2"
    save(teacher, images[:2], path)
    print(f"{path}: accuracy {accuracy:.4f} on the test rows, {path.stat().st_size / 1e6:.1f} MB")


def read(path: Path) -> tuple[Tensor, Tensor]:
    """Images [n, 28, 28] of bytes and their labels [n]."""
    with np.load(path) as rows:
        return torch.from_numpy(rows["x"]), torch.from_numpy(rows["y"].astype(np.int64))


def train(teacher: Teacher, images: Tensor, labels: Tensor, seconds: float) -> Teacher:
    """Train for so long, at most 12 passes: the learning rate rises for a fifth of the time and falls for the rest."""
    teacher = teacher.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps, begin, progress = len(images) // BATCH, time.monotonic(), 0.0
    for epoch in range(MOST_EPOCHS):
        order, total = torch.randperm(len(images)), 0.0
        for position in range(steps):
            done = epoch * steps + position
            elapsed_s = time.monotonic() - begin
            by_time = (seconds - elapsed_s) * done / elapsed_s if done else math.inf
            progress += (1 - progress) / max(1.0, min(MOST_EPOCHS * steps - done, by_time))
            for group in optimizer.param_groups:
                group["lr"] = LARGEST_RATE * (progress / 0.2 if progress < 0.2 else (1 - progress) / 0.8)
            index = order[position * BATCH : (position + 1) * BATCH]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = teacher(changed(images[index]))
            loss = functional.cross_entropy(logits.float(), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
            if time.monotonic() - begin >= seconds:
                return teacher.eval()
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}, {time.monotonic() - begin:.0f} s", flush=True)
    return teacher.eval()


def changed(images: Tensor) -> Tensor:
    """Images moved by up to two pixels, every second batch mirrored: clothes stay what they are."""
    down, right = (int(torch.randint(-SHIFT, SHIFT + 1, ())) for _ in range(2))
    images = functional.pad(images, (SHIFT, SHIFT, SHIFT, SHIFT))
    images = images[:, SHIFT + down : SHIFT + down + 28, SHIFT + right : SHIFT + right + 28]
    return images.flip(2) if torch.rand(()) < 0.5 else images


def accuracy_of(teacher: Teacher, images: Tensor, labels: Tensor) -> float:
    """Share of rows that it answers rightly, in float32."""
    with torch.inference_mode():
        answers = [teacher(batch).argmax(1) for batch in images.split(EVALUATION_BATCH)]
    return float((torch.cat(answers) == labels).float().mean())


def save(teacher: Teacher, images: Tensor, path: Path) -> None:
    """Write the graph, for batches of any size, and the weights."""
    images = images.clone()  # a view would be saved with all that it is a view of
    teacher = teacher.to(memory_format=torch.contiguous_format)
    batch = torch.export.Dim("batch", min=1)
    torch.export.save(torch.export.export(teacher, (images,), dynamic_shapes={"x": {0: batch}}), path)


if __name__ == "__main__":
    main()
