"""The empty prompt's embedding: from its file, from a text encoder, or an error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.model import ApDepth


def load(folder: Path, **options: str) -> ApDepth:
    return ApDepth.from_checkpoint(str(folder), **options)


def save_text_encoder(folder: Path) -> tuple[CLIPTextModel, list[int]]:
    """Both as Stable Diffusion 2.1 stores them; gives the encoder and the tokens of ""."""
    config = CLIPTextConfig(
        vocab_size=6,
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=4,
        eos_token_id=5,
    )
    torch.manual_seed(0)
    encoder = CLIPTextModel(config).eval()
    config.save_pretrained(folder / "text_encoder")
    # Written before transformers 5: with this prefix, and the positions as a buffer.
    state = {
        f"text_model.{k.removeprefix('text_model.')}": v for k, v in encoder.state_dict().items()
    }
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, folder / "text_encoder" / "model.safetensors")

    tokens = ["a", "b", "a</w>", "b</w>", "<|startoftext|>", "<|endoftext|>"]
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    special = {
        "bos_token": tokens[4],
        "eos_token": tokens[5],
        "unk_token": tokens[5],
        "pad_token": "!",
    }
    (tokenizer / "special_tokens_map.json").write_text(json.dumps(special))
    options = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({**special, **options}))
    return encoder, [4, 5]


def test_the_empty_text_is_encoded_once_from_its_encoder(folder: Path) -> None:
    (folder / "empty_text_embed.npy").unlink()
    encoder, ids = save_text_encoder(folder)
    with torch.no_grad():
        expected = encoder(torch.tensor([ids])).last_hidden_state
    model = load(folder)
    torch.testing.assert_close(model.text_embedding, expected, rtol=0, atol=1e-6)
    assert model.spec.text_shape == (2, 24)


def test_the_empty_text_is_read_from_its_file(folder: Path) -> None:
    embedding = np.random.default_rng(0).normal(size=(1, 2, 24))
    np.save(folder / "empty_text_embed.npy", embedding.astype(np.float16))
    found = load(folder).text_embedding
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), embedding.astype(np.float16).astype(np.float32))


def test_no_text_at_all_is_an_error(folder: Path) -> None:
    (folder / "empty_text_embed.npy").unlink()
    with pytest.raises(CheckpointError, match=r"neither empty_text_embed.npy nor text_encoder/"):
        load(folder)
    save_text_encoder(folder)
    vocabulary = folder / "tokenizer" / "vocab.json"
    vocabulary.write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer can't be loaded"):
        load(folder)
    vocabulary.unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer has no vocab.json"):
        load(folder)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 2, 25), np.float32),
        np.zeros((2, 24), np.float32),
        np.zeros((2, 2, 24), np.float32),
        np.array("text"),
        np.array([[[{}]]], dtype=object),
    ],
    ids=["width", "rank", "batch", "text", "pickle"],
)
def test_an_embedding_that_does_not_fit_is_an_error(folder: Path, array: np.ndarray) -> None:
    np.save(folder / "empty_text_embed.npy", array)
    with pytest.raises(CheckpointError, match="empty"):
        load(folder)
