"""Does the candidate lose less than the margin, on the rows that both models answered?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtr, ndtri, stdtr

from equipoise.core.certificate import Margin
from equipoise.core.estimate import Estimate
from equipoise.stats.intervals import clopper_pearson
from equipoise.stats.linear import UndefinedMetric
from equipoise.stats.mean_test import MIN_GROUPS, mean_below, mean_sample
from equipoise.stats.metrics import Metric
from equipoise.stats.predictions import Predictions
from equipoise.stats.tango import null_variance, tango_bounds, tango_z

Array = NDArray[np.float64]
Groups = NDArray[np.integer[Any]]

_FEW_CHANGED = 10
_MOST_ROWS = 10**12


@dataclass(frozen=True)
class Outlook:
    """What a test would say of more, or fewer, rows like these: for planning, not for proof.

    A test of n' such rows passes, nearly, when excess + z sqrt(null_spread^2 / n' + (allowance / n')^2) <= 0.

    Attributes:
        excess: Loss seen minus margin, in the metric's units.
        null_spread: Standard deviation of a row that the test reckons with.
        spread: Standard deviation of a row as estimated, kept above zero where no row has changed.
        allowance: Harm of one spoilt row.
        z: Normal quantile of the confidence.
        n: Rows seen.
        least: Rows needed even with no loss at all.
    """

    excess: float
    null_spread: float
    spread: float
    allowance: float
    z: float
    n: int
    least: int

    def needed(self) -> int | None:
        """Rows with which the test would pass at the loss seen; null where the loss is at or past the margin."""
        if self.excess >= 0:
            return None
        gap, z2 = -self.excess, self.z**2
        variance = self.null_spread**2
        rows = z2 * (variance + math.sqrt(variance**2 + (2 * gap * self.allowance) ** 2)) / (2 * gap * gap)
        return max(self.least, math.ceil(min(rows, _MOST_ROWS) - 1e-9), 1)

    def power(self, n_other: int) -> float:
        """Probability that another draw of `n_other` rows passes, given what these rows say of the true loss."""
        if n_other < max(1, self.least) or self.n < 1:
            return 0.0
        error = math.sqrt(self.null_spread**2 / n_other + (self.allowance / n_other) ** 2)
        room = -self.excess - self.z * error
        deviation = self.spread * math.sqrt(1 / n_other + 1 / self.n)
        if deviation == 0:
            return float(room >= 0)
        return float(ndtr(room / deviation))


@dataclass(frozen=True)
class DropTest:
    """What paired rows say of a candidate's loss against a margin.

    Attributes:
        p_value: Of the hypothesis that the true loss is the margin or more.
        difference: Loss from baseline to candidate in the metric's units, positive is a loss; `low` and `high` are
            one-sided bounds at the confidence each, so that `high` is the proved bound. Null where the metric has no
            value on these rows.
        n: Rows compared.
        method: The test, in a few words; where nothing can be certified it says why.
        harm_p_value: Of the hypothesis that there is no loss at all; for agreement, which any changed answer breaks,
            that disagreement is within the margin.
        needed: Rows with which the test would pass at the loss and discordance seen; null where the loss is at or past
            the margin.
        needed_without_loss: Rows that a pass takes even with no loss at all; the candidate's answers play no part in
            it. Null where no number of rows would do.
        groups: Number of groups, where rows are grouped.
        outlook: For planning other splits.
    """

    p_value: float
    difference: Estimate | None
    n: int
    method: str
    harm_p_value: float
    needed: int | None
    needed_without_loss: int | None
    groups: int | None = None
    outlook: Outlook | None = None

    def power(self, n_other: int) -> float:
        """Probability, estimated here, that a test of another `n_other` rows of the same kind passes."""
        return 0.0 if self.outlook is None else self.outlook.power(n_other)


def paired_drop(
    metric: Metric,
    baseline: Predictions,
    candidate: Predictions,
    target: NDArray[Any] | None,
    margin: Margin,
    groups: Groups | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> DropTest:
    """Test that a candidate loses less than the margin, on rows that both models answered.

    - Accuracy, absolute margin, independent rows: Tango's score test for paired proportions.
    - Agreement, independent rows: the exact binomial test, with the Clopper-Pearson bound.
    - Any other metric, and relative margins: the paired bootstrap, studentised, of the rows' differences (for a
      functional, of its influences), together with Student's t; the larger p-value counts.
    - With groups: cluster-robust t with G - 1 degrees of freedom; functionals also the bootstrap over groups. Fewer
      than 30 groups cannot certify: the p-value is 1.

    A relative margin r is tested as c - (1 - r) b for metrics where higher is better, and (1 + r) b - c for the others.

    Args:
        metric: What is compared; must be certifiable.
        baseline: The original's answers to n rows.
        candidate: The candidate's answers to the same rows.
        target: True answers, [n] or [n, L]; not read for `agreement`, nor for a person's own metric.
        margin: The loss that would be too much.
        groups: Which rows belong together, [n]; null where rows are independent.
        confidence: One minus the test's level, 0.5 up to 1.
        seed: Of the bootstrap.

    Raises:
        ValueError: The metric may not be certified, answers that it reads are missing, or rows do not pair up.
    """
    if not metric.certifiable:
        raise ValueError(f"{metric.name} is reported, not certified")
    n = candidate.n
    if baseline.n != n or (groups is not None and len(groups) != n):
        raise ValueError(f"rows must pair up: {baseline.n} of the baseline, {n} of the candidate")
    if n == 0:
        return _nothing("no rows to compare", 0)
    if metric.name == "agreement":
        if baseline.labels is None:
            raise ValueError("agreement compares labels; predictions of numbers have none")
        target = baseline.labels
    z = float(ndtri(confidence))
    if groups is None and metric.kind == "proportion" and (metric.name == "agreement" or not margin.relative):
        before, after = metric.per_row(baseline, target), metric.per_row(candidate, target)
        if metric.name == "agreement":
            return _agreement(n - int(after.sum()), n, margin.drop, confidence, z)
        harmed, helped = int(np.count_nonzero(before > after)), int(np.count_nonzero(after > before))
        return _accuracy(harmed, helped, n, margin.drop, z)
    try:
        return _of_means(metric, baseline, candidate, target, margin, groups, confidence, z, seed)
    except UndefinedMetric as undefined:
        return _nothing(str(undefined), n)


def _nothing(reason: str, n: int) -> DropTest:
    return DropTest(1.0, None, n, f"cannot certify: {reason}", 1.0, None, None)


def _accuracy(harmed: int, helped: int, n: int, margin: float, z: float) -> DropTest:
    """Tango's score test; harm by the exact binomial test of the discordant rows (McNemar)."""
    margin = max(-1 + 1e-9, min(1 - 1e-9, margin))
    loss = (harmed - helped) / n
    low, high = tango_bounds(harmed, helped, n, z)
    least = _ceil(z * z * (1 - margin) / margin) if margin > 0 else None
    # Half a row added to each kind of change: no change seen in n rows is not proof that there is none.
    b, c = (harmed + 0.5) / (n + 1), (helped + 0.5) / (n + 1)
    outlook = Outlook(
        excess=loss - margin,
        null_spread=math.sqrt(float(null_variance(harmed, helped, n, margin))),
        spread=math.sqrt(b + c - (b - c) ** 2),
        allowance=0.0,
        z=z,
        n=n,
        least=least or 1,
    )
    return DropTest(
        p_value=float(ndtr(tango_z(harmed, helped, n, margin))),
        difference=Estimate(value=loss, low=min(low, loss), high=max(high, loss), n=n, method="Tango score interval"),
        n=n,
        method="score test for paired proportions (Tango 1998)",
        harm_p_value=float(betainc(harmed, helped + 1, 0.5)) if harmed else 1.0,
        needed=outlook.needed(),
        needed_without_loss=least,
        outlook=outlook,
    )


