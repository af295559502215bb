"""What settings leave open, and a model says; and what is said where no settings were given."""

from __future__ import annotations

import pytest

from equipoise.core.preprocessing import ImagePreprocessing
from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.preprocess.fitting import derived, fitted

Shape = tuple[int | None, ...]
FIGURES = {"do_normalize": True, "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}


def model(dtype: DType, *shapes: Shape) -> ModelSpec:
    inputs = tuple(TensorSpec(name=f"in{place}", dtype=dtype, shape=shape) for place, shape in enumerate(shapes))
    return ModelSpec(inputs=inputs, outputs=())


def settings(**keys: object) -> ImagePreprocessing:
    return ImagePreprocessing.model_validate(keys)


def fit(given: ImagePreprocessing, spec: ModelSpec) -> ImagePreprocessing:
    found = fitted(given, spec)
    assert isinstance(found, ImagePreprocessing)
    return found


def test_the_model_says_layout_type_and_name() -> None:
    size = {"height": 8, "width": 8}
    found = fit(settings(do_resize=True, size=size, **FIGURES), model("float32", (None, 3, 8, 8)))
    assert (found.layout, found.dtype, found.input, found.do_rescale) == ("NCHW", "float32", "in0", True)
    found = fit(settings(), model("uint8", (None, None, None, 3)))
    assert (found.layout, found.dtype, found.do_rescale, found.channel_order) == ("NHWC", "uint8", False, "RGB")
    assert fit(settings(), model("uint8", (None, 28, 28, 1))).channel_order == "grey"
    assert fit(found, model("uint8", (None, None, None, 3))).model_copy(update={"input": "in0"}) == found


@pytest.mark.parametrize(
    ("given", "spec", "message"),
    [
        (settings(do_resize=True, size={"height": 9, "width": 8}), model("float32", (None, 3, 8, 8)), r"\[3, 9, 8\]"),
        (settings(layout="NHWC"), model("float32", (None, 3, 8, 8)), r"NHWC.*correct size, crop_size"),
        (settings(**FIGURES), model("uint8", (None, 8, 8, 3)), "takes bytes as they are"),
        (settings(do_rescale=True), model("uint8", (None, 8, 8, 3)), "takes bytes as they are"),
        (settings(dtype="float32"), model("uint8", (None, 8, 8, 3)), "dtype is float32"),
        (settings(), model("int64", (None, 8, 8, 3)), "bytes or floating numbers"),
        (settings(), model("float32", (None, 192)), "which is no image"),
        (settings(input="pixels"), model("float32", (None, 3, 8, 8)), "the model's is 'in0'"),
        (settings(), model("float32", (None, 3, 8, 8), (None, 2)), "only input is an image"),
        (settings(channel_order="grey"), model("float32", (None, 3, 8, 8)), "channel_order or layout"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: ImagePreprocessing, spec: ModelSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitted(given, spec)


def test_bytes_of_the_images_own_size_need_no_settings() -> None:
    for shape in ((None, 8, 6, 3), (None, None, None, 3)):
        found, note = derived(model("uint8", shape), (8, 6))
        assert fit(found, model("uint8", shape)) == found
        assert "8 x 6, red, green, blue" in note
    assert derived(model("uint8", (None, 8, 6, 1)), (8, 6))[0].channel_order == "grey"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (model("uint8", (None, 9, 6, 3)), r"needed size \(the first image is 8 x 6\)"),
        (model("float32", (None, 3, 8, 6)), "needed do_rescale or rescale_factor, image_mean and image_std"),
        (model("float32", (None, 3, 224, 224)), "needed size .* image_mean"),
        (model("uint8", (None, 3, 8, 6)), "channel_order"),
        (model("uint8", (None, 8, 6, 3), (None, 2)), "images are for models of one input"),
        (model("float32", (None, 10)), "takes no images"),
    ],
)
def test_what_is_missing_is_said_in_one_error(spec: ModelSpec, message: str) -> None:
    with pytest.raises(DataError, match=message):
        derived(spec, (8, 6))
