"""Prune, shorten and distil ResNet-56 for CIFAR-10, and compare with the best that needs no training.

Weights are those of akamaster/pytorch_resnet_cifar10 (BSD); training images are unpacked from `train.tar.gz`. The test
images are JPEG copies, which costs the model ten points: the students are judged on those, as they would be served.

    python examples/cifar10_trained.py --data ../shared/data/cifar10 --out cifar
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import torch
from cifar_resnet import resnet56
from fashion_mnist import say
from PIL import Image

from equipoise.core.training import TRAIN_S
from equipoise.flow.optimize import optimize_from

WEIGHTS = "resnet56-4bfd9763.th"


def main() -> None:
    """Write the model and its training rows as files, and run the study."""
    default = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data")) / "cifar10"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=default, help="folder of CIFAR-10 (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("cifar"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=50_000, help="training rows to use (default: %(default)s)")
    parser.add_argument("--budget", default="12m", help="wall time of the study, training apart (default: %(default)s)")
    parser.add_argument(
        "--train-minutes", type=float, default=30.0, help="wall time of training (default: %(default)s)"
    )
    options = parser.parse_args()
    if not (options.data / WEIGHTS).is_file():
        parser.error(f"{options.data} holds no {WEIGHTS}; give the folder of CIFAR-10 with --data")
    options.out.mkdir(parents=True, exist_ok=True)
    train = options.out / "train.npz"
    np.savez(train, image=unpacked(options.data / "train.tar.gz", options.rows))
    save(options.data / WEIGHTS, options.out / "resnet56.pt2")
    wishes = {
        "data": str(options.data / "test.npz"),
        "train": str(train),
        "max_drop": "0.02",
        "budget": options.budget,
        "train_minutes": options.train_minutes,
    }
    result, folder = optimize_from(options.out / "resnet56.pt2", wishes, out=options.out / "study", watcher=say)
    print(f"\n{result.sentence}\n")
    for candidate in sorted(result.frontier, key=lambda each: each.usd_per_million_packed):
        trained = "trained" if TRAIN_S in candidate.name else "not trained"  # names spell out their steps
        quality = "" if candidate.quality is None else f", accuracy {candidate.quality.value:.4f}"
        print(f"${candidate.usd_per_million_packed:.4g} a million, {trained}: {candidate.name}{quality}")
    print(f"\n{folder / 'report.html'}")


def unpacked(archive: Path, most: int) -> np.ndarray:
    """Images [n, 32, 32, 3] of bytes, the classes mixed."""
    images = []
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith((".jpg", ".png")) else None
            if file is not None:
                images.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
    order = np.random.default_rng(0).permutation(len(images))[:most]
    return np.stack(images)[order]


def save(weights: Path, path: Path) -> None:
    """Write the network with its weights as a program that takes batches of any size."""
    model = resnet56()
    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    batch = torch.export.Dim("batch", min=1)
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    torch.export.save(torch.export.export(model.eval(), (images,), dynamic_shapes={"image": {0: batch}}), path)


if __name__ == "__main__":
    main()
