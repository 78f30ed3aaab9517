"""Engines by the real TensorRT for RTX builder, which needs no GPU."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from apdepth_deploy.bundle import Bundle, file_entry
from apdepth_deploy.cli import main
from apdepth_deploy.errors import BundleError
from apdepth_deploy.export import FrameShape, build_engines, engine_build, export_bundle
from apdepth_deploy.model import ApDepth

trt = pytest.importorskip("tensorrt_rtx")

ALL = ("sm86", "sm89", "sm120")
FUSED_FP16 = {"graphs": ["fused"], "precisions": ["fp16"]}


@pytest.fixture
def bundle(micro_bundle, tmp_path):
    """A copy to build into."""
    return shutil.copytree(micro_bundle, tmp_path / "bundle")


@pytest.fixture
def small(bundle):
    """The same with two nodes in place of the whole model's graph: it builds in no time."""
    opened, name = Bundle.open(bundle), "onnx/fused.fp16.onnx"
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axis"], ["depth"], keepdims=0),
    ]
    image = values("image", TensorProto.UINT8, [1, 64, 96, 3])
    depth = values("depth", TensorProto.FLOAT, [1, 64, 96])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [3])
    graph = helper.make_graph(nodes, "g", [image], [depth], [axis])
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), opened.path(name))
    opened.manifest["files"][name] = file_entry(opened.path(name))
    opened.write_manifest()
    return bundle


@pytest.fixture(scope="module")
def built(micro_bundle, tmp_path_factory):
    """One engine for three GPUs from each graph of the micro bundle. Read only."""
    folder = shutil.copytree(micro_bundle, tmp_path_factory.mktemp("built") / "bundle")
    build_engines(folder, "tensorrt-rtx", ALL)
    return Bundle.open(folder)


def test_every_graph_builds_for_three_gpus_in_one_engine(built):
    made = {(engine.graph, engine.precision) for engine in built.engines}
    stages = ("fused", "prior", "encoder", "unet", "decoder")
    assert made == set(itertools.product(stages, ("fp16", "fp32")))
    for engine in built.engines:
        path = built.path(engine.file)
        version = trt.__version__
        name = f"{engine.graph}.{engine.precision}.sm86+sm89+sm120.trtrtx{version}.engine"
        assert engine.file == f"engines/{name}"
        assert engine.compute_capabilities == ("8.6", "8.9", "12.0")
        assert (engine.target, engine.version) == ("tensorrt-rtx", version)
        assert (engine.batch, engine.height, engine.width) == (1, 64, 96)
        assert built.manifest["files"][engine.file] == {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }


@pytest.mark.parametrize("gpu", ALL)
def test_a_chain_builds_for_each_gpu_alone(bundle, gpu):
    engines = build_engines(bundle, "tensorrt-rtx", [gpu], graphs=["staged"], precisions=["fp16"])
    assert [engine.graph for engine in engines] == ["prior", "encoder", "unet", "decoder"]
    assert {f".{gpu}." in engine.file for engine in engines} == {True}
    assert Bundle.open(bundle).engines == tuple(engines)


@pytest.mark.slow
def test_bfloat16_graphs_build(micro_spec, tmp_path):
    """As traced, they hold a transposed convolution that TensorRT for RTX has in fp16 only."""
    model, shape = ApDepth.from_spec(micro_spec), FrameShape.fixed(1, 64, 96)
    folder = tmp_path / "bundle"
    export_bundle(model, folder, kinds=("staged",), precisions=("bf16",), shape=shape, verify=False)
    engines = build_engines(folder, "tensorrt-rtx", ["sm89"])
    assert len(engines) == 4 and all(e.weights["bf16"] > 0 for e in engines)


