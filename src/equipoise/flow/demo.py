"""The main job on real data that every machine has: scikit-learn's handwritten digits."""

from __future__ import annotations

from pathlib import Path

from equipoise.spared import spared

DIGITS_TRAIN = 797
TREES = 200


def write_demo_inputs(folder: Path) -> tuple[Path, Path]:
    """Train a forest on 797 of the 1,797 digits and write it beside the 1,000 others.

    Returns:
        The model (`.skops`) and the data (`.npz`, arrays `x` and `label`).
    """
    import numpy as np

    with spared("torch"):
        import skops.io
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.utils import shuffle

    images, labels = shuffle(*load_digits(return_X_y=True), random_state=0)
    forest = RandomForestClassifier(n_estimators=TREES, random_state=0, n_jobs=-1)
    forest.fit(images[:DIGITS_TRAIN], labels[:DIGITS_TRAIN])
    folder.mkdir(parents=True, exist_ok=True)
    model, data = folder / "digits-forest.skops", folder / "digits-test.npz"
    skops.io.dump(forest, model)
    np.savez_compressed(data, x=images[DIGITS_TRAIN:], label=labels[DIGITS_TRAIN:])
    return model, data
