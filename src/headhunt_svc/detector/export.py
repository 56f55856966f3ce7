"""Scorer and smoothing as one ONNX graph: features float32[T, K * d_head] -> raw, smoothed float32[T].

The T segments follow each other without a break: give the graph what lies before and after a hole one after the other.
With a background (core/background.py), or where what is strange all the time is taken off (core/steady.py), it is that
of the T segments: give it the whole video.
"""

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headhunt_svc.core.background import EMA_RATE
from headhunt_svc.core.localization import kernel
from headhunt_svc.core.steady import AHEAD, BEHIND, LEAST, SHARE
from headhunt_svc.types import Background, Normality, OperatingPoint, Scorer


def node(op: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """A node with one output."""
    return helper.make_node(op, inputs, [output], **attributes)


def _distance_to_normal(normality: Normality) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """logit = margin + weight * sqrt(x' precision x), x = z - mean."""
    constants: dict[str, np.ndarray] = {
        "normal_mean": normality.mean.astype(np.float64),
        "normal_precision": normality.precision.astype(np.float64),
        "normality_weight": np.array([[normality.weight]], np.float64),
        "none": np.zeros((), np.float64),
        "column": np.array([1], np.int64),
    }
    nodes = [
        node("Sub", ["z", "normal_mean"], "x"),
        node("MatMul", ["x", "normal_precision"], "px"),
        node("Mul", ["x", "px"], "squares"),
        node("ReduceSum", ["squares", "column"], "squared", keepdims=1),
        node("Max", ["squared", "none"], "not_negative"),
        node("Sqrt", ["not_negative"], "distance"),
        node("Mul", ["distance", "normality_weight"], "of_distance"),
        node("Add", ["margin", "of_distance"], "logit"),
    ]
    return nodes, constants


def _without_steady(normality: Normality, typical: float) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """logit, of_distance -> steady_p, as core/steady.py does where the smoothing looks ahead.

    A row of `neighbours` holds the segments around one, and infinity beyond the ends.
    """
    around = BEHIND + 1 + AHEAD
    constants: dict[str, np.ndarray] = {
        "typical": np.array([normality.weight * typical], np.float64),
        "beyond": np.array(np.inf, np.float64),
        "beyond_ends": np.array([BEHIND, AHEAD], np.int64),
        "first_segment": np.zeros((), np.int64),
        "next_segment": np.ones((), np.int64),
        "around": np.arange(around, dtype=np.int64)[None],
        "all_around": np.array([around], np.int64),
        "along_row": np.array([1], np.int64),
        "share": np.array(SHARE, np.float64),
        "least": np.array(LEAST, np.int64),
        "nothing": np.zeros((), np.float64),
        "in_a_row": np.array([-1], np.int64),
        "scalar": np.zeros(0, np.int64),
    }
    nodes = [
        node("Sub", ["of_distance", "typical"], "novelty_column"),
        node("Reshape", ["novelty_column", "in_a_row"], "novelty"),
        node("Pad", ["novelty", "beyond_ends", "beyond"], "padded"),
        node("Shape", ["novelty"], "length"),
        node("Reshape", ["length", "scalar"], "length_scalar"),
        node("Range", ["first_segment", "length_scalar", "next_segment"], "numbers"),
        node("Unsqueeze", ["numbers", "along_row"], "number_column"),
        node("Add", ["number_column", "around"], "places"),
        node("Gather", ["padded", "places"], "neighbours"),
        helper.make_node("TopK", ["neighbours", "all_around"], ["lowest_first", "order_around"], axis=1, largest=0),
        node("IsInf", ["neighbours"], "is_beyond"),
        node("Not", ["is_beyond"], "is_there"),
        node("Cast", ["is_there"], "there", to=TensorProto.INT64),
        node("ReduceSum", ["there", "along_row"], "count", keepdims=1),
        node("Sub", ["count", "next_segment"], "others"),
        node("Cast", ["others"], "others64", to=TensorProto.DOUBLE),
        node("Mul", ["others64", "share"], "rank64"),
        node("Cast", ["rank64"], "rank", to=TensorProto.INT64),
        node("GatherElements", ["lowest_first", "rank"], "lowest_fifth", axis=1),
        node("Max", ["lowest_fifth", "nothing"], "positive"),
        node("GreaterOrEqual", ["count", "least"], "enough"),
        node("Where", ["enough", "positive", "nothing"], "steady"),
        node("Sub", ["logit", "steady"], "steady_logit"),
        node("Sigmoid", ["steady_logit"], "steady_p"),
    ]
    return nodes, constants


def _moving_average() -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """features, features64 -> background: of every segment the average of the earlier ones, of the first itself."""
    average, row, ahead = (
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["features"]) for name in ("average", "row", "ahead")
    )
    step = [
        node("Sub", ["row", "average"], "difference"),
        node("Mul", ["difference", "ema_rate"], "update"),
        node("Add", ["average", "update"], "ahead"),
        node("Identity", ["average"], "used"),
    ]
    used = helper.make_tensor_value_info("used", TensorProto.DOUBLE, ["features"])
    body = helper.make_graph(step, "moving_average", [average, row], [ahead, used])
    nodes = [
        node("Gather", ["features64", "first"], "average_before", axis=0),
        helper.make_node(
            "Scan", ["average_before", "features64"], ["average_after", "background"], body=body, num_scan_inputs=1
        ),
    ]
    return nodes, {"first": np.array(0, np.int64), "ema_rate": np.array(EMA_RATE, np.float64)}


