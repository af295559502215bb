"""Texts to token ids, with a tokenizer's own file: the `tokenizers` library does the work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.preprocessing import TextPreprocessing
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.preprocess.columns import listed
from equipoise.preprocess.raw import Raw

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Array = NDArray[Any]
WHERE = "preprocessing"
INSTALL = 'install it with: pip install "equipoise[text]"'
INPUT_NAMES = {
    "input_ids": ("input_ids", "input_word_ids", "ids", "tokens"),
    "attention_mask": ("attention_mask", "input_mask", "mask"),
    "token_type_ids": ("token_type_ids", "segment_ids", "input_type_ids"),
}
"""Names under which models take each of the three."""
Text = str | tuple[str, str]
PAD_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>")
UNBOUNDED = 512
"""Most tokens of a row where neither the settings nor the tokenizer say a limit: what BERT's positions reach to."""


class TextPreprocessor:
    """Turns texts, or pairs of them, into what a model takes. Threads may share it.

    Args:
        settings: Complete: names of inputs, `max_length`, `dtype`.
        folder: Where the tokenizer's file lies.

    Attributes:
        most_tokens: Of a row.

    Raises:
        DataError: The library is not installed, or the file is not a tokenizer's.
    """

    def __init__(self, settings: TextPreprocessing, folder: Path) -> None:
        self.settings = settings
        self._tokenizer = read_tokenizer(folder / settings.tokenizer)
        own = self._tokenizer.truncation
        self.most_tokens = settings.max_length or (own["max_length"] if own else UNBOUNDED)
        self._filling = _filling(self._tokenizer) if settings.pad_token_id is None else settings.pad_token_id
        self._pairs = settings.columns is not None and len(settings.columns) == 2
        self._tokenizer.no_padding()
        if settings.truncation:
            self._tokenizer.enable_truncation(self.most_tokens)
        else:
            self._tokenizer.no_truncation()

    @property
    def filling(self) -> dict[str, int]:
        """What shorter rows are filled up with, by input; empty where all rows have one length."""
        settings = self.settings
        if settings.padding == "max_length":
            return {}
        others = (settings.attention_mask, settings.token_type_ids)
        return {settings.input_ids: self._filling} | {name: 0 for name in others if name is not None}

    def __call__(self, raw: Sequence[Raw], names: Sequence[str]) -> dict[str, Array]:
        """Turn texts into token ids and what goes with them, filled up to the longest of them.

        Args:
            raw: Texts, or pairs of texts.
            names: What each is called in an error: `row 3`.

        Returns:
            Input name to whole numbers, [n, tokens]: ids, 1 for each token and 0 for filling, and which text of a pair
            each is of, as far as the model takes them.

        Raises:
            DataError: One is no text, has no token, or is too long where none are cut.
        """
        _require_texts(raw, names, pairs=self._pairs)
        try:
            encodings = self._tokenizer.encode_batch(list(raw))
        except (UnicodeEncodeError, TypeError) as error:
            raise DataError(listed(names, 3), f"not every text can be encoded ({error})", "needed Unicode") from None
        lengths = np.array([len(encoding) for encoding in encodings])
        self._require_lengths(lengths, names)
        longest = self.most_tokens if self.settings.padding == "max_length" else int(lengths.max())
        return self._filled(encodings, longest)

    def _require_lengths(self, lengths: NDArray[np.int_], names: Sequence[str]) -> None:
        if (lengths == 0).any():
            place = int((lengths == 0).argmax())
            raise DataError(names[place], "a text without a single token", "needed at least a word")
        if (lengths > self.most_tokens).any():
            place = int((lengths > self.most_tokens).argmax())
            raise DataError(
                names[place],
                f"a text of {lengths[place]:,} tokens",
                f"needed at most {self.most_tokens:,} (max_length), or truncation",
            )

    def _filled(self, encodings: Sequence[Encoding], longest: int) -> dict[str, Array]:
        settings, dtype = self.settings, np.dtype(self.settings.dtype)
        shape = (len(encodings), longest)
        ids = np.full(shape, self._filling, dtype)
        feeds = {settings.input_ids: ids}
        mask = np.zeros(shape, dtype)
        if settings.attention_mask is not None:
            feeds[settings.attention_mask] = mask
        types = np.zeros(shape, dtype)
        if settings.token_type_ids is not None:
            feeds[settings.token_type_ids] = types
        for row, encoding in enumerate(encodings):
            length = len(encoding)
            ids[row, :length] = encoding.ids
            mask[row, :length] = 1
            types[row, :length] = encoding.type_ids
        return feeds


