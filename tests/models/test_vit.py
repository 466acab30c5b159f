"""The small Vision Transformer against torch's own pieces, its patches, positions and replaceable parts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import perturbed
from torch import nn

from course_lib.evaluation import restore
from course_lib.models import create_model
from course_lib.models.vit import MultiHeadSelfAttention, ViTBlock, patchify, sinusoidal_positions, unpatchify

TINY = dict(dim=8, blocks=2, heads=2, patch=2, stem=4)


@pytest.mark.parametrize("patch, height, width", [(1, 3, 5), (2, 6, 4), (3, 6, 15)])
def test_patches_are_those_of_unfold_and_go_back_exactly(patch, height, width):
    x = torch.randn(2, 5, height, width)
    tokens = patchify(x, patch)
    assert torch.equal(tokens, F.unfold(x, patch, stride=patch).transpose(1, 2))
    assert torch.equal(unpatchify(tokens, patch, height, width), x)


@pytest.mark.parametrize("dim, heads", [(8, 1), (12, 3)])
def test_attention_equals_torchs_module(dim, heads):
    ours = perturbed(MultiHeadSelfAttention(dim, heads))
    wanted = nn.MultiheadAttention(dim, heads, batch_first=True)
    wanted.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight, "out_proj.bias": ours.proj.bias,
        }
    )  # fmt: skip
    x = torch.randn(2, 7, dim)
    output, weights = wanted(x, x, x, average_attn_weights=False)
    assert torch.allclose(ours(x), output, atol=1e-5)
    assert torch.allclose(ours.weights(x), weights, atol=1e-5)


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="8 channels do not divide into 3 heads"):
        MultiHeadSelfAttention(8, 3)


def test_the_block_equals_torchs_pre_norm_layer():
    ours = perturbed(ViTBlock(8, 2))
    wanted = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True)
    names = {"attention.qkv.": "self_attn.in_proj_", "attention.proj.": "self_attn.out_proj.", "mlp.0.": "linear1.", "mlp.2.": "linear2."}
    state = {}
    for name, value in ours.state_dict().items():
        old = next((prefix for prefix in names if name.startswith(prefix)), "")
        state[names.get(old, "") + name[len(old) :]] = value
    wanted.load_state_dict(state)
    x = torch.randn(2, 9, 8)
    assert torch.allclose(ours(x), wanted(x), atol=1e-5)


def test_positions_count_rows_then_columns():
    codes = sinusoidal_positions(3, 4, 8, 100.0)
    y, x = 2, 1
    wanted = [f(place * 100.0**-e) for place in (y, x) for f in (torch.sin, torch.cos) for e in (torch.tensor(0.0), torch.tensor(0.5))]
    assert codes.shape == (12, 8) and torch.allclose(codes[y * 4 + x], torch.stack(wanted), atol=1e-6)


def test_a_step_turns_every_code_by_the_same_matrix():
    codes = sinusoidal_positions(1, 30, 16, 50.0).double()
    # by NumPy: the columns that never change make the system rank-deficient, which torch answers differently from version to version
    turn = torch.from_numpy(np.linalg.lstsq(codes[:-1].numpy(), codes[1:].numpy(), rcond=None)[0])
    assert torch.allclose(codes[:-1] @ turn, codes[1:], atol=1e-5)


def test_positions_refuse_a_width_that_four_does_not_divide():
    with pytest.raises(ValueError, match="do not divide by 4"):
        sinusoidal_positions(2, 2, 6, 10.0)


def test_attention_is_blind_to_order_without_positions_only():
    x, order = torch.randn(1, 10, 8), torch.randperm(10)
    attention = perturbed(MultiHeadSelfAttention(8, 2))
    assert torch.allclose(attention(x)[:, order], attention(x[:, order]), atol=1e-6)
    image = torch.rand(1, 3, 16, 16)
    swapped = image.flip(3)  # mirrored: another order of the same patches only for one-pixel patches
    for positions, same in (("none", True), ("sinusoidal", False)):
        model = perturbed(create_model("vit", **{**TINY, "patch": 1}, positions=positions))
        for convolution in (model.stem, model.tail):  # look at the pixel itself only
            with torch.no_grad():
                convolution.weight *= (torch.arange(9) == 4).reshape(3, 3)
        assert torch.allclose(model(swapped), model(image).flip(3), atol=1e-5) is same


@pytest.mark.parametrize("positions", ["sinusoidal", "learnt", "none"])
def test_any_size_goes_through_and_pictures_of_a_batch_do_not_meet(positions):
    model = perturbed(create_model("vit", **TINY, positions=positions, grid=8)).eval()
    images = torch.rand(3, 3, 24, 40)
    with torch.no_grad():
        together = model(images)
        assert together.shape == images.shape
        assert torch.allclose(together[1:2], model(images[1:2]), atol=1e-5)
    assert restore(model, torch.rand(1, 3, 13, 17)).shape == (1, 3, 13, 17)


def test_bad_sizes_and_positions_say_what_to_do():
    with pytest.raises(ValueError, match="13x16.*restore"):
        create_model("vit", **TINY)(torch.rand(1, 3, 13, 16))
    with pytest.raises(ValueError, match="sinusoidal, learnt or none"):
        create_model("vit", **TINY, positions="absolute")


def test_every_weight_learns_and_the_configuration_rebuilds_the_model():
    model = perturbed(create_model("vit", **TINY, positions="learnt", grid=4))
    model(torch.rand(2, 3, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    again = create_model("vit", **model.config)
    again.load_state_dict(model.state_dict())
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(again(image), model(image))


def test_students_pieces_are_what_runs():
    calls = []

    class Attention(MultiHeadSelfAttention):
        pass

    class Block(nn.Module):
        def __init__(self, dim, heads, attention):
            super().__init__()
            self.inner = attention(dim, heads)

        def forward(self, x):
            return x + self.inner(x)

    def cut(x, patch):
        calls.append("cut")
        assert x.is_contiguous()  # a student may use view
        return patchify(x, patch)

    def join(tokens, patch, height, width):
        calls.append("join")
        return unpatchify(tokens, patch, height, width)

    def codes(height, width, dim, base):
        calls.append("codes")
        return sinusoidal_positions(height, width, dim, base)

    model = create_model("vit", **TINY, block=Block, attention=Attention, cut=cut, join=join, codes=codes)
    assert sum(isinstance(module, Attention) for module in model.modules()) == 2
    image = torch.rand(1, 3, 8, 12).contiguous(memory_format=torch.channels_last)
    model(image)
    model(image)
    assert calls == ["cut", "codes", "join", "cut", "join"]  # codes are made once for a size
