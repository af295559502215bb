"""Every family answers every kind of row that it says it can be fed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from equipoise.core.tensor import TensorSpec  # noqa: E402
from equipoise.errors import TechniqueError  # noqa: E402
from equipoise.students.families import FAMILIES, families_for, family_named  # noqa: E402
from equipoise.students.student import Student  # noqa: E402
from equipoise.students.task import Task, task_of  # noqa: E402

SHAPES: dict[str, tuple[tuple[int, ...], str]] = {
    "hw": ((28, 28), "uint8"), "hwc": ((16, 24, 3), "uint8"), "chw": ((1, 20, 20), "float32"), "text": ((12,), "int64"),
    "table": ((5,), "float32"), "large": ((3, 96, 96), "float32"),
}  # fmt: skip
LOGITS = (TensorSpec(name="logits", dtype="float32", shape=(None, 4)),)


def task(kind: str, outputs: int = 4) -> tuple[Task, Any]:
    shape, dtype = SHAPES[kind]
    rows = np.random.default_rng(0).integers(0, 50, (6, *shape)).astype(dtype)
    return task_of([TensorSpec(name="x", dtype=rows.dtype.name, shape=(None, *shape))], {"x": rows}, outputs), rows


@pytest.mark.parametrize("kind", SHAPES)
def test_every_family_for_a_task_answers_it(kind: str) -> None:
    described, rows = task(kind)
    families = families_for(described)
    assert families
    for name, family in families.items():
        torch.manual_seed(0)
        student = Student(described, name, family.widths[0], None, LOGITS, "logits", "logits").eval()
        with torch.inference_mode():
            answers = student(torch.from_numpy(rows))
            alone = torch.cat([student(torch.from_numpy(rows[i : i + 1])) for i in range(len(rows))])
        assert answers.shape == (6, 4)
        assert answers.isfinite().all()
        assert torch.allclose(answers, alone, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_wider_and_deeper_is_larger(name: str) -> None:
    family = family_named(name)
    described, _ = task({"image": "hwc", "text": "text", "table": "table"}[family.kinds[0]])

    def size(width: int, depth: int) -> int:
        return sum(each.numel() for each in family.make(described, width, depth).parameters())

    assert size(family.widths[0], 2) < size(family.widths[-1], 2) < size(family.widths[-1], 3)


def test_a_family_is_not_fed_what_it_cannot_read() -> None:
    described, _ = task("table")
    with pytest.raises(TechniqueError, match="small_cnn works on image rows, not on table rows"):
        Student(described, "small_cnn", 8, None, LOGITS, "logits", "logits")


def test_padding_of_a_text_changes_nothing() -> None:
    rows = np.random.default_rng(0).integers(1, 50, (40, 12))
    rows[:, 6:] = 0
    described = task_of([TensorSpec(name="ids", dtype="int64", shape=(None, None))], {"ids": rows}, 4)
    assert described.padding == 0
    for name, family in families_for(described).items():
        student = Student(described, name, family.widths[0], None, LOGITS, "logits", "logits").eval()
        with torch.inference_mode():
            padded, short = student(torch.from_numpy(rows)), student(torch.from_numpy(rows[:, :9]))
        assert torch.allclose(padded, short, atol=1e-5), name


def test_a_mask_marks_the_real_tokens_and_other_inputs_stay_inputs() -> None:
    rows = {name: np.ones((8, 10), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    specs = [TensorSpec(name=name, dtype="int64", shape=(None, 10)) for name in rows]
    described = task_of(specs, rows, 4)
    assert described.mask == "attention_mask"
    student = Student(described, "text_cnn", 32, None, LOGITS, "logits", "logits").eval()
    assert student(*(torch.from_numpy(rows[name]) for name in rows)).shape == (8, 4)


def test_missing_numbers_count_as_the_mean() -> None:
    rows = np.random.default_rng(0).normal(3, 2, (50, 5)).astype(np.float32)
    rows[0, 1] = np.nan
    described = task_of([TensorSpec(name="x", dtype="float32", shape=(None, 5))], {"x": rows}, 1)
    value = (TensorSpec(name="y", dtype="float32", shape=(None,)),)
    student = Student(described, "mlp", 16, None, value, "y", "value").eval()
    filled = rows.copy()
    filled[0, 1] = described.mean[1]
    with torch.inference_mode():
        missing, known = student(torch.from_numpy(rows)), student(torch.from_numpy(filled))
    assert missing.shape == (50,)
    assert torch.allclose(missing, known, atol=1e-5)


def test_labels_follow_from_probabilities() -> None:
    described, rows = task("table")
    outputs = (
        TensorSpec(name="label", dtype="int64", shape=(None,)),
        TensorSpec(name="p", dtype="float32", shape=(None, 4)),
    )
    student = Student(described, "mlp", 16, None, outputs, "p", "probabilities").eval()
    labels, shares = student(torch.from_numpy(rows))
    assert torch.allclose(shares.sum(1), torch.ones(6))
    assert labels.equal(shares.argmax(1))


def test_an_output_that_nothing_teaches_is_refused() -> None:
    described, _ = task("table")
    outputs = (*LOGITS, TensorSpec(name="embedding", dtype="float32", shape=(None, 64)))
    with pytest.raises(TechniqueError, match="cannot give the output 'embedding'"):
        Student(described, "mlp", 16, None, outputs, "logits", "logits")


def test_a_factory_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_students.py").write_text(
        "from torch import nn\ndef tiny(task, width, depth):\n    return nn.Linear(task.numbers, task.outputs)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    described, rows = task("table")
    student = Student(described, "my_students:tiny", 8, None, LOGITS, "logits", "logits")
    assert student(torch.from_numpy(rows)).shape == (6, 4)
    sys.modules.pop("my_students")


@pytest.mark.parametrize(
    ("name", "said"),
    [("resnet", "there are small_cnn"), ("nowhere:tiny", "cannot be loaded"), ("math:tiny", "cannot be loaded")],
)
def test_a_family_that_is_not_there(name: str, said: str) -> None:
    with pytest.raises(TechniqueError, match=said):
        family_named(name)


@pytest.mark.parametrize("array", [np.array([["a"]]), np.zeros((4, 2, 2, 2, 2), np.float32)])
def test_rows_of_another_form_are_refused(array: Any) -> None:
    dtype = "string" if array.dtype.kind == "U" else "float32"
    with pytest.raises(TechniqueError, match=r"fed numbers|no student for rows of this form"):
        task_of([TensorSpec(name="x", dtype=dtype, shape=(None, *array.shape[1:]))], {"x": array}, 2)