def _agreement(changed: int, n: int, margin: float, confidence: float, z: float) -> DropTest:
    """Exact test of one proportion, the share of answers that changed."""
    loss = changed / n
    alpha = 1 - confidence
    inside = min(1.0, max(0.0, margin))

    def p_value(rows: float) -> float:
        """Of at most the share `loss` of rows changed, if the true share were the margin."""
        return 1.0 if rows * (1 - loss) <= 0 else float(betainc(rows * (1 - loss), rows * loss + 1, 1 - inside))

    least = _ceil(math.log(alpha) / math.log1p(-inside)) if 0 < inside < 1 else (1 if inside == 1 else None)
    outlook = Outlook(
        excess=loss - margin,
        null_spread=math.sqrt(inside * (1 - inside)),
        spread=math.sqrt((changed + 0.5) / (n + 1) * (n - changed + 0.5) / (n + 1)),
        allowance=0.0,
        z=z,
        n=n,
        least=least or 1,
    )
    low = clopper_pearson(changed, n, confidence, "lower")[0]
    high = clopper_pearson(changed, n, confidence, "upper")[1]
    return DropTest(
        p_value=p_value(n),
        difference=Estimate(value=loss, low=low, high=high, n=n, method="Clopper-Pearson bounds"),
        n=n,
        method="exact binomial test of agreement (Clopper-Pearson)",
        harm_p_value=1.0 if changed == 0 or inside == 1 else float(betainc(changed, n - changed + 1, inside)),
        needed=_first_passing(p_value, alpha, least) if least is not None and loss < margin else None,
        needed_without_loss=least,
        outlook=outlook,
    )


