"""How much each quantised layer is off by its own doing.

The error at a layer's output in a quantised network mixes its own with all that came before it. To tell them apart the
quantised graph is cut at every activation quantiser, and each is fed what the floating-point network holds at that
place: then a layer's output differs from its true one by the quantisation of its own inputs and weights alone. One pass
over the rows measures all layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from equipoise.preprocess.rows import Array

IR_LAYERS = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})
ONNX_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def ir_layer_errors(exact: Any, quantised: Any, batches: Iterable[dict[str, Array]]) -> dict[str, float]:
    """Relative squared error of each layer's output that its own quantisation causes, by the layer's name.

    Args:
        exact: OpenVINO model in floating point.
        quantised: The same, quantised, with the layers' names kept.
        batches: Rows to measure on.

    Returns:
        Noise over signal power of each quantised convolution and matrix product.
    """
    import openvino

    exact, quantised = exact.clone(), quantised.clone()
    truth = {node.get_friendly_name(): node for node in exact.get_ordered_ops()}
    layers = [
        node
        for node in quantised.get_ordered_ops()
        if node.get_type_name() in IR_LAYERS and node.get_friendly_name() in truth and _is_quantised(node)
    ]
    if not layers:
        return {}
    entries: dict[tuple[str, int], Any] = {}
    for node in quantised.get_ordered_ops():
        producer = node.input_value(0) if node.get_type_name() == "FakeQuantize" else None
        if producer is None or producer.get_node().get_type_name() == "Constant":
            continue
        place = (producer.get_node().get_friendly_name(), producer.get_index())
        if place[0] not in truth or producer.get_node().get_type_name() == "Parameter":
            continue
        if place not in entries:
            shape = producer.get_partial_shape()
            entries[place] = openvino.op.Parameter(producer.get_element_type(), shape)
        node.input(0).replace_source_output(entries[place].output(0))
    names = [layer.get_friendly_name() for layer in layers]
    places = [truth[name].output(index) for name, index in entries]
    true_model = openvino.Model(
        [openvino.op.Result(output) for output in (*places, *(truth[name].output(0) for name in names))],
        exact.get_parameters(),
    )
    cut_model = openvino.Model(
        [openvino.op.Result(layer.output(0)) for layer in layers],
        [*quantised.get_parameters(), *entries.values()],
    )
    run_truth, run_cut = _compiled(true_model), _compiled(cut_model)
    order = [parameter.get_friendly_name() for parameter in exact.get_parameters()]

    def pair(batch: dict[str, Array]) -> tuple[list[Array], list[Array]]:
        inputs = [batch[name] for name in order]
        true = run_truth(inputs)
        return true[len(places) :], run_cut([*inputs, *true[: len(places)]])

    return _relative_errors(names, (pair(batch) for batch in batches))


def onnx_layer_errors(exact: Any, quantised: Any, batches: Iterable[dict[str, Array]]) -> dict[str, float]:
    """The same for an ONNX model and its QDQ form, whose tensors keep their names.

    Args:
        exact: ONNX model in floating point.
        quantised: The same in QDQ form.
        batches: Rows to measure on.

    Returns:
        Noise over signal power of each quantised convolution and matrix product, by node name.
    """
    import onnx
    from onnx import helper

    cut, true_model = onnx.ModelProto(), onnx.ModelProto()
    cut.CopyFrom(quantised)
    true_model.CopyFrom(exact)
    outputs = {node.name: node.output[0] for node in exact.graph.node if node.op_type in ONNX_LAYERS}
    tensors = {name for node in exact.graph.node for name in node.output}
    dequantised = {name for node in cut.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    layers = [node for node in cut.graph.node if node.name in outputs and set(node.input) & dequantised]
    if not layers:
        return {}
    places: list[str] = []
    for node in cut.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in tensors:
            if node.input[0] not in places:
                places.append(node.input[0])
            node.input[0] = f"{node.input[0]}_exact"
    element = onnx.TensorProto.FLOAT
    cut.graph.input.extend(helper.make_tensor_value_info(f"{place}_exact", element, None) for place in places)
    wanted = [outputs[node.name] for node in layers]
    found = [node.output[0] for node in layers]
    for model, names in ((true_model, [*places, *wanted]), (cut, found)):
        del model.graph.output[:]
        model.graph.output.extend(helper.make_tensor_value_info(name, element, None) for name in dict.fromkeys(names))
    run_truth, run_cut = _onnx_session(true_model), _onnx_session(cut)

    def pair(batch: dict[str, Array]) -> tuple[list[Array], list[Array]]:
        true = run_truth(list(dict.fromkeys([*places, *wanted])), batch)
        feeds = batch | {f"{place}_exact": true[place] for place in places}
        answers = run_cut(found, feeds)
        return [true[name] for name in wanted], [answers[name] for name in found]

    return _relative_errors([node.name for node in layers], (pair(batch) for batch in batches))


def _is_quantised(node: Any) -> bool:
    """Whether a quantiser, or weights stored in 8 bits, lead into the layer."""
    for port in node.inputs():
        source = port.get_source_output().get_node()
        while source.get_type_name() in ("Reshape", "Transpose", "Multiply", "Subtract", "Convert"):
            source = source.input_value(0).get_node()
        if source.get_type_name() == "FakeQuantize" or source.get_element_type().get_type_name() in ("i8", "u8"):
            return True
    return False


def _compiled(model: Any) -> Any:
    import openvino

    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", properties).create_infer_request()

    def run(inputs: list[Array]) -> list[Array]:
        answers = request.infer(dict(enumerate(inputs)))
        return [np.array(answers[index]) for index in range(len(answers))]

    return run


def _onnx_session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}

    def run(outputs: list[str], feeds: dict[str, Array]) -> dict[str, Array]:
        answers = session.run(outputs, {name: array for name, array in feeds.items() if name in taken})
        return dict(zip(outputs, answers, strict=True))

    return run


def _relative_errors(names: list[str], pairs: Iterable[tuple[list[Array], list[Array]]]) -> dict[str, float]:
    noise, signal = np.zeros(len(names)), np.zeros(len(names))
    for true, found in pairs:
        for index, (expected, answer) in enumerate(zip(true, found, strict=True)):
            noise[index] += float(np.sum(np.square(answer.astype(np.float64) - expected)))
            signal[index] += float(np.sum(np.square(expected.astype(np.float64))))
    errors = np.divide(noise, signal, out=np.zeros_like(noise), where=signal > 0)
    return dict(zip(names, errors.tolist(), strict=True))
