"""Train three census-income models to try `equipoise optimize` on: boosted trees, a 500-tree forest, a linear model.

The UCI Adult census files are read as they come (no header, spaces after commas, a full stop after the test labels),
written again as clean CSV files with a header, and used to train scikit-learn pipelines that take raw columns. The
test file, which no model saw, is what `equipoise optimize` then judges candidates on.

    python examples/adult.py --data ../shared/data/adult --out adult
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TARGET = "income"
TREES = 500


def main() -> None:
    """Prepare the data, train the models, and print what to run next."""
    default = Path(os.environ.get("EQUIPOISE_DATA", "../shared/data")) / "adult"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=default, help="folder with the UCI files (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("adult"), help="folder to write to (default: %(default)s)")
    options = parser.parse_args()
    if not (options.data / "adult.names").is_file():
        parser.error(f"{options.data} holds no adult.names; give the folder of the UCI Adult files with --data")
    options.out.mkdir(parents=True, exist_ok=True)

    names = column_names(options.data / "adult.names")
    train = read_census(options.data / "adult-train.csv", names)
    test = read_census(options.data / "adult-test.csv", names)
    train.to_csv(options.out / "train.csv", index=False)
    test.to_csv(options.out / "test.csv", index=False)
    print(f"{len(train):,} rows to train on, {len(test):,} to judge on, {len(names) - 1} columns")

    for name, model in (("gbm", boosted_trees(train)), ("forest", forest(train)), ("linear", linear(train))):
        model.fit(train.drop(columns=TARGET), train[TARGET])
        if "n_jobs" in model[-1].get_params():
            model[-1].set_params(n_jobs=None)  # many cores to train; starting threads for each request would only cost
        accuracy = model.score(test.drop(columns=TARGET), test[TARGET])
        path = options.out / f"{name}.skops"
        skops.io.dump(model, path)
        print(f"{path}: accuracy {accuracy:.4f} on the test rows, {path.stat().st_size / 1e6:.1f} MB")

    print("\nNow find the cheapest way to serve them:")
    for name in ("gbm", "forest"):
        print(
            f"  equipoise optimize {options.out}/{name}.skops --data {options.out}/test.csv --target {TARGET} "
            f"--train {options.out}/train.csv --slice sex:0.01 --p99-ms 50 --rate 100 --budget 3m "
            f"--out {options.out}/{name}-study"
        )
    print("\nOr see what the linear model saves in front of the forest:")
    print(f"  python examples/adult_cascade.py {options.out}")


def column_names(path: Path) -> list[str]:
    """Names of the columns, in order, as `adult.names` lists them (`age: continuous.`), and the target's."""
    return [*re.findall(r"^([a-z][a-z-]*):", path.read_text(), flags=re.MULTILINE), TARGET]


def read_census(path: Path, names: list[str]) -> pd.DataFrame:
    """Read one of the UCI files; a question mark stays what it is, a category of its own: "not told"."""
    table = pd.read_csv(path, header=None, names=names, skipinitialspace=True, keep_default_na=False)
    table[TARGET] = table[TARGET].str.rstrip(".")
    return table


def columns_to_numbers(train: pd.DataFrame) -> ColumnTransformer:
    """Text columns one-hot, a category never seen in training as none of them; numbers as they are."""
    features = train.drop(columns=TARGET)
    numbers = list(features.select_dtypes("number").columns)
    text = [name for name in features.columns if name not in numbers]
    return ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
            ("numbers", "passthrough", numbers),
        ]
    )


def boosted_trees(train: pd.DataFrame) -> Pipeline:
    """Gradient-boosted trees, untrained."""
    return Pipeline(
        [
            ("columns", columns_to_numbers(train)),
            ("model", HistGradientBoostingClassifier(max_iter=200, random_state=0)),
        ]
    )


def linear(train: pd.DataFrame) -> Pipeline:
    """A linear model, untrained: cheap, and right about most rows."""
    return Pipeline(
        [
            ("columns", columns_to_numbers(train)),
            ("scale", StandardScaler()),
            ("model", LogisticRegression(max_iter=300)),
        ]
    )


def forest(train: pd.DataFrame) -> Pipeline:
    """A forest of 500 trees, untrained; leaves of 10 rows keep its file small at no loss of accuracy."""
    return Pipeline(
        [
            ("columns", columns_to_numbers(train)),
            ("model", RandomForestClassifier(TREES, min_samples_leaf=10, n_jobs=-1, random_state=0)),
        ]
    )


if __name__ == "__main__":
    main()
