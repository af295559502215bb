"""From a PyTorch ResNet, its architecture in one file and its weights in another, to a bundle that serves it cheaply.

The weights are those of akamaster/pytorch_resnet_cifar10 (BSD), the images CIFAR-10's, in a folder that holds
`cifar10/resnet20-12fca82f.th`, `test.npz` and `calibration.npz`.

    python examples/torch_resnet.py --data ../shared/data --budget 5m --out resnet

The same on the command line:

    equipoise optimize examples/cifar_resnet.py:resnet20 --state-dict resnet20.th --data test.npz --max-drop 0.02
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import equipoise

HERE = Path(__file__).parent
WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}


def main() -> None:
    """Optimise the model, check its bundle, answer a file with it, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    usual = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=usual, help="folder with cifar10 in it (default: %(default)s)")
    parser.add_argument("--model", choices=sorted(WEIGHTS), default="resnet20")
    parser.add_argument("--budget", default="5m", help="wall time of the study (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("resnet"), help="folder to write to (default: %(default)s)")
    options = parser.parse_args()
    files = options.data / "cifar10"

    result = equipoise.optimize(
        f"{HERE / 'cifar_resnet.py'}:{options.model}",
        state_dict=str(files / WEIGHTS[options.model]),
        data=str(files / "test.npz"),
        calibration=str(files / "calibration.npz"),
        max_drop=0.02,
        budget=options.budget,
        out=options.out,
    )
    print(result.sentence)
    bundle = options.out / "bundle"
    print(f"{bundle}: {'intact' if equipoise.verify(bundle).ok else 'damaged'}")
    rows = equipoise.predict(bundle, data=files / "calibration.npz", out=options.out / "answers.csv")
    print(f"{options.out / 'answers.csv'}: {rows:,} answers")


if __name__ == "__main__":
    main()
