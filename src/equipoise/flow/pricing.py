"""What the brief says of errors, in the classes that the model knows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.brief import Brief
from equipoise.errors import BriefError
from equipoise.ingest.value_checks import refuse_price_of_errors
from equipoise.preprocess.answers import OutputMeaning

OPTION = "--usd-per-error"


def price_of_errors(brief: Brief, metric: str, meaning: OutputMeaning) -> NDArray[Any] | None:
    """What an error costs, in US dollars: one price, shape (), or one for each true class, [C]; null for no price.

    Args:
        brief: Its table may name some of the classes: an error on the others costs nothing.
        metric: What is judged.
        meaning: What the judged output holds, its classes among that.

    Raises:
        BriefError: The metric counts no errors, or the table names what is no class of the model.
    """
    usd = brief.value.usd_per_error
    if usd is None:
        return None
    refuse_price_of_errors(metric, OPTION)
    if not isinstance(usd, dict):
        return np.asarray(usd, dtype=np.float64)
    names = [str(label) for label in meaning.labels or ()]
    unknown = [name for name in usd if name not in names]
    if unknown:
        raise BriefError(OPTION, f"found a price for {', '.join(unknown)}", f"needed classes among {', '.join(names)}")
    if meaning.multilabel:
        raise BriefError(
            OPTION, "found prices by class, and the model gives a row several labels", "needed one price of a wrong row"
        )
    return np.array([usd.get(name, 0.0) for name in names])