def _first_passing(p_value: Any, alpha: float, least: int) -> int:
    """The fewest rows, at least `least`, at which a falling p-value reaches alpha."""
    low, high = least, least
    while p_value(high) > alpha and high < _MOST_ROWS:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if p_value(middle) <= alpha else (middle, high)
    return low if p_value(low) <= alpha else high


def _of_means(
    metric: Metric,
    baseline: Predictions,
    candidate: Predictions,
    target: NDArray[Any] | None,
    margin: Margin,
    groups: Groups | None,
    confidence: float,
    z: float,
    seed: int,
) -> DropTest:
    """The test on means of row differences, by group where there are groups."""
    before, after = metric.linear(baseline, target), metric.linear(candidate, target)
    n = len(after.rows)
    losses = metric.loss(before.rows, after.rows)
    harm = _harm(losses, before.harm, after.harm, before.scale, margin)
    bootstrap = metric.kind == "functional" or groups is None
    plain = mean_sample(losses, harm, groups, like=before.rows, seed=seed)
    absolute = mean_below(plain, margin.drop, confidence, bootstrap)
    excess, bound, sample = plain.mean - margin.drop, absolute, plain
    if margin.relative:
        share = 1 - margin.drop if metric.higher_is_better else 1 + margin.drop
        sample = mean_sample(metric.loss(share * before.rows, after.rows), harm, groups, like=before.rows, seed=seed)
        bound = mean_below(sample, 0.0, confidence, bootstrap)
        excess = sample.mean
    count = plain.blocks if plain.grouped else None
    least = _least(
        before.scale, margin, float(before.rows.mean()), n, plain.allowance / harm if harm else 1.0, z, count
    )
    outlook = Outlook(
        excess=excess,
        null_spread=sample.spread,
        # Unseen harm keeps the spread of another draw above zero, by half a spoilt row.
        spread=math.sqrt(sample.spread**2 + sample.allowance**2 / (2 * n)),
        allowance=sample.allowance,
        z=z,
        n=n,
        least=least or 1,
    )
    enough = count is None or count >= MIN_GROUPS
    method = _method(metric, count, bootstrap)
    error = plain.standard_error(z)
    low, high = (absolute.low, absolute.high) if enough else (None, None)
    return DropTest(
        p_value=bound.p_value if enough else 1.0,
        difference=Estimate(value=plain.mean, low=low, high=high, n=n, method=method),
        n=n,
        method=method,
        harm_p_value=float(stdtr(plain.blocks - 1, -plain.mean / error)) if plain.blocks > 1 and error > 0 else 1.0,
        needed=outlook.needed(),
        needed_without_loss=least,
        groups=count,
        outlook=outlook,
    )


def _method(metric: Metric, groups: int | None, bootstrap: bool) -> str:
    influences = " of influences" if metric.kind == "functional" else ""
    if groups is None:
        return f"studentised paired bootstrap and t{influences}"
    if groups < MIN_GROUPS:
        return f"cannot certify: {groups} groups, {MIN_GROUPS} are needed"
    return f"cluster-robust t{influences}, {groups} groups" + (", and bootstrap over groups" if bootstrap else "")


def _harm(losses: Array, before: float | None, after: float | None, scale: float, margin: Margin) -> float:
    """What one spoilt row would add to the sum of losses.

    A bounded metric knows it. Otherwise it is the largest loss seen; where hardly a row has changed, so that the losses
    seen say little, the range of the baseline's own figures; where these do not differ either, a hundred margins.
    """
    if before is not None and after is not None:
        return max(before, after)
    centred = np.abs(losses - losses.mean())
    changed = np.count_nonzero(losses)
    largest = float(centred.max())
    if changed < _FEW_CHANGED or largest == 0:
        largest = max(largest, scale)
    return largest if largest > 0 else 100 * abs(margin.drop)


def _least(
    scale: float, margin: Margin, figure: float, n: int, effect: float, z: float, groups: int | None
) -> int | None:
    """Rows that a pass takes with no loss at all: the allowance alone must fit into the margin.

    Only the baseline's figures count, so that which slices are too small to pass is known before any candidate is seen.
    """
    room = margin.drop * abs(figure) if margin.relative else margin.drop
    if room <= 0:
        return None
    rows = z * z * (scale or 100 * abs(margin.drop)) * effect / room
    return max(_ceil(rows), _ceil(MIN_GROUPS * n / groups) if groups else 1)


def _ceil(rows: float) -> int:
    return max(1, math.ceil(min(rows, _MOST_ROWS) - 1e-9))
