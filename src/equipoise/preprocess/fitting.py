"""Completes preprocessing with what the model itself says: names, layouts and types of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise.core.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.preprocess.columns import listed

WHERE = "preprocessing"
OPTION = "a file of settings (--preprocess), such as the preprocessor_config.json of the model's own folder"
FLOATS = ("float16", "float32", "float64")


def fitted(settings: Preprocessing, spec: ModelSpec) -> Preprocessing:
    """Settings in which nothing is left open, for a model.

    Raises:
        DataError: The model does not take what they make.
    """
    if isinstance(settings, TextPreprocessing):
        from equipoise.preprocess.text import fitted_text

        return fitted_text(settings, spec)
    return _fitted_image(settings, spec)


def derived(spec: ModelSpec, sides: tuple[int, int]) -> tuple[ImagePreprocessing, str]:
    """Settings for images, where none were given and the model needs none: it takes bytes, of the images' own size.

    Args:
        spec: What the model takes.
        sides: Height and width of the images.

    Returns:
        The settings, and a note that says so.

    Raises:
        DataError: It takes something else: the error says which settings are missing.
    """
    tensor = spec.inputs[0]
    layout = image_layout(tensor.shape)
    if len(spec.inputs) == 1 and tensor.dtype == "uint8" and layout == "NHWC":
        wanted = tensor.shape[1:3]
        if all(want in (None, side) for want, side in zip(wanted, sides, strict=True)):
            order = "grey" if tensor.shape[3] == 1 else "RGB"
            settings = ImagePreprocessing(
                channel_order=order, layout=layout, dtype="uint8", input=tensor.name, do_rescale=False
            )
            note = (
                f"no preprocessing was given: input {tensor.name!r} takes bytes, and gets the images as they are, "
                f"{sides[0]} x {sides[1]}, {'grey' if order == 'grey' else 'red, green, blue'}"
            )
            return settings, note
    raise DataError(WHERE, "images, and no preprocessing for them", _missing_settings(spec, sides))


def image_layout(shape: Sequence[int | None]) -> str | None:
    """Where a tensor of four axes has its channels; null where it is no image.

    Example:
        >>> image_layout((None, 3, 224, 224)), image_layout((None, 32, 32, 3)), image_layout((None, 10))
        ('NCHW', 'NHWC', None)
    """
    if len(shape) != 4:
        return None
    if shape[3] in (1, 3):
        return "NHWC"
    return "NCHW" if shape[1] in (1, 3) else None


def _missing_settings(spec: ModelSpec, sides: tuple[int, int]) -> str:
    images = [tensor for tensor in spec.inputs if image_layout(tensor.shape) is not None]
    if not images:
        return f"the model takes no images: {listed([_described(tensor) for tensor in spec.inputs])}"
    if len(spec.inputs) > 1:
        return f"the model takes {listed([tensor.name for tensor in spec.inputs])}: images are for models of one input"
    tensor = images[0]
    layout = image_layout(tensor.shape)
    wanted = tensor.shape[1:3] if layout == "NHWC" else tensor.shape[2:]
    missing = []
    if any(want not in (None, side) for want, side in zip(wanted, sides, strict=True)):
        missing.append(f"size (the first image is {sides[0]} x {sides[1]})")
    if tensor.dtype in FLOATS:
        missing.append("do_rescale or rescale_factor, image_mean and image_std (how bytes become its numbers)")
    if not missing:
        missing.append("channel_order (RGB or BGR) and layout")
    return f"{_described(tensor)}: needed {'; '.join(missing)}. Give {OPTION}"


def _fitted_image(settings: ImagePreprocessing, spec: ModelSpec) -> ImagePreprocessing:
    tensor = _image_input(settings, spec)
    layout = settings.layout or image_layout(tensor.shape)
    if layout is None or len(tensor.shape) != 4:
        raise DataError(
            WHERE, f"{_described(tensor)}, which is no image", "needed four axes, 1 or 3 channels among them"
        )
    if settings.dtype not in (None, tensor.dtype):
        raise DataError(WHERE, f"dtype is {settings.dtype}", f"{_described(tensor)}: leave dtype out, or correct it")
    if tensor.dtype not in ("uint8", *FLOATS):
        needed = "needed an input of bytes or floating numbers for images; give this model rows as arrays (.npz)"
        raise DataError(WHERE, _described(tensor), needed)
    floats = tensor.dtype in FLOATS
    rescale = floats if settings.do_rescale is None else settings.do_rescale
    if not floats and (rescale or settings.do_normalize):
        raise DataError(WHERE, "values are rescaled or normalised", f"{_described(tensor)}: it takes bytes as they are")
    channels = tensor.shape[3] if layout == "NHWC" else tensor.shape[1]
    order = "grey" if channels == 1 and "channel_order" not in settings.model_fields_set else settings.channel_order
    complete = settings.model_copy(
        update={
            "layout": layout,
            "dtype": tensor.dtype,
            "input": tensor.name,
            "do_rescale": rescale,
            "channel_order": order,
        }
    )
    _require_shape(complete, tensor)
    return ImagePreprocessing.model_validate(complete.model_dump())


def _image_input(settings: ImagePreprocessing, spec: ModelSpec) -> TensorSpec:
    names = [tensor.name for tensor in spec.inputs]
    if len(names) > 1:
        raise DataError(WHERE, f"the model takes {listed(names)}", "needed a model whose only input is an image")
    if settings.input not in (None, names[0]):
        raise DataError(
            WHERE, f"input is {settings.input!r}", f"the model's is {names[0]!r}: correct it or leave it out"
        )
    return spec.inputs[0]


def _require_shape(settings: ImagePreprocessing, tensor: TensorSpec) -> None:
    """Compare what comes out, as far as it is known before an image is seen, with what goes in."""
    crop, size = settings.crop_size, settings.size
    out = crop if settings.do_center_crop else size if settings.do_resize else None
    sides = (None, None) if out is None else (out.height, out.width)
    made = (settings.channels, *sides) if settings.layout == "NCHW" else (*sides, settings.channels)
    if any(have is not None and want not in (None, have) for have, want in zip(made, tensor.shape[1:], strict=True)):
        raise DataError(
            WHERE,
            f"it makes images of {_shape(made)} ({settings.layout})",
            f"{_described(tensor)}: correct size, crop_size, channel_order or layout",
        )


def _described(tensor: TensorSpec) -> str:
    return f"input {tensor.name!r} takes {tensor.dtype} {_shape(tensor.shape[1:])} a row"


def _shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"