def _median() -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """features64 -> background: the mean of the two middle values over the segments, which are one where T is odd."""
    nodes = [
        node("Shape", ["features64"], "n_segments", start=0, end=1),
        helper.make_node("TopK", ["features64", "n_segments"], ["sorted", "order"], axis=0),
        node("Sub", ["n_segments", "one_segment"], "last"),
        node("Div", ["last", "two"], "lower"),
        node("Div", ["n_segments", "two"], "upper"),
        node("Concat", ["lower", "upper"], "middle", axis=0),
        node("Gather", ["sorted", "middle"], "middle_values", axis=0),
        node("ReduceMean", ["middle_values"], "background", axes=[0], keepdims=1),
    ]
    return nodes, {"one_segment": np.array([1], np.int64), "two": np.array([2], np.int64)}


def _inputs(background: Background | None) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """features -> z, what the scorer sees."""
    if background is None:
        return [node("Cast", ["features"], "z", to=TensorProto.DOUBLE)], {}
    nodes, constants = _median() if background == "median" else _moving_average()
    nodes = [
        node("Cast", ["features"], "features64", to=TensorProto.DOUBLE),
        *nodes,
        node("Sub", ["features64", "background"], "relative"),
        node("Concat", ["features64", "relative"], "z", axis=1),
    ]
    return nodes, constants


def scorer_graph(scorer: Scorer, operating_point: OperatingPoint, metadata: dict[str, Any]) -> onnx.ModelProto:
    """The graph; T is dynamic. Margin and distance to normal are computed in float64, as in core/scoring.py."""
    taps = kernel(operating_point.sigma_segments)
    half = len(taps) // 2
    constants: dict[str, np.ndarray] = {
        "weight": scorer.weight[:, None].astype(np.float64),
        "bias": np.array([scorer.bias], np.float64),
        "taps": taps[None, None].astype(np.float32),
        "row": np.array([1, 1, -1], np.int64),
        "flat": np.array([-1], np.int64),
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
    }

    nodes, of_background = _inputs(scorer.background)
    constants |= of_background
    nodes += [
        node("MatMul", ["z", "weight"], "wz"),
        node("Add", ["wz", "bias"], "margin"),
    ]
    if scorer.normality is None:
        nodes.append(node("Identity", ["margin"], "logit"))
    else:
        more_nodes, more_constants = _distance_to_normal(scorer.normality)
        nodes, constants = nodes + more_nodes, constants | more_constants
    to_smooth = "p"
    if scorer.normality is not None and scorer.normality.typical and scorer.normality.ignores_steady:
        more_nodes, more_constants = _without_steady(scorer.normality, scorer.normality.typical)
        nodes, constants, to_smooth = nodes + more_nodes, constants | more_constants, "steady_p"
    nodes += [
        node("Sigmoid", ["logit"], "p"),
        node("Cast", ["p"], "p32", to=TensorProto.FLOAT),
        node("Reshape", ["p32", "flat"], "raw"),
        node("Cast", [to_smooth], "to_smooth", to=TensorProto.FLOAT),
        node("Reshape", ["to_smooth", "row"], "series"),
        node("Mul", ["series", "zero"], "zeros"),
        node("Add", ["zeros", "one"], "ones"),
        node("Conv", ["series", "taps"], "sum", pads=[half, half]),
        node("Conv", ["ones", "taps"], "norm", pads=[half, half]),  # normalised borders: constants are kept
        node("Div", ["sum", "norm"], "mean"),
        node("Clip", ["mean", "zero", "one"], "clipped"),
        node("Reshape", ["clipped", "flat"], "smoothed"),
    ]
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["segments", scorer.n_features])
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["segments"]) for n in ("raw", "smoothed")]
    initialisers = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "headhunt_scorer", [features], outputs, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    return model