def read_tokenizer(path: Path) -> Tokenizer:
    """Load a `tokenizer.json`, or a WordPiece vocabulary (`.txt`), as BERT has it.

    A vocabulary is one of lower-case text where no token but those in brackets has a capital letter.

    Raises:
        DataError: The library is not installed, or the file is not a tokenizer's.
    """
    # Rows are few or cheap beside the model, and threads of its own would take cores that a plan counts on.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise DataError(str(path), "text, and the library tokenizers is not installed", INSTALL) from None
    try:
        return _word_piece(path) if path.suffix.lower() == ".txt" else Tokenizer.from_file(str(path))
    except Exception as error:  # a native library's border: it raises plain Exception for a damaged file
        raise DataError(
            str(path), f"not a tokenizer's file ({error})", "needed a tokenizer.json, or a WordPiece vocabulary (.txt)"
        ) from None


def _word_piece(path: Path) -> Tokenizer:
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    words = path.read_text(encoding="utf-8").splitlines()
    lower = not any(word != word.lower() for word in words if not word.startswith("["))
    # The library's own class is a wrapper; what it wraps is what a tokenizer.json loads as.
    return Tokenizer.from_str(BertWordPieceTokenizer(str(path), lowercase=lower).to_str())


def _filling(tokenizer: Tokenizer) -> int:
    """The id that a tokenizer fills up with: what it says itself, else one of the usual names; 0 without any."""
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    found = (tokenizer.token_to_id(name) for name in PAD_TOKENS)
    return next((token for token in found if token is not None), 0)


def fitted_text(settings: TextPreprocessing, spec: ModelSpec) -> TextPreprocessing:
    """Settings whose names, length and type are those of a model's inputs.

    Raises:
        DataError: The model takes something else than token ids, a mask and which text they are of.
    """
    roles = {role: _named(role, names, settings, spec) for role, names in INPUT_NAMES.items()}
    if roles["input_ids"] is None and len(spec.inputs) == 1:
        roles["input_ids"] = spec.inputs[0]
    known = [tensor for tensor in roles.values() if tensor is not None]
    strange = [tensor for tensor in spec.inputs if tensor not in known or not _holds_tokens(tensor)]
    tensor = roles["input_ids"]
    if tensor is None or strange:
        raise DataError(
            WHERE,
            f"the model takes {listed([_described(each) for each in strange or spec.inputs])}",
            "needed token ids (input_ids), and perhaps attention_mask and token_type_ids: whole numbers, "
            "one row of them a text",
        )
    update: dict[str, Any] = {role: None if found is None else found.name for role, found in roles.items()}
    update["dtype"] = tensor.dtype
    width = tensor.shape[1]
    if width is not None:
        update |= {"max_length": width, "padding": "max_length"}
    elif roles["attention_mask"] is None:  # nothing tells it where a row ends, so that all rows must end alike
        update["padding"] = "max_length"
    return TextPreprocessing.model_validate(settings.model_dump() | update)


def takes_text(spec: ModelSpec) -> bool:
    """Whether a model takes token ids."""
    return any(tensor.name in INPUT_NAMES["input_ids"] and _holds_tokens(tensor) for tensor in spec.inputs)


def _named(role: str, names: Sequence[str], settings: TextPreprocessing, spec: ModelSpec) -> TensorSpec | None:
    wanted = (getattr(settings, role), *names)
    return next((tensor for name in wanted for tensor in spec.inputs if tensor.name == name), None)


def _holds_tokens(tensor: TensorSpec) -> bool:
    return len(tensor.shape) == 2 and tensor.dtype in ("int64", "int32")


def _described(tensor: TensorSpec) -> str:
    axes = ", ".join("any" if axis is None else str(axis) for axis in tensor.shape[1:])
    return f"{tensor.name} ({tensor.dtype} [{axes}] a row)"


def raw_texts(columns: Mapping[str, Array], names: Sequence[str]) -> list[Text]:
    """The texts, or pairs of texts, of columns, row by row."""
    if len(names) == 1:
        return list(columns[names[0]])
    return list(zip(*(columns[name] for name in names), strict=True))


def _require_texts(raw: Sequence[Raw], names: Sequence[str], *, pairs: bool) -> None:
    for one, name in zip(raw, names, strict=True):
        fits = isinstance(one, tuple) and all(isinstance(part, str) for part in one) if pairs else isinstance(one, str)
        if not fits:
            found = "no text" if one is None else f"{type(one).__name__}"
            raise DataError(name, found, "needed two texts" if pairs else "needed a text")
