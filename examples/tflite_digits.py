"""Make a TensorFlow Lite model that reads digits, and find the cheapest way to serve it: no TensorFlow is needed.

Two convolutions with random filters, which are never trained, turn each of scikit-learn's 8 x 8 digits into features; a
ridge classifier is trained on them and becomes the dense layer at the end. The file is written as TensorFlow's own
converter writes one: images as [1, height, width, channels], and the batch size 1 once more in the middle of the graph.
`equipoise` reads it through OpenVINO and finds the form that takes any batch size by itself.

    python examples/tflite_digits.py --out digits
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from tflite_writer import TfliteWriter

import equipoise

Array = NDArray[Any]
CHANNELS = (16, 48)
TRAINED_ON = 700
SHARPNESS = 10.0
"""Scores of a ridge classifier lie between -1 and 1; so many times as much makes logits of them."""


def main() -> None:
    """Write the model and the rows to judge it on, find the cheapest way to serve it, and answer rows with that."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("digits"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--budget", default="2m", help="wall time of the study (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the filters (default: %(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    images, labels = (digits.images / 16).astype(np.float32)[..., None], digits.target
    filters = random_filters(np.random.default_rng(options.seed))
    head = RidgeClassifier(alpha=10).fit(features(images[:TRAINED_ON], filters), labels[:TRAINED_ON])
    path = options.out / "digits.tflite"
    path.write_bytes(network(filters, SHARPNESS * head.coef_, SHARPNESS * head.intercept_))
    np.savez(options.out / "digits.npz", image=images[TRAINED_ON:], label=labels[TRAINED_ON:])

    accuracy = head.score(features(images[TRAINED_ON:], filters), labels[TRAINED_ON:])
    print(f"{path}: accuracy {accuracy:.4f} on {len(labels) - TRAINED_ON:,} rows, {path.stat().st_size / 1e6:.2f} MB")
    study = options.out / "study"
    result = equipoise.optimize(path, data=options.out / "digits.npz", max_drop=0.02, budget=options.budget, out=study)
    print(f"\n{result.sentence}\n")
    rows = equipoise.predict(study / "bundle", data=options.out / "digits.npz", out=options.out / "answers.csv")
    print(f"{options.out / 'answers.csv'}: {rows:,} answers\n{study / 'report.html'}")


def random_filters(rng: np.random.Generator) -> list[Array]:
    """Filters of 3 x 3 for each layer, [channels after, 3, 3, channels before]."""
    sizes = zip(CHANNELS, (1, *CHANNELS), strict=False)
    return [rng.normal(0, np.sqrt(2 / (9 * before)), (after, 3, 3, before)) for after, before in sizes]


def features(images: Array, filters: list[Array]) -> Array:
    """What the convolutions make of images [n, height, width, 1]: [n, height * width * channels]."""
    for layer in filters:
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = sliding_window_view(padded, (3, 3), axis=(1, 2))  # [n, height, width, channels, 3, 3]
        images = np.maximum(np.tensordot(windows, layer, axes=((3, 4, 5), (3, 1, 2))), 0)
    return images.reshape(len(images), -1)


def network(filters: list[Array], weights: Array, bias: Array) -> bytes:
    """The whole network as a TensorFlow Lite file, `image` [1, 8, 8, 1] to `probabilities` [1, 10]."""
    writer = TfliteWriter()
    x = writer.input("image", (1, 8, 8, 1))
    for number, layer in enumerate(filters):
        x = writer.convolution(x, layer, np.zeros(len(layer)), name=f"conv{number}")
    flat = writer.reshape(x, (1, weights.shape[1]))
    return writer.content([writer.softmax(writer.dense(flat, weights, bias, name="logits"))])


if __name__ == "__main__":
    main()
