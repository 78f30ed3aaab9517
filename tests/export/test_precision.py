from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from apdepth_deploy.export.precision import Float32Softmax, SpreadConv, TwoPassGroupNorm, prepare
from apdepth_deploy.model import ApDepth


@pytest.mark.parametrize("shape", [(2, 12, 7, 9), (1, 8, 1, 1), (2, 16, 35)])
def test_two_pass_group_norm_is_group_norm(shape):
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, shape[1], eps=1e-6).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(shape, dtype=torch.float64) * 3 + 5
    torch.testing.assert_close(TwoPassGroupNorm(norm)(x), norm(x), rtol=1e-12, atol=1e-12)


def test_two_pass_group_norm_keeps_its_digits_beside_a_large_mean():
    """Squaring 3000 in float32 leaves steps of 0.5, where the variance is 1."""
    torch.manual_seed(0)
    x = torch.randn(1, 4, 64, 64) + 3000.0
    norm = nn.GroupNorm(1, 4)
    exact = nn.GroupNorm(1, 4).double()(x.double())
    assert (TwoPassGroupNorm(norm)(x) - exact).abs().max() < 2e-3


def test_a_float32_softmax_is_attention():
    from diffusers.models.attention_processor import Attention

    torch.manual_seed(0)
    for context_dim in (None, 24):
        attention = Attention(32, context_dim, heads=2, dim_head=16).double()
        x = torch.randn(2, 15, 32, dtype=torch.float64)
        context = None if context_dim is None else torch.randn(2, 2, 24, dtype=torch.float64)
        expected = attention(x, context)
        attention.set_processor(Float32Softmax())
        # The softmax is float32 by design, hence not 1e-12.
        torch.testing.assert_close(attention(x, context), expected, rtol=1e-5, atol=1e-6)


def test_scaling_first_survives_scores_that_overflow_float16():
    from diffusers.models.attention_processor import Attention

    attention = Attention(32, heads=2, dim_head=16, bias=False).half()
    nn.init.constant_(attention.to_q.weight, 3.125)
    nn.init.constant_(attention.to_k.weight, 3.125)
    attention.set_processor(Float32Softmax())
    x = torch.full((1, 5, 32), 1.0, dtype=torch.float16)
    query = attention.to_q(x)
    assert torch.isinf(query[..., :16] @ query[..., :16].transpose(1, 2)).any()
    assert torch.isfinite(attention(x)).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_a_spread_convolution_is_the_transposed_one(factor):
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(6, 5, kernel_size=factor, stride=factor).double()
    x = torch.randn(2, 6, 3, 7, dtype=torch.float64)
    torch.testing.assert_close(SpreadConv(conv)(x), conv(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_preparing_keeps_what_the_model_computes(micro_spec, precision):
    model = ApDepth.from_spec(micro_spec)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8, generator=generator)
    prepared = prepare(copy.deepcopy(model), precision, (64, 96))
    assert prepared(images).dtype == torch.float32
    if precision == "fp32":
        prepared.double()  # what is left is the prior's resizes, in float32: 3.4e-7 seen
    difference = (prepared(images) - model.double()(images)).abs().mean()
    assert difference < {"fp32": 2e-6, "fp16": 2e-3, "bf16": 1.6e-2}[precision]
