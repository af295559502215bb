"""From an archive of images by class to a server that is asked with a JPEG, and answers what `predict` answers.

The model is a ResNet-20 for CIFAR-10 as ONNX, whose input takes bytes: its preprocessing is derived, with a note. The
images are `cifar10/test.tar.gz`, a folder for each class; a folder of such folders does as well.

    python examples/cifar10_images.py --data ../shared/data --budget 5m --out cifar10

The same on the command line:

    equipoise optimize resnet20.onnx --data test.tar.gz --max-drop 0.02 --out cifar10
    equipoise predict cifar10/bundle --data cat.jpg
    equipoise serve cifar10=cifar10/bundle
    curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8080/v1/predict/cifar10
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import equipoise

COMMAND = (sys.executable, "-m", "equipoise")
READY = "ready at "


def main() -> None:
    """Optimise, predict, serve, ask, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    usual = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=usual, help="folder with cifar10 in it (default: %(default)s)")
    parser.add_argument("--images", type=Path, help="other images by class (default: cifar10/test.tar.gz)")
    parser.add_argument("--budget", default="5m", help="wall time of the study (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("cifar10"), help="folder to write to (default: %(default)s)")
    options = parser.parse_args()
    files = options.data / "cifar10"
    images = options.images or files / "test.tar.gz"

    result = equipoise.optimize(
        files / "resnet20.onnx", data=str(images), max_drop=0.02, budget=options.budget, out=options.out
    )
    print(result.sentence)
    bundle, picture = options.out / "bundle", options.out / "picture.jpg"
    one_image(images, picture)
    predicted = answer_of_predict(bundle, picture, options.out / "answers.csv")
    print(f"predict: {predicted['label']}, {predicted['confidence']:.4f}")
    served = answer_of_server(bundle, picture)
    print(f"serve:   {served['label']}, {served['confidence']:.4f}")
    if served["label"] != predicted["label"] or abs(served["confidence"] - predicted["confidence"]) > 1e-6:
        sys.exit("they differ")
    print("the same answer")


def one_image(images: Path, picture: Path) -> None:
    """Take the first JPEG out of a folder or a `.tar.gz`."""
    if images.is_dir():
        shutil.copyfile(min(images.rglob("*.jpg")), picture)
        return
    with tarfile.open(images) as archive:
        member = next(each for each in archive if each.name.endswith(".jpg"))
        content = archive.extractfile(member)
        assert content is not None, "a JPEG is a plain file"
        picture.write_bytes(content.read())


def answer_of_predict(bundle: Path, picture: Path, out: Path) -> dict[str, Any]:
    """What `equipoise predict` says of an image."""
    equipoise.predict(bundle, data=picture, out=out)
    with out.open(newline="") as file:
        row = next(csv.DictReader(file))
    return {"label": row["label"], "confidence": float(row["confidence"])}


def answer_of_server(bundle: Path, picture: Path) -> dict[str, Any]:
    """What a server says of it, asked by curl."""
    serve = [*COMMAND, "serve", f"cifar10={bundle}", "--http", "0", "--log", "none"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None, "it is a pipe"
            address = next(line.partition(READY)[2].strip() for line in server.stdout if READY in line)
            sent = ["--data-binary", f"@{picture}", "-H", "Content-Type: image/jpeg"]
            curl = ["curl", "-sS", *sent, f"{address}/v1/predict/cifar10"]
            said = json.loads(subprocess.run(curl, capture_output=True, check=True).stdout)
        finally:
            server.terminate()
    answer: dict[str, Any] = said["predictions"][0]
    return answer


if __name__ == "__main__":
    main()
