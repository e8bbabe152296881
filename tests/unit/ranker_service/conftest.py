"""Real parts that several tests of the ranker's units need."""

import onnx
import pytest
from onnx import TensorProto, helper

from groundswell.artifacts.onnx_model import OnnxModel

D = 3


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """A gate whose α is the sigmoid of the three gate features, one per dimension."""
    path = tmp_path_factory.mktemp("gate") / "fusion.onnx"
    names = ("short_vectors", "long_vectors", "gate_features")
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["short_vectors", "short_vectors"], ["zero_short"]),
            helper.make_node("Sub", ["long_vectors", "long_vectors"], ["zero_long"]),
            helper.make_node("Add", ["gate_features", "zero_short"], ["x"]),
            helper.make_node("Add", ["x", "zero_long"], ["y"]),
            helper.make_node("Sigmoid", ["y"], ["alphas"]),
        ],
        "gate",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", D]) for name in names],
        [helper.make_tensor_value_info("alphas", TensorProto.FLOAT, ["b", D])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return OnnxModel(path)
