"""Whose answers change: counts that add up, intervals that hold, and a test that sees what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from equipoise.stats.flips import PairedLabels, error_rates, fisher, flip_counts, hardest_hit, holm, label_flips

TRUTH = np.array([0, 0, 0, 1, 1, 1, 2, 2])
BEFORE = np.array([0, 0, 1, 1, 1, 2, 2, 0])
AFTER = np.array([0, 1, 0, 1, 0, 2, 2, 0])
NAMES = ["cat", "dog", "eel"]
FIRST = np.arange(8) < 4


def labels(**changes: object) -> PairedLabels:
    given_: dict[str, object] = {
        "before": BEFORE, "after": AFTER, "truth": TRUTH, "names": NAMES,
        "slices": {"half=first": FIRST, "half=second": ~FIRST},
    } | changes  # fmt: skip
    return PairedLabels(**given_)  # type: ignore[arg-type]


def test_counts_by_place_and_direction() -> None:
    found = {each.place: each for each in flip_counts(labels())}
    assert list(found) == ["all rows", "half=first", "half=second", "class=cat", "class=dog", "class=eel"]
    everything = found["all rows"]
    assert everything.right_to_wrong is not None
    assert everything.wrong_to_right is not None
    assert everything.loss is not None
    assert everything.changed.value == pytest.approx(3 / 8)
    assert everything.right_to_wrong.value == pytest.approx(2 / 8)
    assert everything.wrong_to_right.value == pytest.approx(1 / 8)
    assert everything.loss.value == pytest.approx(1 / 8)
    assert everything.p_value is None
    assert sum(each.n for place, each in found.items() if each.kind == "class") == 8
    # Exact ends for 2 of 8: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Clopper-Pearson
    assert (everything.right_to_wrong.low, everything.right_to_wrong.high) == pytest.approx((0.0319, 0.6509), abs=1e-4)


def test_pairs_of_labels() -> None:
    found = {(each.before, each.after): each for each in label_flips(labels())}
    assert {pair: each.count for pair, each in found.items()} == {("cat", "dog"): 1, ("dog", "cat"): 2}
    back = found["dog", "cat"]
    assert (back.turned_wrong, back.turned_right) == (1, 1)
    assert back.share.value == pytest.approx(2 / 3)


def test_false_positives_and_negatives_of_two_classes_by_slice() -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    before = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    after = np.array([0, 1, 1, 1, 1, 1, 1, 1])
    found = error_rates(labels(truth=truth, before=before, after=after, names=["no", "yes"]))
    assert [each.place for each in found] == ["all rows", "half=first", "half=second"]
    everything, first, second = found
    assert everything.positive == "yes"
    assert (everything.baseline_false_positive, everything.baseline_false_negative) == (0.25, 0.25)
    assert everything.false_positive is not None
    assert everything.false_negative is not None
    assert everything.false_positive.value == pytest.approx(0.5)
    assert everything.false_negative.value == pytest.approx(-0.25)
    assert first.false_negative is None
    assert second.false_positive is None
    turned = error_rates(labels(truth=truth, before=before, after=after, names=["no", "yes"]), positive=0)
    assert turned[0].false_negative is not None
    assert turned[0].false_negative.value == pytest.approx(0.5)


def test_of_more_classes_each_counts_for_itself() -> None:
    assert [each.positive for each in error_rates(labels())] == NAMES


def test_without_true_labels_only_changes_are_counted() -> None:
    everything, *slices = flip_counts(labels(truth=None))
    assert everything.right_to_wrong is None
    assert [each.kind for each in slices] == ["slice", "slice"]
    assert error_rates(labels(truth=None)) == ()
    assert hardest_hit(labels(truth=None), None, 9).tolist() == [1, 2, 4]


def test_the_hardest_hit_lost_most_probability() -> None:
    fall = np.array([0, 0.2, 0.9, 0, 0.5, 0, 0, 0])
    assert hardest_hit(labels(), fall, 9).tolist() == [4, 1]
    assert hardest_hit(labels(), fall, 1).tolist() == [4]


def test_harm_in_one_slice_is_seen_and_even_harm_is_not() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    truth = rng.integers(0, 2, n)
    few = rng.random(n) < 0.1
    slices = {"sex=F": few, "sex=M": ~few}

    def p_values(share: np.ndarray) -> list[float]:
        after = np.where(rng.random(n) < share, 1 - truth, truth)
        found = flip_counts(labels(truth=truth, before=truth, after=after, names=["no", "yes"], slices=slices))
        return [each.p_value for each in found if each.kind == "slice" and each.p_value is not None]

    assert max(p_values(np.where(few, 0.1, 0.02))) < 0.001
    false_alarms = sum(min(p_values(np.full(n, 0.03))) < 0.05 for _ in range(60))
    assert false_alarms <= 8  # of 60 at 5%: more than 8 come of chance once in 250 times


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_fishers_test_is_scipys(both: int, only_drawn: int, only_marked: int, neither: int) -> None:
    n = both + only_drawn + only_marked + neither
    if n == 0:
        return
    wanted = fisher_exact(np.array([[both, only_drawn], [only_marked, neither]])).pvalue
    assert fisher(both, both + only_drawn, both + only_marked, n) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_values_keep_their_order_and_never_shrink(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    assert min(corrected) == pytest.approx(min(1, min(p_values) * len(p_values)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_shares_of_places_add_up_to_the_whole(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    before, after, truth = rng.integers(0, 3, (3, n))
    half = rng.random(n) < 0.5
    found = flip_counts(labels(before=before, after=after, truth=truth, slices={"a": half, "b": ~half}))
    for kind in ("slice", "class"):
        parts = [each for each in found if each.kind == kind]
        assert sum(each.changed.value * each.n for each in parts) == pytest.approx(found[0].changed.value * n)
    assert sum(each.count for each in label_flips(labels(before=before, after=after, truth=truth))) == sum(
        before != after
    )