def test_weights_agree_with_the_graph(built):
    """Counted from the bytes of the tensors in the data file, not from their shapes."""
    for engine in built.engines:
        graph = next(g for g in built.graphs if g.label == f"{engine.graph}.{engine.precision}")
        values = dict.fromkeys(("fp16", "fp32"), 0)
        for tensor in onnx.load(str(built.path(graph.file))).graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.dtype in (np.float16, np.float32):
                values[f"fp{8 * array.itemsize}"] += array.nbytes // array.itemsize
        assert engine.weights == {name: count for name, count in values.items() if count}
        if engine.precision == "fp16":
            assert engine.weights["fp16"] > 0.99 * sum(engine.weights.values())


def test_the_builder_holds_weights_of_the_graphs_width(built):
    """Twice as much, had it fallen back to float32."""
    held = {(engine.graph, engine.precision): engine.weights_bytes for engine in built.engines}
    counts = {(e.graph, e.precision): sum(e.weights.values()) for e in built.engines}
    for precision, width in (("fp16", 2), ("fp32", 4)):
        bytes_per_weight = held["fused", precision] / counts["fused", precision]
        assert bytes_per_weight == pytest.approx(width, rel=0.2)


def test_memory_agrees_with_the_builders_own_log(built):
    lines: list[str] = []

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, message):
            lines.append(message)

    engine = next(e for e in built.engines if (e.graph, e.precision) == ("decoder", "fp16"))
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(built.path("onnx/decoder.fp16.onnx")))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 3
    for number, name in enumerate(ALL):
        config.set_compute_capability(getattr(trt.ComputeCapability, name.upper()), number)
    plan = builder.build_serialized_network(network, config)
    text = "\n".join(lines)
    assert re.search(rf"Total Activation Memory: {engine.activation_bytes} bytes", text)
    assert re.search(rf"Total Weights Memory: {engine.weights_bytes} bytes", text)
    assert engine.layers == network.num_layers
    assert plan.nbytes == pytest.approx(built.path(engine.file).stat().st_size, rel=0.01)


def test_a_plan_is_nothing_but_tensorrts(built):
    """Other programs read the file: the runtime knows its header."""
    blob = built.path(built.engines[0].file).read_bytes()
    runtime = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR))
    # (validity, diagnostics): without a GPU nothing is valid, but the file itself is not blamed.
    assert int(runtime.get_engine_validity(blob)[1]) == 0
    assert int(runtime.get_engine_validity(b"x" + blob)[1]) != 0


# --- through the command line --------------------------------------------------------------------


def test_the_verb_builds_and_inspect_shows_it(bundle, capsys):
    arguments = ["--target", "tensorrt-rtx", "--graph", "fused", "--precision", "fp16", "--json"]
    assert main(["build", str(bundle), "--gpu", "RTX 4090", "--gpu", "8.6", *arguments]) == 0
    captured = capsys.readouterr()
    (entry,) = json.loads(captured.out)
    assert entry["compute_capabilities"] == ["8.6", "8.9"]
    assert "building fused.fp16 for sm86, sm89 with tensorrt-rtx" in captured.err
    assert main(["inspect", str(bundle)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "sm86+sm89 " in line)
    assert row.startswith("fused.fp16") and "fp16 99.9" in row
    assert f"{entry['activation_bytes'] / 1e6:,.1f}" in row


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--target", "openvino"], "unknown target 'openvino': choose one of tensorrt-rtx, tens"),
        (["--target", "tensorrt-rtx", "--gpu", "RTX 9999"], "unknown GPU 'RTX 9999': give its"),
        (["--target", "tensorrt-rtx", "--gpu", "H100"], "TensorRT for RTX .* 9.0: use --target te"),
        (["--target", "tensorrt-rtx", "--gpu", "sm86", "--gpu", "sm90"], "TensorRT for RTX .* 9.0"),
        (
            ["--target", "tensorrt-rtx", "--gpu", "12.7"],
            "TensorRT for RTX .* not 12.7: use --gpu c",
        ),
        (["--target", "tensorrt-rtx", "--gpu", "current", "--gpu", "sm89"], "--gpu current stands"),
        (["--target", "tensorrt-rtx", "--graph", "whole"], "no such graph in .*; it has fused.fp"),
        (["--target", "tensorrt-rtx", "--workspace", "0"], "--workspace must be at least 1 MB"),
        (["--target", "tensorrt"], "tensorrt is not installed: pip install 'apdepth-deploy.tens"),
    ],
)
def test_wrong_use_is_said_and_builds_nothing(bundle, options, line, capsys, contents):
    before = contents(bundle)
    assert main(["build", str(bundle), *options]) == 2
    assert re.match(f"error: {line}", capsys.readouterr().err)
    assert contents(bundle) == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--gpu", "sm89"], "--gpu needs --target"),
        (["--target", "tensorrt-rtx", "--gpu", "H200"], "TensorRT for RTX does not run on compute"),
    ],
)
def test_export_checks_the_target_before_the_work(tmp_path, options, line, capsys):
    output = tmp_path / "bundle"
    assert main(["export", "tiny", "--random-weights", "-o", str(output), *options]) == 2
    error = capsys.readouterr().err
    assert f"error: {line}" in error and "loading" not in error
    assert not output.exists()


