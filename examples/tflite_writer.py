"""Writes TensorFlow Lite files without TensorFlow: the flatbuffer itself, by the package that knows its schema.

Only what a small network for images takes: convolution, reshape, dense layers and softmax, in float32, and dense layers
in int8; images are [batch, height, width, channels]. A file has one batch size, 1 as TensorFlow's own converter writes
it, and where a network flattens its images that size stands in the graph once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

Array = NDArray[Any]
TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "int32": tflite.TensorType.INT32,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
}
Scale = tuple[float, int]
"""Step and zero point of a tensor that stands for real numbers: real = step * (whole - zero point)."""
SCHEMA_VERSION = 3
RELU = {False: tflite.ActivationFunctionType.NONE, True: tflite.ActivationFunctionType.RELU}


class TfliteWriter:
    """A network in the making; every method that adds an operator returns the name of its output.

    Example:
        >>> writer = TfliteWriter()
        >>> image = writer.input("image", (1, 2, 2, 1))
        >>> flat = writer.reshape(image, (1, 4))
        >>> content = writer.content([writer.dense(flat, np.eye(3, 4), np.zeros(3), name="logits")])
        >>> content[4:8]
        b'TFL3'
    """

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)
        self._buffers = [self._buffer(None)]  # the first one is empty: tensors that are computed have it
        self._tensors: dict[str, tuple[int, int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._scales: dict[str, Scale] = {}
        self._codes: list[int] = []
        self._operators: list[int] = []
        self._inputs: list[str] = []

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32", scale: Scale | None = None) -> str:
        """Add an input; the first axis is the batch."""
        self._inputs.append(name)
        return self._tensor(name, shape, dtype, scale=scale)

    def cast(self, x: str, name: str = "cast") -> str:
        """Whole numbers as float32."""
        builder = self._builder
        tflite.CastOptionsStart(builder)
        tflite.CastOptionsAddInDataType(builder, TYPES["uint8"])
        tflite.CastOptionsAddOutDataType(builder, TYPES["float32"])
        options = tflite.CastOptionsEnd(builder)
        return self._operator("CAST", [x], self._tensor(name, self._shapes[x]), options, "CastOptions")

    def convolution(
        self, x: str, weights: Array, bias: Array, *, stride: int = 1, relu: bool = True, name: str = "conv"
    ) -> str:
        """Convolve, edges filled with zeros (`SAME`); weights are [channels after, height, width, channels before]."""
        batch, height, width, _ = self._shapes[x]
        inputs = [x, self._constant(f"{name}/weights", weights), self._constant(f"{name}/bias", bias)]
        builder = self._builder
        tflite.Conv2DOptionsStart(builder)
        tflite.Conv2DOptionsAddPadding(builder, tflite.Padding.SAME)
        tflite.Conv2DOptionsAddStrideW(builder, stride)
        tflite.Conv2DOptionsAddStrideH(builder, stride)
        tflite.Conv2DOptionsAddFusedActivationFunction(builder, RELU[relu])
        options = tflite.Conv2DOptionsEnd(builder)
        shape = (batch, -(-height // stride), -(-width // stride), len(weights))
        return self._operator("CONV_2D", inputs, self._tensor(name, shape), options, "Conv2DOptions")

    def reshape(self, x: str, shape: Sequence[int], name: str = "flat") -> str:
        """Give the same numbers another shape, which stands in the file as it is, batch size and all."""
        inputs = [x, self._constant(f"{name}/shape", np.asarray(shape, np.int32))]
        tflite.ReshapeOptionsStart(self._builder)
        options = tflite.ReshapeOptionsEnd(self._builder)
        return self._operator("RESHAPE", inputs, self._tensor(name, shape), options, "ReshapeOptions")

    def dense(self, x: str, weights: Array, bias: Array, *, relu: bool = False, name: str = "dense") -> str:
        """A dense layer of [batch, features]; weights are [features after, features before]."""
        inputs = [x, self._constant(f"{name}/weights", weights), self._constant(f"{name}/bias", bias)]
        tflite.FullyConnectedOptionsStart(self._builder)
        tflite.FullyConnectedOptionsAddFusedActivationFunction(self._builder, RELU[relu])
        options = tflite.FullyConnectedOptionsEnd(self._builder)
        output = self._tensor(name, (self._shapes[x][0], len(weights)))
        return self._operator("FULLY_CONNECTED", inputs, output, options, "FullyConnectedOptions")

    def dense_int8(self, x: str, weights: Array, bias: Array, step: float, scale: Scale, name: str = "dense") -> str:
        """A dense layer of an int8 input; `step` is that of its int8 weights, `scale` that of its int8 output."""
        inputs = [
            x,
            self._constant(f"{name}/weights", weights, (step, 0)),
            self._constant(f"{name}/bias", bias, (step * self._scales[x][0], 0)),
        ]
        tflite.FullyConnectedOptionsStart(self._builder)
        options = tflite.FullyConnectedOptionsEnd(self._builder)
        output = self._tensor(name, (self._shapes[x][0], len(weights)), "int8", scale=scale)
        return self._operator("FULLY_CONNECTED", inputs, output, options, "FullyConnectedOptions")

    def softmax(self, x: str, name: str = "probabilities") -> str:
        """Probabilities from logits."""
        tflite.SoftmaxOptionsStart(self._builder)
        tflite.SoftmaxOptionsAddBeta(self._builder, 1.0)
        options = tflite.SoftmaxOptionsEnd(self._builder)
        return self._operator("SOFTMAX", [x], self._tensor(name, self._shapes[x]), options, "SoftmaxOptions")

    def content(self, outputs: Sequence[str]) -> bytes:
        """The whole file; nothing can be added after it."""
        builder = self._builder
        parts = {
            "tensors": self._offsets(
                tflite.SubGraphStartTensorsVector, [offset for _, offset in self._tensors.values()]
            ),
            "inputs": self._numbers([self._tensors[name][0] for name in self._inputs]),
            "outputs": self._numbers([self._tensors[name][0] for name in outputs]),
            "operators": self._offsets(tflite.SubGraphStartOperatorsVector, self._operators),
        }
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, parts["tensors"])
        tflite.SubGraphAddInputs(builder, parts["inputs"])
        tflite.SubGraphAddOutputs(builder, parts["outputs"])
        tflite.SubGraphAddOperators(builder, parts["operators"])
        graphs = self._offsets(tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(builder)])
        codes = self._offsets(tflite.ModelStartOperatorCodesVector, [self._code(code) for code in self._codes])
        buffers = self._offsets(tflite.ModelStartBuffersVector, self._buffers)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, graphs)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    def _operator(self, kind: str, inputs: Sequence[str], output: str, options: int, options_type: str) -> str:
        code = getattr(tflite.BuiltinOperator, kind)
        if code not in self._codes:
            self._codes.append(code)
        builder = self._builder
        read = self._numbers([self._tensors[name][0] for name in inputs])
        written = self._numbers([self._tensors[output][0]])
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, self._codes.index(code))
        tflite.OperatorAddInputs(builder, read)
        tflite.OperatorAddOutputs(builder, written)
        tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, options_type))
        tflite.OperatorAddBuiltinOptions(builder, options)
        self._operators.append(tflite.OperatorEnd(builder))
        return output

    def _constant(self, name: str, values: Array, scale: Scale | None = None) -> str:
        array = np.ascontiguousarray(values, values.dtype if values.dtype.kind == "i" else np.float32)
        self._buffers.append(self._buffer(array.tobytes()))
        return self._tensor(name, array.shape, array.dtype.name, len(self._buffers) - 1, scale)

    def _tensor(
        self, name: str, shape: Sequence[int], dtype: str = "float32", buffer: int = 0, scale: Scale | None = None
    ) -> str:
        if name in self._tensors:
            raise ValueError(f"there is a tensor {name!r} already; needed another name")
        builder = self._builder
        text, sizes = builder.CreateString(name), self._numbers(shape)
        quantised = None if scale is None else self._scale(name, scale)
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, sizes)
        tflite.TensorAddType(builder, TYPES[dtype])
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, text)
        if quantised is not None:
            tflite.TensorAddQuantization(builder, quantised)
        self._tensors[name] = (len(self._tensors), tflite.TensorEnd(builder))
        self._shapes[name] = tuple(shape)
        return name

    def _scale(self, name: str, scale: Scale) -> int:
        step, zero = scale
        self._scales[name] = scale
        builder = self._builder
        steps = builder.CreateNumpyVector(np.asarray([step], np.float32))
        zeros = builder.CreateNumpyVector(np.asarray([zero], np.int64))
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, steps)
        tflite.QuantizationParametersAddZeroPoint(builder, zeros)
        return int(tflite.QuantizationParametersEnd(builder))

    def _code(self, code: int) -> int:
        tflite.OperatorCodeStart(self._builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self._builder, code)
        tflite.OperatorCodeAddBuiltinCode(self._builder, code)
        tflite.OperatorCodeAddVersion(self._builder, 1)
        return int(tflite.OperatorCodeEnd(self._builder))

    def _buffer(self, content: bytes | None) -> int:
        if content is not None:
            self._builder.Prep(16, len(content))  # where runtimes expect a weight to begin
        data = None if content is None else self._builder.CreateByteVector(content)
        tflite.BufferStart(self._builder)
        if data is not None:
            tflite.BufferAddData(self._builder, data)
        return int(tflite.BufferEnd(self._builder))

    def _numbers(self, numbers: Sequence[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.asarray(numbers, np.int32)))

    def _offsets(self, start: Callable[[Any, int], Any], offsets: Sequence[int]) -> int:
        start(self._builder, len(offsets))
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())
