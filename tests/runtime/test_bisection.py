"""`verify --bisect`: the layer that departs and the smallest graph that does, by Polygraphy."""

from __future__ import annotations

import json
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.bundle.golden import read_golden
from apdepth_deploy.cli import main
from apdepth_deploy.errors import BackendError
from apdepth_deploy.runtime.bisection import reduction, runners, search
from apdepth_deploy.runtime.bisection.departure import Side
from apdepth_deploy.runtime.bisection.frames import frames_of, shapes_of, write_inputs
from apdepth_deploy.runtime.bisection.layers import Layers, groups, matched

Text = pytest.CaptureFixture[str]
scale = runpy.run_path(str(Path(__file__).parents[1] / "mutating.py"))["scale"]
CONV = "model.unet.down_blocks.0.resnets.0.conv1.weight"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def copied(tmp_path: Path, micro_bundle: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))


def bisected(bundle: Path, capsys: Text, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """(exit code, findings)."""
    into = bundle.parent / "bisect"
    code = main(["verify", str(bundle), "--bisect", "-o", str(into), "--json", *words])
    return code, json.loads(capsys.readouterr().out)["bisected"]


def codes(*lines: str) -> list[int]:
    """What command lines return: the program itself, imported once for all of them."""
    script = (
        "import json, multiprocessing, sys\n"
        "from polygraphy.tools import main\n"
        "def run(words):\n"
        "    sys.argv = words\n"
        "    sys.exit(main())\n"
        "fork = multiprocessing.get_context('fork')\n"
        "started = [fork.Process(target=run, args=[line]) for line in json.loads(sys.argv[1])]\n"
        "for one in started: one.start()\n"
        "for one in started: one.join()\n"
        "print(*(one.exitcode for one in started))"
    )
    words = json.dumps([shlex.split(line) for line in lines])
    done = subprocess.run([sys.executable, "-c", script, words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [int(code) for code in done.stdout.splitlines()[-1].split()]
    assert done.stdout.count("Pass Rate: 0.00%") == sum(found), done.stdout
    return found


def layers_of(folder: Path, label: str) -> tuple[Layers, Any, Any]:
    """(layers, golden frames, shapes) of one graph."""
    bundle = Bundle.open(folder)
    (graph,) = (graph for graph in bundle.graphs if graph.label == label)
    frames = frames_of(graph, read_golden(bundle))
    sizes = {name: value.shape for name, value in frames[0].inputs.items()}
    return Layers(bundle.path(graph.file), graph, sizes), frames, shapes_of(graph)


def test_a_weight_of_the_unet_off_by_5_percent_is_found_and_shown(
    copied: Path, micro_bundle: Path, capsys: Text
) -> None:
    scale(copied, "unet.fp32", CONV, 1.05)
    words = ["--backend", "onnxruntime", "--precision", "fp32", "--graph", "staged", "--reduce"]
    code, findings = bisected(copied, capsys, *words)
    assert code == 1
    assert [finding["graph"] for finding in findings] == ["prior.fp32", "encoder.fp32", "unet.fp32"]
    assert [finding["node"] for finding in findings[:2]] == ["", ""]
    unet = findings[-1]
    assert (unet["stage"], unet["operator"]) == ("unet", "Conv")
    assert unet["weight"] == CONV.removeprefix("model.")
    assert unet["between"][-1] == unet["node"]
    assert unet["decibels"] == pytest.approx(-20 * np.log10(0.05), abs=1)
    assert unet["before"] > unet["limit"] == 34.0
    assert unet["reduced_nodes"] <= 50
    healthy = unet["golden_line"].replace(str(copied), str(micro_bundle))
    assert healthy != unet["golden_line"]
    lines = unet["golden_line"], healthy, unet["node_line"], unet["reduced_line"]
    assert codes(*lines) == [1, 0, 1, 1]


def test_in_a_fused_graph_the_stage_is_named_too(copied: Path, capsys: Text) -> None:
    scale(copied, "fused.fp16", CONV, 1.05)
    words = ["--backend", "onnxruntime", "--precision", "fp16", "--graph", "fused"]
    code, (finding,) = bisected(copied, capsys, *words)
    assert (code, finding["stage"]) == (1, "unet")
    assert finding["weight"] == CONV.removeprefix("model.")
    assert "with fused.fp32.onnx on ONNX Runtime" in finding["compared"]


def test_a_healthy_bundle_has_no_departure(
    micro_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    bundle = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    code, findings = bisected(bundle, capsys, "--backend", "onnxruntime", "--graph", "fused")
    assert (code, [finding["graph"] for finding in findings]) == (0, ["fused.fp32", "fused.fp16"])
    assert {finding["node"] for finding in findings} == {""}


def wrong_openvino(monkeypatch: pytest.MonkeyPatch, node: str) -> None:
    """One that computes a hyperbolic tangent where a graph has this node."""

    class Core:
        def read_model(self, path: str) -> Any:
            model = onnx.load(path)
            for one in model.graph.node:
                if one.name == node:
                    one.op_type = "Tanh"
            return runners_core().read_model(model.SerializeToString())

        def __getattr__(self, name: str) -> Any:
            return getattr(runners_core(), name)

    runners_core = runners.core
    monkeypatch.setattr(runners, "core", Core)


def test_an_engine_that_computes_a_node_wrongly_is_found_at_that_node(
    copied: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, _, _ = layers_of(copied, "unet.fp32")
    node = [one.name for one in layers.nodes if one.op_type == "Sigmoid"][5]
    wrong_openvino(monkeypatch, node)
    words = ["--backend", "openvino", "--precision", "fp32", "--graph", "staged", "--reduce"]
    code, findings = bisected(copied, capsys, *words)
    assert code == 1
    unet = findings[-1]
    assert (unet["graph"], unet["node"], unet["between"]) == ("unet.fp32", node, [node])
    assert "unet.fp32.onnx on OpenVINO on cpu with unet.fp32.onnx on ONNX" in unet["compared"]
    assert unet["reduced_nodes"] == 1
    graph = onnx.load(copied.parent / "bisect" / "reduced.onnx").graph
    assert [one.op_type for one in graph.node] == ["Sigmoid"]
    assert "--openvino" in unet["node_line"] and "--openvino" in unet["reduced_line"]
    assert codes(unet["golden_line"], unet["reduced_line"]) == [0, 0]  # the real one is right


def test_what_goes_wrong_in_company_only_is_reduced_by_polygraphy(
    micro_bundle: Path, tmp_path: Path
) -> None:
    """An engine whose fault needs a softmax before the convolution that departs."""
    layers, frames, shapes = layers_of(micro_bundle, "unet.fp32")
    softmax = next(n for n, one in enumerate(layers.nodes) if one.op_type == "Softmax")
    later = [one for one in layers.nodes[softmax:] if one.op_type == "Conv"]
    output, inputs = later[0].output[0], frames[0].inputs
    names = [*layers.upstream(output), output]
    values = Side(layers, runners.REFERENCE, shapes).values(names, [inputs])[0]
    check = tmp_path / "check.py"
    check.write_text(
        "import onnx\n"
        "kinds = [node.op_type for node in onnx.load('trial.onnx').graph.node]\n"
        "print('Pass Rate: 0.00%' if 'Softmax' in kinds else 'Pass Rate: 100.00%')"
    )
    target = tmp_path / "reduced.onnx"
    reduction.debug_reduce(
        layers.part(inputs, output, values[output]),
        write_inputs(tmp_path / "inputs.json", [{**inputs, **values}]),
        [sys.executable, str(check)],
        target,
        {},
    )
    kinds = [node.op_type for node in onnx.load(target).graph.node]
    assert kinds[0] == "Softmax" and kinds[-1] == "Conv" and len(kinds) < 40
    assert len(layers.between(output, ())) > 2 * len(kinds)


def test_layers_of_two_precisions_are_one_by_one_the_same(micro_bundle: Path) -> None:
    for name in ("fused", "prior", "encoder", "unet", "decoder"):
        fp32, fp16 = (layers_of(micro_bundle, f"{name}.{p}")[0] for p in ("fp32", "fp16"))
        pairs = matched(fp32, fp16)
        assert len(pairs) == len(fp32.weighted()) == len(fp16.weighted()) > 30
        weights = [(fp32.weight(fp32.node(a)), fp16.weight(fp16.node(b))) for a, b in pairs]
        assert [a for a, _ in weights] == [b for _, b in weights]
        stages = [fp32.stage(value) for value, _ in pairs]
        whole = ["prior", "encoder", "unet", "decoder"]
        assert list(dict.fromkeys(stages)) == (whole if name == "fused" else [name])


def test_values_are_asked_for_in_groups_of_a_size(micro_bundle: Path) -> None:
    layers, frames, shapes = layers_of(micro_bundle, "decoder.fp16")
    found = list(groups(layers, [(value, value) for value in layers.values], 200_000))
    assert [value for group in found for value in group] == layers.values
    assert len(found) > 5
    assert all(len(g) == 1 or sum(map(layers.size, g)) <= 200_000 for g in found)
    names = layers.values[-5:]
    values = Side(layers, runners.REFERENCE, shapes).values(names, [frames[0].inputs])[0]
    assert [layers.size(name) for name in names] == [values[name].nbytes for name in names]


def test_tensorrt_for_rtx_takes_the_graph_with_inner_values(
    micro_bundle: Path, run_script: Callable[..., Any]
) -> None:
    """As far as it goes without a GPU: the network that would be built."""
    pytest.importorskip("tensorrt_rtx")
    done = run_script(
        "from pathlib import Path\n"
        "from apdepth_deploy.runtime.bisection import choose_tensorrt\n"
        "choose_tensorrt('tensorrt-rtx')\n"
        "from apdepth_deploy.runtime.bisection.runners import Engine\n"
        f"path = Path({str(micro_bundle / 'onnx/unet.fp16.onnx')!r})\n"
        "engine = Engine('tensorrt-rtx', 'cuda')\n"
        "shape = 1, 8, 8, 12\n"
        "names = ['conv2d_1', 'depth_latent']\n"
        "runner = engine.runner(path, names, {'latents': (shape, shape, shape)})\n"
        "_, network, _ = runner._engine_or_context._network()\n"
        "print(*(network.get_output(n).name for n in range(network.num_outputs)))\n"
        "print(engine.words, engine.variables)"
    )
    said = done.stdout.splitlines()[-2:]
    assert said == [
        "conv2d_1 depth_latent",
        "['--trt', '--strongly-typed'] {'POLYGRAPHY_USE_TENSORRT_RTX': '1'}",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--bisect"], "--graph, --bisect and --reduce are for --backend: name one"),
        (["--backend", "openvino", "--reduce"], "add --bisect"),
        (["--backend", "openvino", "--graph", "molten", "--bisect"], "unknown graph 'molten'"),
    ],
)
def test_wrong_use_is_said(micro_bundle: Path, capsys: Text, words: list[str], says: str) -> None:
    assert main(["verify", str(micro_bundle), *words]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "is_installed", lambda module: module != "onnx_graphsurgeon")
    with pytest.raises(BackendError, match=r"pip install onnx-graphsurgeon$"):
        search.engine_of("openvino", "auto")
