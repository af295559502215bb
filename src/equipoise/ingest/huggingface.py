"""Reads Hugging Face classifiers of text and images: transformers' own classes, weights as safetensors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise.core.preprocessing import ImagePreprocessing
from equipoise.errors import EquipoiseError, InputError, ModelError
from equipoise.ingest.huggingface_folder import (
    CONFIG,
    class_names,
    local_folder,
    own_preprocessing,
    read_config,
    task_of,
)
from equipoise.ingest.model import ImportedModel
from equipoise.runtimes.matrices import program_matrix_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

INSTALL = 'pip install "equipoise[huggingface]"'
ROWS, TOKENS = 7, 13
"""Of the example that a model is traced with: sizes that no axis of a model is likely to have."""
EXAMPLE_SIDE = 224
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "USE_HUB_KERNELS": "NO"}
"""Set before transformers is imported: it reports nothing and fetches nothing, code least of all."""
ATTENTION = ("sdpa", "eager")


def import_huggingface(path: str, folder: Path) -> ImportedModel:
    """Read a classifier, and keep it as an exported torch program.

    No code of the model's own is run (`trust_remote_code` is never given), and no weights are opened but safetensors.

    Args:
        path: A folder with `config.json` and `model.safetensors`, or `hf:owner/name`.
        folder: An existing, empty folder for the artifact.

    Raises:
        ModelError: transformers or torch is not installed; the model is no classifier of text or images; weights are
            missing, damaged or pickled; it needs code of its own; or it cannot be traced.
    """
    source = local_folder(path)
    config = read_config(source)
    task, name = task_of(source, config)
    _require_weights(source)
    module, warned = _module(source, config, name)
    from equipoise.runtimes.torch_program import export_program, load_program, operators, save_program

    example, free = (_tokens(module, config), (1,)) if task == "text" else (_pixels(path, config), ())
    axes = dict.fromkeys(example, free)
    spec = save_program(export_program(_scores(module), example, str(source), free=axes), folder, str(source))
    program = load_program(folder)[0]
    number = config.get("problem_type") == "regression" or module.config.num_labels == 1
    return ImportedModel(
        format="torch",
        spec=spec,
        operators=operators(program),
        estimators=None,
        quantized=False,
        class_labels=None if number else class_names(config),
        task="numbers" if number else "classes",
        multilabel=config.get("problem_type") == "multi_label_classification",
        matrix_weights=program_matrix_weights(program),
        warnings=warned,
    )


def _module(source: Path, config: Mapping[str, Any], name: str) -> tuple[Any, tuple[str, ...]]:
    os.environ.update(QUIET)
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ModelError(
            str(source), f"{error.name} is not installed", f"needed it to open this model: {INSTALL}"
        ) from None
    kind = getattr(transformers, name, None)
    if kind is None:
        own = " and brings code of its own, which is never run" if "auto_map" in config else ""
        raise ModelError(
            str(source / CONFIG), f"it is a {name}, which transformers {transformers.__version__} has not{own}",
            "needed a class of transformers itself",
        )  # fmt: skip
    log: Any = transformers.logging
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module, found = _loaded(kind, source, torch.float32)
    except EquipoiseError:
        raise
    except Exception as error:  # transformers, safetensors and torch raise many types on damaged files
        said = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            str(source), f"transformers cannot open it ({type(error).__name__}: {said[:200]})",
            "needed what save_pretrained wrote",
        ) from error  # fmt: skip
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            str(source), f"its weights lack {', '.join(missing[:3])}, which would be drawn at random",
            "needed a model that was trained to classify",
        )  # fmt: skip
    stored = config.get("dtype", config.get("torch_dtype"))
    notes = () if stored in (None, "float32") else (f"{source}: stored in {stored}, and computed in float32",)
    return module.eval(), notes


def _loaded(kind: Any, source: Path, dtype: Any) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says of its weights; attention as torch has it, or spelled out."""
    for attention in ATTENTION:
        try:
            loaded: tuple[Any, dict[str, Any]] = kind.from_pretrained(
                source,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation=attention,
                dtype=dtype,
                output_loading_info=True,
            )
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error) or attention == ATTENTION[-1]:
                raise
        else:
            return loaded
    raise AssertionError("the last attention either loads or raises")


def _require_weights(source: Path) -> None:
    if any(source.glob("model*.safetensors")):
        return
    pickled = sorted(path.name for path in source.glob("*.bin"))
    found = (
        f"its weights are a pickle ({', '.join(pickled[:2])}), which can run code" if pickled else "it has no weights"
    )
    raise ModelError(str(source), found, "needed model.safetensors: load the model yourself and save_pretrained it")


def _scores(module: Any) -> nn.Module:
    """The model with its scores as its only output, under the name that it gives them."""
    import torch

    def forward(self: Any, **inputs: Tensor) -> dict[str, Tensor]:
        return {"logits": self.model(**inputs).logits}

    wrapped: nn.Module = type("Scores", (torch.nn.Module,), {"forward": forward})()
    wrapped.model = module
    return wrapped.eval()


def _tokens(module: Any, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """An example of token ids with what goes along with them, some of its rows filled up."""
    import inspect

    import torch

    taken = inspect.signature(module.forward).parameters
    names = [name for name in TOKEN_INPUTS if name in taken]
    if (config.get("type_vocab_size") or 0) < 2 and "token_type_ids" in names:
        names.remove("token_type_ids")
    mask = torch.ones(ROWS, TOKENS, dtype=torch.int64)
    mask[ROWS // 2, TOKENS // 2 :] = 0
    ids = torch.arange(ROWS * TOKENS).reshape(ROWS, TOKENS) % int(config.get("vocab_size", TOKENS))
    made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(mask)}
    return {name: made[name] for name in names}


def _pixels(path: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
    import torch

    settings = None
    with suppress(InputError):  # settings that are not there, or not done here, can be given: the size is the model's
        settings = own_preprocessing(path).settings
    size = None
    if isinstance(settings, ImagePreprocessing):
        size = settings.crop_size if settings.do_center_crop else settings.size if settings.do_resize else None
    own = config.get("image_size")
    height, width = own if isinstance(own, list | tuple) else (own or EXAMPLE_SIDE,) * 2
    if size is not None and size.height is not None and size.width is not None:
        height, width = size.height, size.width
    channels = int(config.get("num_channels", 3))
    return {"pixel_values": torch.randn(ROWS, channels, height, width, generator=torch.Generator().manual_seed(0))}
