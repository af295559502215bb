"""Sentences in a request to `/v1/predict`: as the body itself, or in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from equipoise.endpoint.http import Limits
from equipoise.endpoint.values import as_bad_request, bound
from equipoise.errors import BadRequest
from equipoise.preprocess.columns import listed
from equipoise.preprocess.text import Text, TextPreprocessor
from equipoise.serve.loading import LoadedPlan

Array = NDArray[Any]
PLAIN = b"text/plain"
TEXT = "text"
PAIR = 2


def plain_text(body: bytes) -> str:
    """A body that is one sentence.

    Raises:
        BadRequest: It is not UTF-8, or is empty.
    """
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if not text:
        raise BadRequest("found an empty body; needed a text")
    return text


def as_rows(body: Any) -> Any:
    """A JSON body with its sentences under `rows`: a text alone and `{"text": ...}` are rows too."""
    if isinstance(body, str):
        return {"rows": [body]}
    if isinstance(body, dict) and "rows" not in body and TEXT in body:
        texts = body[TEXT]
        rest = {name: value for name, value in body.items() if name != TEXT}
        return {"rows": texts if isinstance(texts, list) else [texts]} | rest
    return body


def texts_of(rows: Any, columns: Sequence[str] | None) -> list[Text] | None:
    """Sentences, or pairs of them; null where rows are objects without any: token ids, say.

    Args:
        rows: What stands in the place of rows.
        columns: Names of the columns of text: one, or two for pairs; null for one without a name.

    Raises:
        BadRequest: There are no rows, or one of them is no text.
    """
    names = tuple(columns or (TEXT,))
    if not isinstance(rows, list) or not rows:
        raise BadRequest(f"found no rows; needed a list of them, each {_wanted(names)}")
    found = [_text(row, names) for row in rows]
    texts = [text for text in found if text is not None]
    if not texts and all(isinstance(row, dict) for row in rows):
        return None
    if len(texts) < len(found):
        raise BadRequest(f"row {found.index(None) + 1} holds no text; every row needs {_wanted(names)}")
    return texts


def tokens(texts: Sequence[Text], plan: LoadedPlan, limits: Limits) -> dict[str, Array]:
    """Sentences as a plan takes them.

    Raises:
        BadRequest: The plan takes none, or one cannot be used; its row is named.
    """
    preprocessor = plan.preprocessor
    if not isinstance(preprocessor, TextPreprocessor):
        raise BadRequest("found a text; this model takes none: /openapi.json and /docs say what it takes")
    names = [f"row {number}" for number in range(1, len(texts) + 1)]
    feeds = as_bad_request(lambda: preprocessor(texts, names))
    elements = sum(array.size for array in feeds.values())
    if elements > limits.elements:
        found = f"{len(texts):,} texts become {elements:,} numbers"
        raise BadRequest(f"{found}; at most {limits.elements:,} are taken at once: send fewer")
    return bound(feeds, plan.spec, {name: (name,) for name in feeds})


def _text(row: Any, names: tuple[str, ...]) -> Text | None:
    """The text of a row, or its two: by their names, or in order."""
    if isinstance(row, dict):
        alone = names if all(name in row for name in names) else (TEXT,) if len(names) == 1 and TEXT in row else None
        if alone is None:
            return None
        row = [row[name] for name in alone]
    elif isinstance(row, str):
        row = [row]
    if not isinstance(row, list) or len(row) != len(names) or not all(isinstance(part, str) for part in row):
        return None
    return (row[0], row[1]) if len(names) == PAIR else str(row[0])


def _wanted(names: tuple[str, ...]) -> str:
    return f"two texts ({listed(names)})" if len(names) == PAIR else f"a text ({names[0]})"
