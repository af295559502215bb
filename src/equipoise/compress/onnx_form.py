"""scikit-learn models as ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.conversion import ABSOLUTE_SHARE, RELATIVE
from equipoise.compress.double_trees import exact_thresholds
from equipoise.compress.ensembles import HISTOGRAM_BOOSTED
from equipoise.compress.forest_votes import exact_votes
from equipoise.compress.tools import load_sklearn, open_natively, save_onnx, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.core.variant import DataUse, Format
from equipoise.errors import ModelError, TechniqueError
from equipoise.preprocess.rows import Array, Rows
from equipoise.runtimes.sklearn import final_estimator, is_array_model, nested_estimators

OPSETS = {"": 17, "ai.onnx.ml": 3}
MOST_ROWS = 1000
WHOLE_NUMBERS = ("int64", "int32", "bool")


class OnnxForm:
    """Converts a fitted estimator or pipeline to ONNX through skl2onnx, with one input per column.

    scikit-learn computes in float64, its trees compare in float32, its histogram boosting in float64. A conversion in
    float32 throughout is the fastest; where it answers otherwise on a calibration row (a rounded value crossed a tree's
    threshold), the preprocessing is done in float64; the nearest form is kept.
    """

    name: ClassVar[str] = "onnx_form"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "exact"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:  # noqa: ARG002
        """For every scikit-learn model."""
        return [Step(technique=self.name)] if model.format == "sklearn" else []

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:  # noqa: ARG002
        """Write the ONNX form.

        Raises:
            TechniqueError: skl2onnx lacks one of its estimators, or it takes missing text, which ONNX has no value for.
        """
        estimator, spec = load_sklearn(source)
        rows = context.calibration.take(slice(0, MOST_ROWS))
        _refuse_missing_text(estimator, rows, spec)
        session = open_natively(source)
        expected = session.run(session.prepare(rows.feeds))
        best, best_share, reasons = None, -1.0, []
        as_array = is_array_model(spec, estimator)
        for split, double in ((False, False), (True, False), (True, True)):
            if split and len(getattr(estimator, "steps", ())) < 2:
                split, double = False, True
            try:
                with tool("skl2onnx"):
                    model = _convert(estimator, spec, as_array, split=split, double=double)
                    save_onnx(model, context.folder)
                    found = _answers(context.folder, rows)
            except (TechniqueError, ModelError) as error:
                reasons.append(str(error))
                continue
            share = _equal_share(expected, found)
            if share > best_share:
                best, best_share = model, share
            if share == 1.0:
                break
        if best is None:
            raise TechniqueError(reasons[0])
        save_onnx(best, context.folder)
        return "onnx"


def _refuse_missing_text(estimator: Any, rows: Rows, spec: ModelSpec) -> None:
    for tensor in spec.inputs:
        if tensor.dtype == "string" and any(value is None for value in rows.feeds[tensor.name].reshape(-1)):
            raise TechniqueError(f"column {tensor.name!r} has missing text, and ONNX text has no missing value")
    for part in nested_estimators(estimator):
        for categories in getattr(part, "categories_", ()):
            if categories.dtype.kind == "O" and any(not isinstance(value, str) for value in categories):
                raise TechniqueError("an encoder knows missing text as a category, and ONNX text has no missing value")


def _answers(folder: Path, rows: Rows) -> dict[str, Array]:
    session = open_natively(folder)
    answers: dict[str, Array] = session.run(session.prepare(rows.feeds))
    return answers


def _equal_share(expected: dict[str, Array], found: dict[str, Array]) -> float:
    shares = []
    for name, values in expected.items():
        if values.dtype.kind == "f":
            scale = float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
            equal = np.isclose(found[name], values, rtol=RELATIVE, atol=ABSOLUTE_SHARE * scale, equal_nan=True)
        else:
            equal = values == found[name]
        shares.append(float(np.mean(equal)))
    return min(shares)


def _convert(estimator: Any, spec: ModelSpec, as_array: bool, *, split: bool, double: bool) -> Any:
    """The ONNX model.

    Args:
        estimator: What to convert.
        spec: What it takes and gives.
        as_array: Whether it takes one array, not columns.
        split: Convert the last step on its own, in the type that scikit-learn's computes in.
        double: Convert the rest in float64.
    """
    if not split:
        return _with_outputs(_from_columns(estimator, spec, as_array, double=double), spec)
    last = estimator.steps[-1][1]
    first = _from_columns(estimator[:-1], spec, as_array, double=double)
    last_double = double and type(last).__name__.startswith("HistGradientBoosting")
    kind = _tensor_type("float64" if last_double else "float32", getattr(last, "n_features_in_", None))
    second = _skl2onnx(last, [("features", kind)])
    return _with_outputs(_joined(first, second, "features", double=last_double), spec)


def _from_columns(estimator: Any, spec: ModelSpec, as_array: bool, *, double: bool) -> Any:
    dtype = "float64" if double else "float32"
    if as_array:
        tensor = spec.inputs[0]
        kind = tensor.dtype if tensor.dtype in ("int64", "bool", "string") else dtype
        return _skl2onnx(estimator, [("x", _tensor_type(kind, tensor.shape[1]))])
    if _selects_columns(estimator):
        return _from_named_columns(estimator, spec, dtype)
    if any(tensor.dtype == "string" for tensor in spec.inputs):
        raise TechniqueError("text columns without a ColumnTransformer that says what is done with them")
    whole = _skl2onnx(estimator, [("columns", _tensor_type(dtype, len(spec.inputs)))])
    return _joined(_columns(spec, dtype), whole, "columns", double=double)


def _from_named_columns(estimator: Any, spec: ModelSpec, dtype: str) -> Any:
    types = {"float64": dtype, "float32": dtype}
    columns = {tensor.name: types.get(tensor.dtype, tensor.dtype) for tensor in spec.inputs}
    try:
        return _skl2onnx(estimator, [(name, _tensor_type(kind, 1)) for name, kind in columns.items()])
    except (RuntimeError, TypeError):
        whole = [name for name, kind in columns.items() if kind in WHOLE_NUMBERS]
        if not whole:
            raise
    # An imputer or a scaler over whole and decimal columns takes one type in ONNX: whole numbers become decimal first.
    widened = [(name, _tensor_type(dtype if name in whole else kind, 1)) for name, kind in columns.items()]
    return _taking_integers(_skl2onnx(estimator, widened), {name: columns[name] for name in whole}, dtype)


def _taking_integers(model: Any, columns: dict[str, str], dtype: str) -> Any:
    """A model whose inputs of these names take whole numbers again, and cast them."""
    import onnx

    elements = onnx.TensorProto.DataType
    for value in model.graph.input:
        if value.name in columns:
            _rename(model.graph, value.name, f"{value.name}_as_decimal")
            value.type.tensor_type.elem_type = elements.Value(columns[value.name].upper())
            to = elements.DOUBLE if dtype == "float64" else elements.FLOAT
            cast = onnx.helper.make_node("Cast", [value.name], [f"{value.name}_as_decimal"], to=to)
            model.graph.node.insert(0, cast)
    return model


def _selects_columns(estimator: Any) -> bool:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[0][1]
    return hasattr(estimator, "transformers_")


def _columns(spec: ModelSpec, dtype: str) -> Any:
    """A graph that puts columns, each an input of its own, side by side."""
    from onnx import helper

    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    casts = [helper.make_node("Cast", [tensor.name], [f"{tensor.name}_cast"], to=element) for tensor in spec.inputs]
    concat = helper.make_node("Concat", [node.output[0] for node in casts], ["columns_in"], axis=1)
    inputs = [_value(tensor, dtype) for tensor in spec.inputs]
    output = helper.make_tensor_value_info("columns_in", element, [None, len(spec.inputs)])
    return helper.make_model(
        helper.make_graph([*casts, concat], "columns", inputs, [output]),
        opset_imports=[helper.make_opsetid("", OPSETS[""])],
        ir_version=9,
    )


def _value(tensor: TensorSpec, floating: str) -> Any:
    from onnx import helper

    dtype = floating if tensor.dtype in ("float64", "float32") else tensor.dtype
    return helper.make_tensor_value_info(tensor.name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [None, 1])


def _tensor_type(dtype: str, width: int | None) -> Any:
    from skl2onnx.common import data_types

    names = {
        "float64": "DoubleTensorType", "float32": "FloatTensorType", "int64": "Int64TensorType",
        "int32": "Int32TensorType", "bool": "BooleanTensorType", "string": "StringTensorType",
    }  # fmt: skip
    if dtype not in names:
        raise TechniqueError(f"a column of {dtype} has no counterpart in skl2onnx")
    return getattr(data_types, names[dtype])([None, width])


def _skl2onnx(estimator: Any, inputs: list[tuple[str, Any]]) -> Any:
    import skl2onnx
    from sklearn.base import is_classifier

    options = {id(estimator): {"zipmap": False}} if is_classifier(estimator) else None
    with _integers_for_booleans():
        try:
            model = skl2onnx.convert_sklearn(estimator, "model", inputs, target_opset=OPSETS, options=options)
        except NameError:  # how skl2onnx says that this classifier has no such option
            model = skl2onnx.convert_sklearn(estimator, "model", inputs, target_opset=OPSETS)
    if len(model.graph.input) != len(inputs):
        raise TechniqueError(f"skl2onnx left out {len(inputs) - len(model.graph.input)} of {len(inputs)} inputs")
    for value, (name, _) in zip(model.graph.input, inputs, strict=True):
        if value.name != name:  # skl2onnx writes `education-num` as `education_num`
            _rename(model.graph, value.name, name)
            value.name = name
    forest = final_estimator(estimator)
    if type(forest).__name__ in ("RandomForestClassifier", "ExtraTreesClassifier"):
        model = exact_votes(model, forest)
    elif type(forest).__name__ in HISTOGRAM_BOOSTED and _takes_double(inputs):
        model = exact_thresholds(model, forest)
    return _one_type_per_concat(model)


def _takes_double(inputs: list[tuple[str, Any]]) -> bool:
    return any(type(kind).__name__ == "DoubleTensorType" for _, kind in inputs)


@contextmanager
def _integers_for_booleans() -> Iterator[None]:
    """Let skl2onnx write booleans into integer attributes, as its tree converters do and newer protobuf refuses."""
    from skl2onnx.common import _container

    make_node = _container.make_node

    def tolerant(*arguments: Any, **attributes: Any) -> Any:
        for key, value in attributes.items():
            if isinstance(value, list) and any(isinstance(item, bool | np.bool_) for item in value):
                attributes[key] = [int(item) for item in value]
        return make_node(*arguments, **attributes)

    _container.make_node = tolerant
    try:
        yield
    finally:
        _container.make_node = make_node


def _one_type_per_concat(model: Any) -> Any:
    """Cast inputs of concatenations to one type: skl2onnx mixes float64 with the float32 of its encoders."""
    from onnx import TensorProto, helper

    while (node := _mixed_concat(model)) is not None:
        position = list(model.graph.node).index(node)
        for index, name in enumerate(node.input):
            cast = helper.make_node("Cast", [name], [f"{name}_double_{position}_{index}"], to=TensorProto.DOUBLE)
            node.input[index] = cast.output[0]
            model.graph.node.insert(position, cast)
        del model.graph.value_info[:]
    return model


def _mixed_concat(model: Any) -> Any | None:
    import onnx
    from onnx import TensorProto

    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        kinds = {types.get(name) for name in node.input}
        if node.op_type == "Concat" and TensorProto.DOUBLE in kinds and len(kinds) > 1:
            return node
    return None


def _joined(first: Any, second: Any, entry: str, *, double: bool) -> Any:
    """Feed the only output of `first`, cast, into the input `entry` of `second`."""
    import onnx
    from onnx import TensorProto, helper

    first = onnx.compose.add_prefix(first, "first_", rename_inputs=False)
    element = TensorProto.DOUBLE if double else TensorProto.FLOAT
    output = first.graph.output[0]
    first.graph.node.append(helper.make_node("Cast", [output.name], ["joint"], to=element))
    del first.graph.output[:]
    first.graph.output.append(helper.make_tensor_value_info("joint", element, None))
    versions: dict[str, int] = {}
    for opset in (*first.opset_import, *second.opset_import):
        versions[opset.domain] = max(opset.version, versions.get(opset.domain, 1))
    for model in (first, second):
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(domain, number) for domain, number in versions.items())
        model.ir_version = 9
    second = onnx.compose.add_prefix(second, "second_")
    return onnx.compose.merge_models(first, second, io_map=[("joint", f"second_{entry}")])


def _with_outputs(model: Any, spec: ModelSpec) -> Any:
    """Outputs under the names, in the types and of the ranks that the scikit-learn runtime gives them."""
    from onnx import TensorProto, helper

    given = {"value": 0, "label": 0, "probabilities": 1}
    wanted = []
    for output in spec.outputs:
        source = model.graph.output[given[output.name]]
        element = source.type.tensor_type.elem_type
        name = f"{output.name}_given"
        model.graph.node.append(helper.make_node("Identity", [source.name], [name]))
        if len(output.shape) == 1:
            shape = helper.make_tensor(f"{output.name}_shape", TensorProto.INT64, [1], [-1])
            model.graph.initializer.append(shape)
            model.graph.node.append(helper.make_node("Reshape", [name, shape.name], [f"{name}_flat"]))
            name = f"{name}_flat"
        if output.dtype in ("bool", "int64", "float64") and output.name == "label":
            element = helper.np_dtype_to_tensor_dtype(np.dtype(output.dtype))
            model.graph.node.append(helper.make_node("Cast", [name], [f"{name}_cast"], to=element))
            name = f"{name}_cast"
        model.graph.node[-1].output[0] = f"out_{output.name}"
        wanted.append((f"out_{output.name}", output.name, element, output.shape))
    del model.graph.output[:]
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} | {
        tensor.name for tensor in model.graph.input
    }
    for inner, name, element, shape in wanted:
        if name in taken:
            _rename(model.graph, name, f"{name}_of_model")
        _rename(model.graph, inner, name)
        model.graph.output.append(helper.make_tensor_value_info(name, element, list(shape)))
    return model


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
