"""An exported torch program as a module whose layers can be changed, trained and exported again."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from equipoise.core.tensor import ModelSpec
from equipoise.errors import TechniqueError
from equipoise.train.losses import LEAST_PROBABILITY, AnswerKind

NORMS: dict[int, type[nn.Module]] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
CONVOLUTIONS: dict[str, type[nn.Module]] = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}


class Changeable(nn.Module):
    """A model that is made simpler and taught its own answers.

    Args:
        graph: Its graph; takes the inputs of `spec` in order, gives its outputs side by side.
        spec: What it takes and gives.
        judged: Name of the output that is taught.
        kind: What that output holds.
    """

    def __init__(self, graph: fx.GraphModule, spec: ModelSpec, judged: str, kind: AnswerKind) -> None:
        super().__init__()
        self.graph, self.kind = graph, kind
        self.inputs = tuple(tensor.name for tensor in spec.inputs)
        self.place = [tensor.name for tensor in spec.outputs].index(judged)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Answer a batch."""
        given = self.graph(*inputs)
        return tuple(given) if len(given) > 1 else given[0]

    def teachable(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What is taught, [n, outputs]: logits, logarithms of probabilities, or values."""
        answers: Tensor = self.graph(*(inputs[name] for name in self.inputs))[self.place].flatten(1)
        return answers.clamp(min=LEAST_PROBABILITY).log() if self.kind == "probabilities" else answers


def graph_of(program: Any) -> fx.GraphModule:
    """Turn a program's calls of linear, convolution and normalisation operators back into layers.

    An exported program calls operators on tensors of weights. Tools that prune, and training itself (which a batch
    normalisation must know of), work on layers that own their weights.

    Args:
        program: `torch.export.ExportedProgram`, in evaluation mode.

    Returns:
        A graph module that takes the program's inputs in their order and gives a tuple of its outputs.

    Raises:
        TechniqueError: It holds no layer that could be changed.
    """
    whole = program.module()
    graph: fx.Graph = whole.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)
    graph.set_codegen(fx.graph.CodeGen())
    for node in graph.nodes:
        if node.target is torch.ops.aten.view.default:  # which asks for an order in memory that training may change
            node.target = torch.ops.aten.reshape.default
    made: dict[str, str] = {}
    layers: dict[str, nn.Module] = {}
    for node in list(graph.nodes):
        make = MAKERS.get(getattr(node.target, "_opname", "")) if node.op == "call_function" else None
        weight = _weight_name(node)
        if make is None or weight is None:
            continue
        arguments = _arguments(node)
        if weight not in made:
            layer = make(arguments, whole)
            if layer is None:
                continue
            made[weight] = f"layer_{len(made)}"
            layers[made[weight]] = layer
            whole.add_module(made[weight], layer)
        with graph.inserting_before(node):
            called = graph.call_module(made[weight], (arguments["input"],))
        called.meta = dict(node.meta)
        node.replace_all_uses_with(called)
        graph.erase_node(node)
    if not layers:
        raise TechniqueError("it has no linear or convolution layer with weights of its own")
    for node in list(graph.nodes):
        if node.op == "output":
            outputs = node.args[0]
            node.args = (tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,),)
    graph.eliminate_dead_code()
    graph.lint()
    changeable = fx.GraphModule(whole, graph)
    changeable.delete_all_unused_submodules()
    return changeable.eval()


def last_layers(graph: fx.GraphModule) -> list[nn.Module]:
    """Layers whose answers are outputs, perhaps after operations without weights: their size is the model's own."""
    found: list[nn.Module] = []
    pending = [node for node in graph.graph.nodes if node.op == "output"]
    seen: set[fx.Node] = set()
    while pending:
        for before in pending.pop().all_input_nodes:
            if before in seen:
                continue
            seen.add(before)
            if before.op == "call_module" and isinstance(layer := graph.get_submodule(str(before.target)), WEIGHTED):
                found.append(layer)
            else:
                pending.append(before)
    return found


WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _weight_name(node: fx.Node) -> str | None:
    """Attribute that holds the weight a node is called with; null where it is computed."""
    place = 1
    if node.op != "call_function" or len(node.args) <= place:
        return None
    weight = node.args[place]
    if getattr(node.target, "_opname", "") == "layer_norm":
        weight = node.args[2] if len(node.args) > 2 else None
    return str(weight.target) if isinstance(weight, fx.Node) and weight.op == "get_attr" else None


def _arguments(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by the names of its operator's schema, defaults filled in."""
    target: Any = node.target
    named = {argument.name: argument.default_value for argument in target._schema.arguments}
    named |= dict(zip([argument.name for argument in target._schema.arguments], node.args, strict=False))
    return named | dict(node.kwargs)


def _tensor(value: Any, whole: nn.Module) -> Tensor | None:
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    found: Tensor = operator.attrgetter(str(value.target))(whole)
    return found.detach().clone()


def _fill(layer: nn.Module, **tensors: Tensor | None) -> nn.Module:
    with torch.no_grad():
        for name, value in tensors.items():
            if value is not None:
                getattr(layer, name).copy_(value)
    return layer


def _linear(arguments: dict[str, Any], whole: nn.Module) -> nn.Module | None:
    weight, bias = _tensor(arguments["weight"], whole), _tensor(arguments["bias"], whole)
    if weight is None or weight.dim() != 2 or (arguments["bias"] is not None and bias is None):
        return None
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _fill(layer, weight=weight, bias=bias)


def _convolution(kind: type[nn.Module]) -> Callable[[dict[str, Any], nn.Module], nn.Module | None]:
    def make(arguments: dict[str, Any], whole: nn.Module) -> nn.Module | None:
        weight, bias = _tensor(arguments["weight"], whole), _tensor(arguments["bias"], whole)
        if weight is None or (arguments["bias"] is not None and bias is None):
            return None
        padding, axes = arguments["padding"], weight.dim() - 2
        layer = kind(
            weight.shape[1] * arguments["groups"],
            weight.shape[0],
            tuple(weight.shape[2:]),
            stride=_each(arguments["stride"], axes),
            padding=padding if isinstance(padding, str) else _each(padding, axes),
            dilation=_each(arguments["dilation"], axes),
            groups=arguments["groups"],
            bias=bias is not None,
        )
        return _fill(layer, weight=weight, bias=bias)

    return make


def _batch_norm(arguments: dict[str, Any], whole: nn.Module) -> nn.Module | None:
    names = {"weight": "weight", "bias": "bias", "running_mean": "running_mean", "running_var": "running_var"}
    tensors = {name: _tensor(arguments[argument], whole) for name, argument in names.items()}
    mean, value = tensors["running_mean"], arguments["input"].meta.get("val")
    if mean is None or tensors["weight"] is None or value is None or value.dim() not in NORMS:
        return None
    layer = NORMS[value.dim()](len(mean), eps=arguments["eps"], momentum=arguments["momentum"])
    return _fill(layer, **tensors)


def _layer_norm(arguments: dict[str, Any], whole: nn.Module) -> nn.Module | None:
    weight, bias = _tensor(arguments["weight"], whole), _tensor(arguments["bias"], whole)
    if weight is None or bias is None:
        return None
    return _fill(nn.LayerNorm(tuple(weight.shape), eps=arguments["eps"]), weight=weight, bias=bias)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return tuple(numbers * axes if len(numbers) == 1 else numbers)


MAKERS: dict[str, Callable[[dict[str, Any], nn.Module], nn.Module | None]] = {
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
} | {name: _convolution(kind) for name, kind in CONVOLUTIONS.items()}
