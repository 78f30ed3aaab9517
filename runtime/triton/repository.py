"""The folder that Triton serves: a model, or a model for each stage and an ensemble to join them.

model_repository/apdepth/config.pbtxt
model_repository/apdepth/1/            the model's files, under their names in the bundle
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from apdepth_deploy.bundle import MANIFEST, Bundle, Graph
from apdepth_deploy.errors import BundleError
from apdepth_deploy.files import atomic_folder

from .choice import Choice, Wanted, choose
from .config import MARK, Model, Placement, ensemble_config, model_config

_CONFIG = "config.pbtxt"
_VERSION = "1"
#: Lets a folder without files through stores that have no folders, such as S3.
_KEEP = ".keep"
_MODEL_PY = "from apdepth_deploy.runtime.triton.model import TritonPythonModel  # noqa: F401\n"


def write_repository(
    bundle: str | Path,
    output: str | Path,
    wanted: Wanted,
    progress: Callable[[str], None] = lambda message: None,
) -> Choice:
    """Write a model repository whole or not at all; returns what it serves.

    The bundle's files are copied, their hashes compared with the manifest first. (Not linked: onnx
    refuses weights that have a second hard link, in the bundle as in the repository.)

    Raises:
        UsageError: options that can't work. BundleError: not a bundle, or a damaged one.
        BackendError: the bundle lacks what the backend needs. OutputError: ``output`` exists and
            is not ours, or can't be written.
    """
    opened = Bundle.open(bundle)
    choice = choose(opened, wanted)
    writer = _Writer(opened, choice, wanted)
    with atomic_folder(Path(output), is_repository) as folder:
        progress(f"checking and copying the files of {opened.folder}")
        writer.write(folder)
    return choice


def is_repository(folder: Path) -> bool:
    """Whether ``write_repository`` made all of it, so that another may take its place."""
    return all(_is_ours(path) for path in folder.iterdir())


def _is_ours(model: Path) -> bool:
    config = model / _CONFIG
    if not config.is_file() or {path.name for path in model.iterdir()} != {_CONFIG, _VERSION}:
        return False
    return config.read_bytes().startswith(MARK.encode())


class _Writer:
    """The models of one choice, into a folder that is not yet in its place."""

    def __init__(self, bundle: Bundle, choice: Choice, wanted: Wanted) -> None:
        self._bundle, self._choice, self._wanted = bundle, choice, wanted
        self._placement = Placement(choice.gpus, wanted.instances)

    def write(self, folder: Path) -> None:
        name, graphs = self._wanted.name, self._choice.graphs
        if self._choice.backend == "python":
            self._write_python(folder / name)
        elif self._choice.chain[0] == "fused":
            self._write_graph(folder / name, graphs[0])
        else:
            stages = [self._write_graph(folder / f"{name}_{g.name}", g) for g in graphs]
            version = _new_model(folder / name, ensemble_config(name, stages))
            (version / _KEEP).touch()

    def _write_graph(self, folder: Path, graph: Graph) -> Model:
        files, by_capability = self._files(graph)
        model = Model(
            folder.name,
            self._choice.backend,
            graph.inputs,
            graph.outputs,
            file=_base(files[0]),
            files_by_capability=by_capability,
        )
        version = _new_model(folder, model_config(model, self._placement))
        for file in files:
            self._put(file, version / _base(file))
        return model

    def _files(self, graph: Graph) -> tuple[list[str], dict[str, str]]:
        """(files of the bundle, the model's own first; which of them each kind of GPU takes)."""
        if self._choice.backend == "onnxruntime":  # a graph names the file of its weights
            return [graph.file, graph.data], {}
        engines = [engine for engine in self._choice.engines if engine.label == graph.label]
        by_capability = {c: _base(e.file) for e in engines for c in e.compute_capabilities}
        return [engine.file for engine in engines], by_capability

    def _write_python(self, folder: Path) -> None:
        """The bundle whole, beside a line of Python."""
        graphs = self._choice.graphs
        wanted = {"precision": self._wanted.precision, "graph": self._wanted.graph}
        model = Model(
            folder.name,
            "python",
            graphs[0].inputs,
            [tensor for tensor in graphs[-1].outputs if tensor.name == "depth"],
            parameters={name: value for name, value in wanted.items() if value},
        )
        version = _new_model(folder, model_config(model, self._placement))
        (version / "model.py").write_text(_MODEL_PY, encoding="utf-8")
        for name in self._bundle.manifest["files"]:
            self._put(name, version / "bundle" / name)
        shutil.copyfile(self._bundle.path(MANIFEST), version / "bundle" / MANIFEST)

    def _put(self, name: str, target: Path) -> None:
        """A copy of a file of the bundle, which is found whole."""
        if target.exists():
            raise BundleError(
                f"{self._bundle.folder} has two files called {target.name} for one model. "
                "Export the bundle again"
            )
        self._bundle.check_hash(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._bundle.path(name), target)


def _new_model(folder: Path, config: str) -> Path:
    """Write the configuration; returns the folder for the model's files."""
    version = folder / _VERSION
    version.mkdir(parents=True)
    (folder / _CONFIG).write_text(config, encoding="utf-8")
    return version


def _base(name: str) -> str:
    return PurePosixPath(name).name
