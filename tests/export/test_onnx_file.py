"""A detector from an ONNX file: facts from the metadata, clear errors."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stageinteractor import Predictor
from stageinteractor.engine.weights import read_checkpoint
from stageinteractor.errors import DataError

FACTS = {
    "class_names": ["oak", "pine"],
    "category_ids": [7, 3],
    "resize": {"shortest": 64, "longest": None},
    "image_format": "BGR",
    "min_score": 0.4,
    "min_scores": [0.4, 0.2],
}


def write(path: Path, facts: dict) -> Path:
    """Write a graph that returns one fixed box, with the mean of the first channel as its score."""
    box = helper.make_tensor("box", TensorProto.FLOAT, (1, 1, 4), [0.0, 0.0, 32.0, 64.0])
    label = helper.make_tensor("label", TensorProto.INT64, (1, 1), [1])
    channel = helper.make_tensor("channel", TensorProto.INT64, (1,), [0])
    axes = helper.make_tensor("axes", TensorProto.INT64, (2,), [2, 3])
    scale = helper.make_tensor("scale", TensorProto.FLOAT, (), [1 / 255])
    nodes = [
        helper.make_node("Identity", ["box"], ["boxes"]),
        helper.make_node("Identity", ["label"], ["labels"]),
        helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
        helper.make_node("Gather", ["means", "channel"], ["first"], axis=1),
        helper.make_node("Mul", ["first", "scale"], ["scores"]),
        helper.make_node("Identity", ["first"], ["logits"]),
        helper.make_node("Identity", ["box"], ["query_boxes"]),
    ]
    of = helper.make_tensor_value_info
    inputs = [
        of("images", TensorProto.FLOAT, (1, 3, "height", "width")),
        of("sizes", TensorProto.INT64, (1, 2)),
    ]
    floats = [of(name, TensorProto.FLOAT, None) for name in ("scores", "logits")]
    boxes = [of(name, TensorProto.FLOAT, (1, 1, 4)) for name in ("boxes", "query_boxes")]
    outputs = [*boxes, *floats, of("labels", TensorProto.INT64, (1, 1))]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, [box, label, channel, axes, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(model, path)
    return path


def test_resizing_channel_order_and_names_come_from_the_file(tmp_path):
    predictor = Predictor.from_onnx(write(tmp_path / "model.onnx", FACTS))
    assert predictor.class_names == ("oak", "pine")
    assert [predictor.classes.category_id(index) for index in (0, 1)] == [7, 3]
    assert predictor.min_scores.by_class(predictor.class_names) == [0.4, 0.2]
    image = np.zeros((128, 256, 3), dtype=np.uint8)
    image[..., 2] = 51  # blue: the first channel of BGR
    instances = predictor(image)
    assert instances.scores.tolist() == pytest.approx([0.2])
    assert instances.image_size == (128, 256)
    assert instances.pred_boxes.tensor.tolist() == [[0.0, 0.0, 64.0, 128.0]]  # from 64 pixels


def test_an_image_keeps_its_size_without_a_rule_and_scores_are_optional(tmp_path):
    facts = FACTS | {"resize": None, "category_ids": None, "min_score": None, "min_scores": None}
    predictor = Predictor.from_onnx(write(tmp_path / "model.onnx", facts))
    assert predictor.min_scores is None and predictor.classes.category_id(1) == 2
    instances = predictor(np.zeros((128, 256, 3), dtype=np.uint8))
    assert instances.pred_boxes.tensor.tolist() == [[0.0, 0.0, 32.0, 64.0]]


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(DataError, match="missing.onnx: there is no such file"):
        Predictor.from_onnx(tmp_path / "missing.onnx")
    with pytest.raises(DataError, match="Predictor.from_onnx"):
        read_checkpoint(write(tmp_path / "model.onnx", FACTS))
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(DataError, match="text.onnx: onnxruntime cannot read it"):
        Predictor.from_onnx(tmp_path / "text.onnx")
    older = {key: value for key, value in FACTS.items() if key != "image_format"}
    with pytest.raises(DataError, match="older.onnx: .*image_format.*export the model again"):
        Predictor.from_onnx(write(tmp_path / "older.onnx", older))
    (tmp_path / "other.onnx").write_bytes(write(tmp_path / "model.onnx", {}).read_bytes())
    with pytest.raises(DataError, match="other.onnx: no metadata of this version"):
        Predictor.from_onnx(tmp_path / "other.onnx")
    wrong = FACTS | {"min_scores": [0.1]}
    with pytest.raises(DataError, match="wrong.onnx"):
        Predictor.from_onnx(write(tmp_path / "wrong.onnx", wrong))
