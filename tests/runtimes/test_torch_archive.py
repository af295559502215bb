"""`.pt2` files that would run code of their own, and what is kept of those that need not."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.export.pt2_archive import PT2ArchiveReader

from equipoise.errors import ModelError
from equipoise.runtimes.torch_archive import copy_archive, load_archive
from torch_nets import GRAPH, exported, rewritten, saved

Change = Callable[[dict[str, Any]], None]
WEIGHTS = "data/weights/model_weights_config.json"
INPUTS = "data/sample_inputs/model.pt"


class Evil:
    """Makes a file as soon as it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def pickled(thing: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return saved(tmp_path / "plain.pt2")


def nodes(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["graph_module"]["graph"]["nodes"]
    return found


def call(target: str, **argument: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        nodes(document)[-1] |= {"target": target, "inputs": [{"name": "", "arg": argument, "kind": 1}]}

    return change


def expression(text: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        sizes = document["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
        sizes[0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 3}}}

    return change


def rename(document: dict[str, Any]) -> None:
    text = json.dumps(document["graph_module"]["graph"]).replace('"image"', '"image; import os"')
    document["graph_module"]["graph"] = json.loads(text)


def tree(document: dict[str, Any]) -> None:
    signature = document["graph_module"]["module_call_graph"][0]["signature"]
    signature["out_spec"] = signature["out_spec"].replace("builtins.dict", "transformers.ModelOutput")


def weight_name(document: dict[str, Any]) -> None:
    parameter = document["graph_module"]["signature"]["input_specs"][0]["parameter"]
    parameter["parameter_name"] = 'conv"),os.system("id'


def test_torchs_own_reader_runs_what_is_refused_here(plain: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hostile = rewritten(plain, tmp_path / "hostile.pt2", members={INPUTS: pickled(((Evil(mark),), {}))})
    logging.disable(logging.CRITICAL)
    try:
        torch.export.load(hostile)
    finally:
        logging.disable(logging.NOTSET)
    assert mark.is_dir()
    mark.rmdir()
    copy_archive(hostile, tmp_path / "copy.pt2", "hostile.pt2")
    load_archive(tmp_path / "copy.pt2")
    with pytest.raises(ModelError, match="more than weights and a graph"):
        load_archive(hostile)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (call("torch.os.system", as_string="id"), "torch.os.system"),
        (call("torch.hub.load", as_string="x"), "torch.hub.load"),
        (call("torch.ops.aten.from_file.default", as_string="/etc/passwd"), "from_file"),
        (call("torch.ops.mine.run.default", as_none=True), "torch.ops.mine"),
        (call("_operator.attrgetter", as_string="x"), "attrgetter"),
        (call("torch.ops.aten.relu.default", as_operator="torch.os.system"), "an operator"),
        (call("torch.ops.aten.relu.default", as_custom_obj={"name": "x", "class_fqn": "y"}), "an object"),
        (call("torch.ops.aten.relu.default", as_graph={"name": "g", "graph": None}), "a graph"),
        (expression("__import__('os').system('id')"), "__import__"),
        (expression("Symbol('s0').__class__"), "__class__"),
        (expression("eval(Symbol('s0'))"), "eval"),
        (expression("Add('exec', 1)"), "exec"),
        (expression("[1]"), "[1]"),
        (rename, "import os"),
        (tree, "ModelOutput"),
        (weight_name, "os.system"),
    ],
)
def test_what_could_run_code_is_refused(change: Change, found: str, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        copy_archive(rewritten(plain, tmp_path / "given.pt2", change), tmp_path / "copy.pt2", "given.pt2")
    assert found in caught.value.found
    copy_archive(plain, tmp_path / "kept.pt2", "plain.pt2")
    with pytest.raises(ModelError) as caught:
        load_archive(rewritten(tmp_path / "kept.pt2", tmp_path / "bundled.pt2", change))
    assert found in caught.value.found
    assert "torch's own operators" in caught.value.needed


@pytest.mark.parametrize(
    "text", ["Symbol('s40', positive=True, integer=True)", "Mul(Integer(2), Symbol('s0'))", "s0+1"]
)
def test_arithmetic_on_sizes_is_not(text: str, plain: Path, tmp_path: Path) -> None:
    copy_archive(rewritten(plain, tmp_path / "sizes.pt2", expression(text)), tmp_path / "copy.pt2", "sizes.pt2")


def test_pickled_weights_are_refused(plain: Path, tmp_path: Path) -> None:
    config = json.loads(PT2ArchiveReader(str(plain)).read_bytes(WEIGHTS))
    first = next(iter(config["config"].values()))
    first |= {"use_pickle": True}
    mark = tmp_path / "mark"
    payload = {WEIGHTS: json.dumps(config).encode(), f"data/weights/{first['path_name']}": pickle.dumps(Evil(mark))}
    hostile = rewritten(plain, tmp_path / "hostile.pt2", members=payload)
    with pytest.raises(ModelError, match="a pickled tensor"):
        copy_archive(hostile, tmp_path / "copy.pt2", "hostile.pt2")
    assert not mark.exists()


def test_traces_guards_and_libraries_are_left_out(plain: Path, tmp_path: Path) -> None:
    members = {"data/aotinductor/model/wrapper.so": b"\x7fELF", "extra/notes.txt": b"mine"}

    def guard(document: dict[str, Any]) -> None:
        document["guards_code"] = ["print('hello')"]

    whole = rewritten(plain, tmp_path / "whole.pt2", guard, members)
    with pytest.raises(ModelError, match=r"it holds data/aotinductor/model/wrapper\.so"):
        load_archive(whole)
    copy_archive(whole, tmp_path / "copy.pt2", "whole.pt2")
    kept = PT2ArchiveReader(str(tmp_path / "copy.pt2"))
    assert not [name for name in kept.get_file_names() if "aotinductor" in name or "extra" in name]
    text = kept.read_bytes(GRAPH).decode()
    assert "hello" not in text
    assert "torch_nets" not in text
    assert not kept.read_bytes(INPUTS)


def test_what_was_kept_answers_the_same_and_is_the_same_file_each_time(plain: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        copy_archive(plain, tmp_path / name / "model.pt2", "plain.pt2")
    assert (tmp_path / "a/model.pt2").read_bytes() == (tmp_path / "b/model.pt2").read_bytes()
    image = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)
    found, expected = load_archive(tmp_path / "a/model.pt2").module()(image), exported().module()(image)
    assert all(torch.equal(found[name], expected[name]) for name in ("logits", "features"))


def test_a_program_of_a_cuda_machine_is_read_on_any(plain: Path, tmp_path: Path) -> None:
    def elsewhere(document: dict[str, Any]) -> None:
        document["graph_module"] = json.loads(
            json.dumps(document["graph_module"]).replace(
                '{"type": "cpu", "index": null}', '{"type": "cuda", "index": 0}'
            )
        )

    copy_archive(rewritten(plain, tmp_path / "cuda.pt2", elsewhere), tmp_path / "copy.pt2", "cuda.pt2")
    program = load_archive(tmp_path / "copy.pt2")
    assert program.module()(torch.zeros(2, 8, 8, 3, dtype=torch.uint8))["logits"].device.type == "cpu"


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:200], lambda content: b"not a zip", lambda content: b"", lambda content: content[300:]],
)
def test_damaged_files_are_one_clear_error(damage: Any, plain: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_bytes(damage(plain.read_bytes()))
    with pytest.raises(ModelError, match=r"not a \.pt2|cannot read"):
        copy_archive(tmp_path / "bad.pt2", tmp_path / "copy.pt2", "bad.pt2")


def test_damaged_documents_are_one_clear_error(plain: Path, tmp_path: Path) -> None:
    for name, content in ((GRAPH, b"{"), (WEIGHTS, b"[]")):
        bad = rewritten(plain, tmp_path / "bad.pt2", members={name: content})
        with pytest.raises(ModelError, match="is damaged"):
            copy_archive(bad, tmp_path / "copy.pt2", "bad.pt2")


def test_a_plain_checkpoint_is_no_program(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pt2")
    with pytest.raises(ModelError, match=r"not a \.pt2 archive"):
        copy_archive(tmp_path / "weights.pt2", tmp_path / "copy.pt2", "weights.pt2")
