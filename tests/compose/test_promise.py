"""What longer trainings are worth, foretold from shorter ones."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.compose.certify import Claim, Evidence, judge
from equipoise.compose.promise import LEAST_POWER, chance_to_pass, foretold_loss
from equipoise.core.certificate import Margin
from equipoise.stats.metrics import metric_named
from equipoise.stats.paired import DropTest
from equipoise.stats.predictions import Predictions

ROWS = 4000


def of_loss(share: float) -> DropTest:
    """The test of a student that turns this share of right answers wrong."""
    right = np.zeros(ROWS, dtype=np.int64)
    labels = right.copy()
    labels[: round(share * ROWS)] = 1
    evidence = Evidence(
        metric=metric_named("accuracy"),
        baseline=Predictions(labels=right),
        target=right,
        groups=None,
        claims=(Claim("main", "metric", Margin(drop=0.01), np.arange(ROWS)),),
    )
    return judge(Predictions(labels=labels), evidence).main


def test_two_trainings_tell_how_fast_loss_falls() -> None:
    assert foretold_loss([(10, 0.1), (20, 0.05)], 40) == pytest.approx(0.025)
    slow = foretold_loss([(10, 0.1), (20, 0.099)], 40)
    assert slow == pytest.approx(0.099 * 0.5**LEAST_POWER) == foretold_loss([(10, 0.05), (20, 0.099)], 40)
    assert foretold_loss([(10, 0.1)], 5) == 0.1
    assert foretold_loss([(10, -0.01)], 1000) == -0.01


def test_more_time_and_less_loss_make_passing_likelier() -> None:
    def chance(loss: float, seconds: float) -> float:
        found = chance_to_pass(of_loss(loss), [(10.0, loss)], seconds, ROWS)
        assert found is not None
        return found

    by_time = [chance(0.05, seconds) for seconds in (10, 100, 1000, 10_000)]
    by_loss = [chance(loss, 100) for loss in (0.3, 0.1, 0.03, 0.001)]
    assert by_time == sorted(by_time)
    assert by_loss == sorted(by_loss)
    assert by_time[0] < 0.1 < 0.8 < by_time[-1]
    assert by_loss[0] < 0.1 < 0.8 < by_loss[-1]
