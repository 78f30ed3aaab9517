"""Depth of a picture from a Triton server.

    pip install apdepth-deploy 'tritonclient[http,grpc]'
    python client.py photo.jpg -o depth.npy
    python client.py photo.jpg -o depth.npy --protocol grpc --url robot:8001 --shared-memory

Reads pictures as apdepth-deploy does, and is the same for every form of the model. ``depth.npy``
is float32 [H,W] of the model's frame, affine-invariant: 0 = near, 1 = far.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.utils import shared_memory

from apdepth_deploy.pictures.image import read_image, resize_image

PORTS = {"http": 8000, "grpc": 8001}


def main() -> None:
    options = parse_options()
    triton = importlib.import_module(f"tritonclient.{options.protocol}")
    url = options.url or f"localhost:{PORTS[options.protocol]}"
    with triton.InferenceServerClient(url) as client:
        frames = read_frames(options.image, frame_shape(triton, client, options.model))
        infer = infer_shared if options.shared_memory else infer_sent
        depth = infer(triton, client, options.model, frames)
    np.save(options.output, depth[0])


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Depth of a picture from a Triton server.")
    parser.add_argument("image")
    parser.add_argument("-o", "--output", required=True, help="depth.npy, float32 [H,W]")
    parser.add_argument("--model", default="apdepth")
    parser.add_argument("--protocol", choices=PORTS, default="http")
    parser.add_argument("--url", help="host:port; default: this machine, the protocol's own port")
    parser.add_argument(
        "--shared-memory", action="store_true", help="for a server on this machine: no copy sent"
    )
    return parser.parse_args()


def frame_shape(triton: Any, client: Any, model: str) -> list[int]:
    """[batch, height, width, 3] of the model's input; -1 where it takes a range."""
    as_json = {} if triton.__name__.endswith("http") else {"as_json": True}
    metadata = client.get_model_metadata(model, **as_json)
    return [int(size) for size in metadata["inputs"][0]["shape"]]


def read_frames(path: str, shape: list[int]) -> np.ndarray:
    """The picture, upright, at the model's size: uint8 [B,H,W,3] RGB.

    A model with a range keeps the picture's size to the nearest multiple of 8, which must be
    within that range; a batch that is fixed is filled with copies.
    """
    picture = read_image(Path(path))
    batch, height, width, _ = shape
    height = height if height > 0 else round(picture.shape[0] / 8) * 8
    width = width if width > 0 else round(picture.shape[1] / 8) * 8
    return np.repeat(resize_image(picture, height, width)[None], max(batch, 1), axis=0)


def infer_sent(triton: Any, client: Any, model: str, frames: np.ndarray) -> np.ndarray:
    """uint8 [B,H,W,3] -> float32 [B,H,W], through the connection."""
    image = triton.InferInput("image", list(frames.shape), "UINT8")
    image.set_data_from_numpy(frames)
    depth = triton.InferRequestedOutput("depth")
    return client.infer(model, [image], outputs=[depth]).as_numpy("depth")


def infer_shared(triton: Any, client: Any, model: str, frames: np.ndarray) -> np.ndarray:
    """The same through this machine's memory. A camera would keep both regions for all frames."""
    shape = frames.shape[:3]
    with (
        shared_region(client, "frames", frames.nbytes) as (frames_name, frames_region),
        shared_region(client, "depth", 4 * int(np.prod(shape))) as (depth_name, depth_region),
    ):
        shared_memory.set_shared_memory_region(frames_region, [frames])
        image = triton.InferInput("image", list(frames.shape), "UINT8")
        image.set_shared_memory(frames_name, frames.nbytes)
        depth = triton.InferRequestedOutput("depth")
        depth.set_shared_memory(depth_name, 4 * int(np.prod(shape)))
        client.infer(model, [image], outputs=[depth])
        return shared_memory.get_contents_as_numpy(depth_region, np.float32, shape).copy()


@contextlib.contextmanager
def shared_region(client: Any, what: str, size: int) -> Iterator[tuple[str, Any]]:
    """(name that the server knows it by, handle) of ``size`` bytes that both can see."""
    name = f"apdepth_{what}_{os.getpid()}"
    region = shared_memory.create_shared_memory_region(name, name, size, create_only=True)
    try:
        client.register_system_shared_memory(name, name, size)
        try:
            yield name, region
        finally:
            client.unregister_system_shared_memory(name)
    finally:
        shared_memory.destroy_shared_memory_region(region)


if __name__ == "__main__":
    main()
