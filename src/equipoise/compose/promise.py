"""How likely a student is to pass once it has been trained for longer, told from how its loss fell so far.

Loss falls about as a power of what is learnt from (Hestness et al. 2017, arXiv 1712.00409), and so of training time;
two trainings of one student tell its power (as Domhan et al. 2015, IJCAI, draw learning curves on).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import ndtr

from equipoise.stats.paired import DropTest

USUAL_POWER, LEAST_POWER, MOST_POWER = 0.6, 0.2, 1.0
CURVE_SPREAD = 0.5
"""Standard deviation of what comes of a student over what its curve foretold."""
Curve = Sequence[tuple[float, float]]
"""Seconds trained and loss then, in the metric's units against the original; at least one."""


def foretold_loss(curve: Curve, seconds: float) -> float:
    """What a student loses after so many seconds.

    Example:
        >>> round(foretold_loss([(10.0, 0.16), (40.0, 0.08)], 160.0), 6)  # half of it for four times as long
        0.04
    """
    trained_s, loss = curve[-1]
    if loss <= 0:
        return loss
    power = USUAL_POWER
    if len(curve) > 1:
        before_s, before = curve[-2]
        fell = math.log(before / loss) / math.log(trained_s / before_s) if before > loss else 0.0
        power = min(MOST_POWER, max(LEAST_POWER, fell))
    return float(loss * (trained_s / max(seconds, trained_s)) ** power)


def chance_to_pass(test: DropTest, curve: Curve, seconds: float, rows: int) -> float | None:
    """Probability that a student passes a test of its loss after a longer training.

    Args:
        test: Of its loss now.
        curve: Its loss after each training so far.
        seconds: Of training by then.
        rows: That the test will have.

    Returns:
        Null where the metric says too little of its loss.
    """
    outlook = test.outlook
    if test.difference is None or outlook is None:
        return None
    margin, foretold = test.difference.value - outlook.excess, foretold_loss(curve, seconds)
    room = margin - foretold - outlook.z * outlook.null_spread / math.sqrt(rows)
    return float(ndtr(room / math.hypot(CURVE_SPREAD * max(0.0, foretold), outlook.spread / math.sqrt(rows))))
