"""How raw images or texts become what a model takes: settings that a study, a prediction and a server share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from equipoise.core.noun import Noun

Layout = Literal["NCHW", "NHWC"]
ChannelOrder = Literal["RGB", "BGR", "grey"]
ImageDType = Literal["uint8", "float16", "float32", "float64"]
Side = Annotated[int, Field(ge=1, le=16_384)]
Positive = Annotated[float, Field(gt=0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00:]+$", max_length=128)]


class ImageSize(Noun):
    """Pixels: both sides, or the shorter one, the other then keeping the image's proportions."""

    height: Side | None = None
    width: Side | None = None
    shortest_edge: Side | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        sides = (self.height is not None, self.width is not None, self.shortest_edge is not None)
        if sides not in ((True, True, False), (False, False, True)):
            raise ValueError("needed height and width, or shortest_edge")
        return self


class ImagePreprocessing(Noun):
    """How an encoded image becomes one row of one input, in the order of the attributes below.

    Names and meanings are those of Hugging Face's `preprocessor_config.json`; the last four are ours.

    Attributes:
        do_resize: Whether it is resized to `size`, by Pillow.
        size: Its size then.
        resample: Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming.
        do_center_crop: Whether the middle of `crop_size` is cut out; what lies outside the image is 0.
        crop_size: That size.
        do_rescale: Whether values, 0 to 255, are multiplied by `rescale_factor`; null where the input's type says so
            (floating numbers are, bytes are not).
        rescale_factor: By what.
        do_normalize: Whether `image_mean` is then taken off and the rest divided by `image_std`.
        image_mean: One figure a channel, in the order red, green, blue, on the scale after `do_rescale`.
        image_std: Likewise.
        channel_order: Order of the channels in the tensor; `grey` for a single one, of luminance.
        layout: Order of its axes; null to tell from the model's input.
        dtype: Its type; null likewise.
        input: Name of the model's input; null for its only one.
    """

    kind: Literal["image"] = "image"
    do_resize: bool = False
    size: ImageSize | None = None
    resample: int = Field(default=2, ge=0, le=5)
    do_center_crop: bool = False
    crop_size: ImageSize | None = None
    do_rescale: bool | None = None
    rescale_factor: Positive = 1 / 255
    do_normalize: bool = False
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[Positive, ...] | None = None
    channel_order: ChannelOrder = "RGB"
    layout: Layout | None = None
    dtype: ImageDType | None = None
    input: str | None = None

    @property
    def channels(self) -> int:
        """Of the tensor."""
        return 1 if self.channel_order == "grey" else 3

    @property
    def files(self) -> dict[str, str]:
        """Files that it needs besides: none."""
        return {}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.do_resize and self.size is None:
            raise ValueError("do_resize needs size")
        if self.do_center_crop and (self.crop_size is None or self.crop_size.height is None):
            raise ValueError("do_center_crop needs crop_size with height and width")
        figures = (self.image_mean, self.image_std)
        if self.do_normalize and any(given is None or len(given) != self.channels for given in figures):
            raise ValueError(f"do_normalize needs image_mean and image_std, {self.channels} figures each")
        return self


class TextPreprocessing(Noun):
    """How a text, or a pair of them, becomes token ids.

    Attributes:
        tokenizer: Name of the tokenizer's file, which lies beside the settings: a `tokenizer.json`, or a WordPiece
            vocabulary, a token a line (`.txt`).
        tokenizer_sha256: Digest of that file.
        max_length: Most tokens of a row; null for the tokenizer's own limit.
        padding: `longest` fills up to the longest row of a batch, `max_length` always up to that.
        truncation: Whether longer texts are cut; where not, they are refused.
        columns: Columns of the data that hold the text: one, or two for pairs; null for the only column of text.
        pad_token_id: What rows are filled up with; null for the tokenizer's own.
        input_ids: Name of the input that takes token ids.
        attention_mask: Name of the one that takes 1 for a token and 0 for filling; null where there is none.
        token_type_ids: Name of the one that takes which of two texts a token is of; null where there is none.
        dtype: Type of all three.
    """

    kind: Literal["text"] = "text"
    tokenizer: FileName
    tokenizer_sha256: Digest
    max_length: int | None = Field(default=None, ge=1)
    padding: Literal["longest", "max_length"] = "longest"
    truncation: bool = True
    columns: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] | None = None
    pad_token_id: int | None = Field(default=None, ge=0)
    input_ids: str = "input_ids"
    attention_mask: str | None = "attention_mask"
    token_type_ids: str | None = None
    dtype: Literal["int64", "int32"] = "int64"

    @property
    def files(self) -> dict[str, str]:
        """Files that it needs besides, name to SHA-256."""
        return {self.tokenizer: self.tokenizer_sha256}


Preprocessing = Annotated[ImagePreprocessing | TextPreprocessing, Field(discriminator="kind")]
"""What happens to raw images or texts; null, wherever it may be, for rows that are tensors or columns already."""


class PlacedPreprocessing(Noun):
    """Settings, and where the files lie that they name.

    Attributes:
        settings: What is done.
        folder: Where the files lie; null where none are named.
    """

    settings: Preprocessing
    folder: str | None = None
