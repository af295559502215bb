"""Train a small transformer on SST-2, and see whether a network of convolutions or a bag of words may stand in for it.

The Stanford Sentiment Treebank (two classes, `label text` a line) becomes numbers of words, 48 a row. The teacher is
trained from scratch on the training sentences in some minutes; the study distils it into a text CNN, a bag of
embeddings and a smaller transformer, and judges them on the sentences of `dev` and `test`. With so few rows a drop of
one point is hard to prove: the answer says which drop can be.

    python examples/sst2_students.py --data ../shared/data/sst2 --out sst2-students
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from fashion_mnist import say
from torch import Tensor, nn
from torch.nn import functional

from equipoise.flow.optimize import optimize_from

LENGTH, LEAST_COUNT, PADDING, UNKNOWN = 48, 2, 0, 1
WIDTH, LAYERS, HEADS = 128, 3, 4
BATCH, RATE, WARM_STEPS = 64, 5e-4, 100
SPREAD, FORGOTTEN_SHARE = 0.1, 0.2
"""Standard deviation of the first word vectors; share of words that a step hides, lest so few rows be memorised."""


class Teacher(nn.Module):
    """A transformer encoder over words: int64 [n, 48] to logits [n, 2]."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(words, WIDTH), nn.Embedding(LENGTH, WIDTH)
        nn.init.normal_(self.word.weight, std=SPREAD)
        nn.init.normal_(self.place.weight, std=SPREAD / 5)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.2, batch_first=True, norm_first=True)
            for _ in range(LAYERS)
        )
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, words: Tensor) -> Tensor:
        """Answer a batch: the mean over its words is classified."""
        real = (words != PADDING).unsqueeze(-1).float()
        states = self.word(words) + self.place(torch.arange(LENGTH))
        hidden = torch.where(words == PADDING, -1e4, 0.0)[:, None, None, :].expand(-1, HEADS, LENGTH, -1)
        for layer in self.layers:
            states = layer(states, src_mask=hidden.reshape(-1, LENGTH, LENGTH))
        logits: Tensor = self.head((states * real).sum(1) / real.sum(1).clamp(min=1))
        return logits


def main() -> None:
    """Write the teacher and its rows as files, and run the study."""
    default = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data")) / "sst2"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=default, help="folder with the SST-2 files (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("sst2-students"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=6, help="passes that train the teacher (default: %(default)s)")
    parser.add_argument("--budget", default="5m", help="wall time of the study, training apart (default: %(default)s)")
    parser.add_argument("--train-minutes", type=float, default=5.0, help="wall time of training (default: %(default)s)")
    options = parser.parse_args()
    if not (options.data / "stsa.binary.train").is_file():
        parser.error(f"{options.data} holds no stsa.binary.train; give the folder of SST-2 with --data")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    sentences = {part: labelled(options.data / f"stsa.binary.{part}") for part in ("train", "dev", "test")}
    counts = Counter(word for _, words in sentences["train"] for word in words)
    numbers = {word: n + 2 for n, word in enumerate(sorted(word for word in counts if counts[word] >= LEAST_COUNT))}
    rows, labels = numbered(sentences["train"], numbers)
    np.savez(options.out / "train.npz", words=rows, label=labels)
    test_rows, test_labels = numbered(sentences["dev"] + sentences["test"], numbers)
    np.savez(options.out / "test.npz", words=test_rows, label=test_labels)
    teacher = train(Teacher(len(numbers) + 2), torch.from_numpy(rows), torch.from_numpy(labels), options.epochs)
    save(teacher, options.out / "teacher.pt2")
    wishes = {
        "data": str(options.out / "test.npz"),
        "train": str(options.out / "train.npz"),
        "max_drop": "0.02",
        "budget": options.budget,
        "train_minutes": options.train_minutes,
    }
    result, folder = optimize_from(options.out / "teacher.pt2", wishes, out=options.out / "study", watcher=say)
    print(f"\n{result.sentence}\n")
    if result.provable is not None:
        print(result.provable)
    print(folder / "report.html")


def labelled(path: Path) -> list[tuple[int, list[str]]]:
    """Label and words of each line."""
    pairs = (line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return [(int(label), text.split()) for label, text in pairs]


def numbered(sentences: list[tuple[int, list[str]]], numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Word numbers [n, 48] and labels [n]."""
    rows = np.full((len(sentences), LENGTH), PADDING, dtype=np.int64)
    for row, (_, words) in enumerate(sentences):
        found = [numbers.get(word, UNKNOWN) for word in words[:LENGTH]]
        rows[row, : len(found)] = found
    return rows, np.array([label for label, _ in sentences], dtype=np.int64)


def train(teacher: Teacher, rows: Tensor, labels: Tensor, epochs: int) -> Teacher:
    """Train on words of which some are hidden, with a learning rate that rises shortly and falls to nothing."""
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=RATE, weight_decay=0.05)
    steps = len(rows) // BATCH
    teacher.train()
    for epoch in range(epochs):
        order, total = torch.randperm(len(rows)), 0.0
        for position in range(steps):
            step = epoch * steps + position
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(step / WARM_STEPS, 1 - step / (epochs * steps))
            index = order[position * BATCH : (position + 1) * BATCH]
            words = rows[index]
            hidden = (torch.rand(words.shape) < FORGOTTEN_SHARE) & (words != PADDING)
            loss = functional.cross_entropy(teacher(torch.where(hidden, UNKNOWN, words)), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}", flush=True)
    return teacher.eval()


def save(teacher: Teacher, path: Path) -> None:
    """Write the graph, for batches of any size, and the weights."""
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator is known to no other runtime
    batch = torch.export.Dim("batch", min=1)
    words = torch.ones(2, LENGTH, dtype=torch.int64)
    torch.export.save(torch.export.export(teacher, (words,), dynamic_shapes={"words": {0: batch}}), path)


if __name__ == "__main__":
    main()
