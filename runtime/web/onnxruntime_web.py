"""The files of onnxruntime-web: one version, from npm's registry or from a folder.

What comes over the network has the SHA-512 that the registry published for it, which stands here;
of the tar only the files that are named here are taken, to places that are named here.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from apdepth_deploy.errors import BackendError

VERSION = "1.30.0"
#: As `npm view onnxruntime-web@VERSION dist.integrity` says.
INTEGRITY = "sha512-" + (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
#: A page without WebGPU loads those of WebAssembly alone, 14 MB; one with it the others, 27 MB.
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_REGISTRY = "https://registry.npmjs.org/"
#: More than any version has packed.
_MOST_BYTES = 1 << 27
_PATIENCE = 60.0
_FOLDER = f"`npm install onnxruntime-web@{VERSION}`, and name it by --onnxruntime-web"


def put_onnxruntime_web(
    target: Path, package: Path | None, progress: Callable[[str], None]
) -> None:
    """Write ``FILES`` into ``target``, a new folder.

    Args:
        package: the npm package as npm unpacks it, of ``VERSION``; None: fetched.

    Raises BackendError where it can't be had, or is another.
    """
    target.mkdir()
    if package is not None:
        _copy(package, target)
        return
    settings = npm_settings()
    with tempfile.TemporaryFile() as tar:
        progress(f"fetching onnxruntime-web {VERSION} from {_host(settings['registry'])}")
        _fetch(settings, tar)
        tar.seek(0)
        _unpack(tar, target)


def _copy(package: Path, target: Path) -> None:
    try:
        said = json.loads((package / "package.json").read_bytes())
        found = f"{said['name']} {said['version']}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise BackendError(f"{package} is no npm package: {_FOLDER}") from None
    if found != f"onnxruntime-web {VERSION}":
        raise BackendError(f"{package} is {found[:80]!r}, not onnxruntime-web {VERSION}: {_FOLDER}")
    for name in FILES:
        if not (package / "dist" / name).is_file():
            raise BackendError(f"{package} has no dist/{name}: {_FOLDER}")
        shutil.copyfile(package / "dist" / name, target / name)


def npm_settings() -> dict[str, str]:
    """npm's registry, https-proxy and cafile, "" where there is none: what npm itself says, or
    without npm the environment."""
    names = ("registry", "https-proxy", "cafile")
    found = {name: os.environ.get(f"npm_config_{name.replace('-', '_')}", "") for name in names}
    npm = shutil.which("npm")
    if npm is not None:
        command = [npm, "config", "get", *names]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)  # noqa: S603
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise BackendError(f"npm doesn't say where its registry is: {error}") from error
        lines = (line.partition("=") for line in done.stdout.splitlines())
        found |= {name: value for name, _, value in lines if name in names}
    found = {name: "" if value in ("null", "undefined") else value for name, value in found.items()}
    return found | {"registry": (found["registry"] or _REGISTRY).rstrip("/") + "/"}


def _host(address: str) -> str:
    """For people; without the password that an address may hold."""
    return urllib.parse.urlsplit(address).hostname or "nowhere"


def _fetch(settings: Mapping[str, str], tar: BinaryIO) -> None:
    """The package as the registry has it, its hash compared with ``INTEGRITY``."""
    address = f"{settings['registry']}onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    if not address.startswith(("https://", "http://")):
        raise BackendError(f"npm's registry is at no http address: {_FOLDER}")
    digest, size = hashlib.sha512(), 0
    try:
        with _opener(settings).open(address, timeout=_PATIENCE) as answer:
            while (chunk := answer.read(1 << 20)) and size <= _MOST_BYTES:
                digest.update(chunk)
                size += tar.write(chunk)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise BackendError(
            f"onnxruntime-web can't be fetched from {_host(address)}: {_reason(error)}. Where npm "
            f"works, {_FOLDER}"
        ) from error
    if "sha512-" + base64.b64encode(digest.digest()).decode() != INTEGRITY:
        raise BackendError(
            f"what {_host(address)} gives for onnxruntime-web {VERSION} is not what was published: "
            "its SHA-512 is another. Try again, or another registry"
        )


def _opener(settings: Mapping[str, str]) -> urllib.request.OpenerDirector:
    handlers: list[Any] = []
    if settings["https-proxy"]:
        handlers.append(urllib.request.ProxyHandler({"https": settings["https-proxy"]}))
    if settings["cafile"]:
        import ssl

        context = ssl.create_default_context()
        context.load_verify_locations(settings["cafile"])
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)


def _unpack(tar: BinaryIO, target: Path) -> None:
    """``FILES``, and nothing else that a tar may hold or point to."""
    missing = {f"package/dist/{name}": name for name in FILES}
    with tarfile.open(fileobj=tar, mode="r:gz") as opened:
        for member in opened:
            name = missing.pop(member.name, None) if member.isreg() else None
            source = opened.extractfile(member) if name else None
            if name and source:
                with (target / name).open("xb") as file:
                    shutil.copyfileobj(source, file)
    if missing:
        raise BackendError(f"onnxruntime-web {VERSION} has no {' or '.join(missing.values())}")