# --- what can go wrong ---------------------------------------------------------------------------


def test_an_engine_is_replaced_by_a_new_one(small):
    (first,) = build_engines(small, "tensorrt-rtx", ["sm89"], **FUSED_FP16)
    (second,) = build_engines(small, "tensorrt-rtx", ["sm89"], **FUSED_FP16)
    opened = Bundle.open(small)
    assert opened.engines == (second,) and first.file == second.file
    opened.check_hash(second.file)


def test_a_failed_write_keeps_the_old_engine(small, contents, capsys, file_limit):
    """The engine's file may not have its last 100 bytes."""
    (engine,) = build_engines(small, "tensorrt-rtx", ["sm89"], **FUSED_FP16)
    before = contents(small)
    size = len(before[engine.file])
    assert size > len(before["manifest.json"]) + 100
    words = ["--target", "tensorrt-rtx", "--gpu", "sm89", "--graph", "fused", "--precision", "fp16"]
    with file_limit(size - 100):
        assert main(["build", str(small), *words]) == 2
    said = capsys.readouterr().err
    assert "error: can't write" in said and "Traceback" not in said
    assert contents(small) == before


def test_a_damaged_graph_is_not_built(bundle):
    path = bundle / "onnx" / "fused.fp16.data"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"fused.fp16.data is damaged"):
        build_engines(bundle, "tensorrt-rtx", ["sm89"], **FUSED_FP16)


def test_an_interrupt_in_the_builder_stops_it(small, contents):
    before = contents(small)

    class Progress:
        def __call__(self, message):
            pass

        def detail(self, line):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engines(small, "tensorrt-rtx", ["sm89"], **FUSED_FP16, progress=Progress())
    assert contents(small) == before


def test_the_builder_tells_how_far_it_is(small):
    details = []

    class Progress(list):
        __call__ = list.append

        def detail(self, line):
            details.append(line)

    lines = Progress()
    build_engines(small, "tensorrt-rtx", ["sm89"], **FUSED_FP16, progress=lines)
    assert lines[0].startswith("building fused.fp16 for sm89 with tensorrt-rtx")
    assert re.fullmatch(r"built in [\d.]+ s: [\d.]+ MB of weights, [\d.]+ MB of acti\w+", lines[1])
    assert any(re.fullmatch(r"Building engine, 1 of \d+", line) for line in details)


def test_a_plan_of_wider_weights_is_warned_of(built):
    (engine,) = (e for e in built.engines if (e.graph, e.precision) == ("fused", "fp16"))
    doubled = dataclasses.replace(engine, weights_bytes=2 * engine.weights_bytes + 1_000_000)
    assert "TensorRT did not keep fp16" in engine_build._summary(doubled)
    assert "warning" not in engine_build._summary(engine)


def values(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)
