"""Train a small BERT on SST-2, save it as a Hugging Face folder, find the cheapest way to serve it, and ask it.

The Stanford Sentiment Treebank (two classes, `label text` a line) trains a classifier of two layers from scratch with
transformers, which takes a minute or two on two cores. Its folder (`config.json`, `model.safetensors`, `tokenizer.json`
and a few more) is all that `equipoise optimize` is given beside sentences that the model has not seen: the tokenizer
comes with it, and goes into the bundle. A sentence sent to the server then gets the answer that `equipoise predict`
gives.

    pip install "equipoise[huggingface,serve]"
    python examples/sst2_huggingface.py --data ../shared/data/sst2 --out sst2
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

CLASSES = {0: "negative", 1: "positive"}
FILES = {"train": "stsa.binary.train", "dev": "stsa.binary.dev", "test": "stsa.binary.test"}
VOCABULARY, LONGEST = "bert_uncased_vocab.txt", 128
SENTENCES = ("a warm , funny , engaging film .", "a dull plot that never ends .")
READY_S = 120


def main() -> None:
    """Train, save, optimise, serve, ask."""
    default = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data")) / "sst2"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=default, help="folder with the SST-2 files (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("sst2"), help="folder to write to (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=int, default=3, help="times that the sentences are seen (default: %(default)s)"
    )
    parser.add_argument("--hidden", type=int, default=128, help="numbers a token (default: %(default)s)")
    parser.add_argument("--rows", type=int, help="train on so many sentences only")
    parser.add_argument("--budget", default="5m", help="wall time of the study (default: %(default)s)")
    parser.add_argument("--max-drop", default="0.02", help="accuracy that may be lost (default: %(default)s)")
    options = parser.parse_args()
    if not (options.data / VOCABULARY).is_file():
        parser.error(f"{options.data} holds no {VOCABULARY}; give the folder of SST-2 with --data")
    options.out.mkdir(parents=True, exist_ok=True)

    folder = options.out / "model"
    model, tokenizer = untrained(options.data / VOCABULARY, options.hidden)
    train(model, tokenizer, *labelled(options.data / FILES["train"], options.rows), options.epochs)
    texts, labels = labelled(options.data / FILES["dev"])
    print(f"accuracy on {len(texts):,} sentences that it has not seen: {accuracy(model, tokenizer, texts, labels):.4f}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")

    study = options.out / "study"
    equipoise(
        "optimize", folder, "--data", options.data / FILES["test"], "--train", options.data / FILES["train"],
        "--max-drop", options.max_drop, "--budget", options.budget, "--out", study,
    )  # fmt: skip
    told, asked = predicted(study / "bundle", options.out), served(study / "bundle")
    for sentence, first, second in zip(SENTENCES, told, asked, strict=True):
        print(f"{sentence!r}: predict says {first}, the server {second}")
    if [answer["label"] for answer in told] != [answer["label"] for answer in asked]:
        sys.exit("predict and the server disagree")


def labelled(path: Path, rows: int | None = None) -> tuple[list[str], torch.Tensor]:
    """Sentences and their classes, of lines `label text`."""
    lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()[:rows]]
    return [text.strip() for _, text in lines], torch.tensor([int(label) for label, _ in lines])


def untrained(vocabulary: Path, hidden: int) -> tuple[BertForSequenceClassification, PreTrainedTokenizerFast]:
    """A BERT of two layers."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=max(1, hidden // 32),
        intermediate_size=2 * hidden,
        max_position_embeddings=LONGEST,
        id2label=CLASSES,
        label2id={name: number for number, name in CLASSES.items()},
    )
    pieces = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(pieces.to_str()),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=LONGEST,
    )
    return BertForSequenceClassification(config), tokenizer


def train(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    texts: list[str],
    labels: torch.Tensor,
    epochs: int,
    batch: int = 32,
) -> None:
    """Train on sentences in batches of about the same length, drawn anew each time they are seen."""
    random = np.random.default_rng(0)
    lengths = np.array([len(text.split()) for text in texts])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    steps = epochs * -(-len(texts) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    begin = time.monotonic()
    for epoch in range(epochs):
        model.train()
        order = np.argsort(lengths + random.uniform(0, 3, len(texts)), kind="stable")
        batches = [order[start : start + batch] for start in range(0, len(texts), batch)]
        seen = 0.0
        for place in random.permutation(len(batches)):
            rows = batches[place]
            scores = model(**encoded(tokenizer, [texts[row] for row in rows])).logits
            loss = cross_entropy(scores, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            seen += loss.item() * len(rows)
        print(f"epoch {epoch + 1} of {epochs}: loss {seen / len(texts):.3f}, {time.monotonic() - begin:.0f} s")
    model.eval()


def encoded(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Any:
    """Sentences as the model takes them, filled up to the longest."""
    return tokenizer(texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")


def accuracy(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, texts: list[str], labels: torch.Tensor
) -> float:
    """Share of sentences that get their class."""
    with torch.inference_mode():
        parts = [model(**encoded(tokenizer, texts[at : at + 64])).logits.argmax(1) for at in range(0, len(texts), 64)]
    return float((torch.cat(parts) == labels).float().mean())


def equipoise(*arguments: object) -> str:
    """Run the command line, and show what it prints."""
    command = [sys.executable, "-m", "equipoise", *map(str, arguments)]
    print("$ equipoise", *arguments)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    return done.stdout


def predicted(bundle: Path, folder: Path) -> list[dict[str, Any]]:
    """What `equipoise predict` answers to the sentences."""
    (folder / "sentences.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    lines = equipoise("predict", bundle, "--data", folder / "sentences.jsonl").splitlines()
    return [{"label": line.split(",")[0], "confidence": round(float(line.split(",")[1]), 4)} for line in lines[1:]]


def served(bundle: Path) -> list[dict[str, Any]]:
    """What the server answers to them, each as the body of a request: `curl -H 'content-type: text/plain' -d ...`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "equipoise", "serve", f"sst2={bundle}", "--http", str(port), "--log", "none"]
    server = subprocess.Popen(command)
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/health/ready", server)
        answers = []
        for sentence in SENTENCES:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/predict/sst2", sentence.encode(), {"content-type": "text/plain"}
            )
            with urllib.request.urlopen(request) as response:
                (answer,) = json.load(response)["predictions"]
            answers.append({"label": answer["label"], "confidence": round(answer["confidence"], 4)})
        return answers
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.2)
    sys.exit("the server did not start")


if __name__ == "__main__":
    main()
