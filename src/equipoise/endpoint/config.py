"""A plan as Triton's model configuration says it, as far as that has words for it; no transport is named here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equipoise.core.tensor import TensorSpec
from equipoise.serve.loading import LoadedPlan

PLATFORM, BACKEND = "equipoise_plan", "equipoise"
MICROSECONDS = 1e6
DATA_TYPES: dict[str, str] = {
    "bool": "TYPE_BOOL", "uint8": "TYPE_UINT8", "int8": "TYPE_INT8", "uint16": "TYPE_UINT16", "int16": "TYPE_INT16",
    "uint32": "TYPE_UINT32", "int32": "TYPE_INT32", "uint64": "TYPE_UINT64", "int64": "TYPE_INT64",
    "float16": "TYPE_FP16", "bfloat16": "TYPE_BF16", "float32": "TYPE_FP32", "float64": "TYPE_FP64",
    "string": "TYPE_STRING",
}  # fmt: skip


def model_config(plan: LoadedPlan, versions: Sequence[str]) -> dict[str, Any]:
    """A model's configuration, as the JSON form of Triton's `ModelConfig`.

    Triton batches whole models, and a plan batches stages: `max_batch_size` and `dynamic_batching` are those of the
    first stage. A request may have more rows than that; it is then a batch by itself.

    Args:
        plan: What is served.
        versions: Versions of its name that are.
    """
    first = plan.plan.stages[0]
    return {
        "name": plan.name,
        "platform": PLATFORM,
        "backend": BACKEND,
        "version_policy": {"specific": {"versions": [int(version) for version in versions if version.isdigit()]}},
        "max_batch_size": first.rows,
        "input": [_tensor(tensor) | {"format": "FORMAT_NONE"} for tensor in plan.spec.inputs],
        "output": [_tensor(tensor) for tensor in plan.outputs],
        "instance_group": [{"name": f"{plan.name}_0", "kind": "KIND_CPU", "count": first.lanes}],
        "dynamic_batching": {
            "preferred_batch_size": [first.rows],
            "max_queue_delay_microseconds": round(first.batch_rule.max_wait_s * MICROSECONDS),
        },
        "response_cache": {"enable": plan.bundle.plan.cache is not None},
        "parameters": {
            "plan": {"string_value": plan.bundle.plan.name},
            "plan_digest": {"string_value": plan.bundle.plan.content_digest},
            "stages": {"string_value": str(len(plan.bundle.plan.stages))},
        },
    }


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    """A tensor without its batch axis; Triton has no tensors of no axes, but says how one of one is reshaped to it."""
    row = [-1 if axis is None else axis for axis in tensor.shape[1:]]
    said: dict[str, Any] = {"name": tensor.name, "data_type": DATA_TYPES[tensor.dtype], "dims": row or [1]}
    if not row:
        said["reshape"] = {"shape": []}
    return said
