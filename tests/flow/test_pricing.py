from __future__ import annotations

from typing import Any

import pytest

from equipoise.core.brief import Brief
from equipoise.errors import BriefError
from equipoise.flow.pricing import price_of_errors
from equipoise.preprocess.answers import OutputMeaning

CLASSES = OutputMeaning(output="logits", kind="logits", labels=("fraud", "ok", "odd"), multilabel=False)


def brief(usd_per_error: Any) -> Brief:
    fields = {"model": {"path": "m"}, "data": {"path": "d"}, "value": {"usd_per_error": usd_per_error}}
    return Brief.model_validate(fields)


def test_one_price_is_for_all_and_a_table_for_its_classes_alone() -> None:
    assert price_of_errors(brief(None), "mae", CLASSES) is None
    one, table = (price_of_errors(brief(usd), "accuracy", CLASSES) for usd in (2.0, {"ok": 0.5, "fraud": 5.0}))
    assert one is not None
    assert table is not None
    assert (one.shape, float(one)) == ((), 2.0)
    assert table.tolist() == [5.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("usd_per_error", "metric", "changes", "words"),
    [
        ({"fraud": 5.0, "theft": 9.0}, "accuracy", {}, "found a price for theft.*fraud, ok, odd"),
        ({"fraud": 5.0}, "accuracy", {"multilabel": True}, "several labels"),
        (1.0, "r2", {"kind": "value", "labels": None}, "never just wrong"),
        (1.0, "agreement", {}, "no true answers"),
    ],
)
def test_what_has_no_errors_to_count_is_refused(
    usd_per_error: Any, metric: str, changes: dict[str, Any], words: str
) -> None:
    meaning = OutputMeaning(**(vars(CLASSES) | changes))
    with pytest.raises(BriefError, match=words):
        price_of_errors(brief(usd_per_error), metric, meaning)
