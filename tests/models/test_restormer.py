"""The fast layers against their plain forms: values, gradients, strips, precisions; and the pieces a student may replace."""

import pytest
import torch
import torch.nn.functional as F
from tiny_models import perturbed
from torch import nn

from course_lib.models import create_model, layers
from course_lib.models.layers import GDFN, MDTA, LayerNorm, TokenAttention
from course_lib.models.plain import PlainGDFN, PlainMDTA, PlainRestormer

SIZES = [(1, 256, 64), (3, 40, 24), (2, 8, 104), (1, 8, 8)]


def relative(got, wanted):
    return float(((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12)).detach())


def pair(config, **change):
    config = {**config, **change}
    ours = perturbed(create_model("restormer", **config)).eval()
    plain = PlainRestormer(**config).eval()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.fixture(params=[{}, {"norm_bias": False}, {"bias": True}, {"dim": 12, "heads": [1, 2, 3, 4], "expansion": 2.66}], ids=str)
def both(request, tiny_config):
    return pair(tiny_config, **request.param)


@pytest.mark.parametrize("batch, height, width", SIZES)
@pytest.mark.parametrize("strip", [1, 64 << 10, 8 << 20])
def test_inference_equals_the_plain_form(both, monkeypatch, batch, height, width, strip):
    monkeypatch.setattr(layers, "STRIP_BYTES", strip)
    ours, plain = both
    image = torch.rand(batch, 3, height, width)
    with torch.no_grad():
        cut = len(layers.row_strips(torch.empty(batch, 8, height, width), 24))
        assert cut > 1 or strip > 1 or height <= 8, "the strips must really cut"
        assert relative(ours(image) - image, plain(image) - image) < 1e-5
    with torch.inference_mode():
        assert relative(ours(image), plain(image)) < 1e-5


@pytest.mark.parametrize("batch, height, width", SIZES[1:3])
def test_gradients_equal_the_plain_forms(both, batch, height, width):
    ours, plain = both
    image = torch.rand(batch, 3, height, width)
    target = torch.rand(batch, 3, height, width)
    gradients = []
    for model in both:
        x = image.clone().requires_grad_()
        (model(x) - target).square().mean().backward()
        gradients.append({"image": x.grad, **{name: p.grad for name, p in model.named_parameters()}})
    assert gradients[0].keys() == gradients[1].keys()
    scale = max(g.abs().max() for name, g in gradients[1].items() if name != "image")
    for name, wanted in gradients[1].items():
        # a bias before a normalisation has a gradient that is only rounding; measure against the largest as well
        difference = float((gradients[0][name] - wanted).abs().max())
        assert difference < 1e-5 * max(float(wanted.abs().max()), 0.01 * float(scale)) + 1e-9, name


def test_double_precision_agrees_to_rounding(tiny_config):
    ours, plain = (model.double() for model in pair(tiny_config, bias=True))
    image = torch.rand(2, 3, 24, 40, dtype=torch.float64)
    with torch.no_grad():
        assert relative(ours(image), plain(image)) < 1e-12


def test_bf16_autocast_is_close(tiny_config):
    ours, plain = pair(tiny_config)
    image = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        wanted = plain(image)
        with torch.autocast("cpu", torch.bfloat16):
            got = ours(image)
    assert float((got.float() - wanted).abs().max() / (wanted.max() - wanted.min())) < 2e-2


@pytest.mark.parametrize("dim, heads, bias", [(8, 1, False), (12, 3, True), (16, 4, False)])
def test_mdta_and_gdfn_alone(dim, heads, bias, monkeypatch):
    monkeypatch.setattr(layers, "STRIP_BYTES", 1)
    x = torch.randn(2, dim, 19, 13)
    for fast, plain in ((MDTA(dim, heads, bias), PlainMDTA(dim, heads, bias)), (GDFN(dim, 2.66, bias), PlainGDFN(dim, 2.66, bias))):
        plain.load_state_dict(perturbed(fast).state_dict())
        with torch.no_grad():
            assert relative(fast(x), plain(x)) < 1e-5
        assert relative(fast(x), plain(x)) < 1e-5


def test_mdta_on_constant_and_zero_maps_is_finite():
    attention = MDTA(8, 2)
    for x in (torch.zeros(1, 8, 8, 8), torch.full((1, 8, 8, 8), 1e-20)):
        with torch.no_grad():
            assert attention(x).isfinite().all()


def test_layer_norm_forms():
    x = 3 + 2 * torch.randn(2, 6, 5, 7)
    biased = perturbed(LayerNorm(6))
    wanted = F.layer_norm(x.permute(0, 2, 3, 1), (6,), biased.weight, biased.bias).permute(0, 3, 1, 2)
    assert torch.allclose(biased(x), wanted, atol=1e-6)
    free = perturbed(LayerNorm(6, bias=False))
    wanted = x / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5) * free.weight.view(1, 6, 1, 1)
    assert torch.allclose(free(x), wanted, atol=1e-5)


def test_token_attention_equals_torch():
    module = TokenAttention(8, 2)
    reference = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(module.qkv.weight[..., 0, 0])
        reference.out_proj.weight.copy_(module.project_out.weight[..., 0, 0])
    x = torch.randn(2, 8, 5, 6)
    tokens = x.flatten(2).transpose(1, 2)
    wanted = reference(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(2, 8, 5, 6)
    assert torch.allclose(module(x), wanted, atol=1e-5)
    for kind in (TokenAttention, MDTA):
        with pytest.raises(ValueError, match="8 channels do not divide into 3 heads"):
            kind(8, 3)


def test_batch_items_do_not_see_each_other(tiny):
    images = torch.rand(3, 3, 16, 24)
    with torch.no_grad():
        together = tiny(images)
        for i in range(3):
            assert relative(together[i], tiny(images[i : i + 1])[0]) < 1e-5


def test_input_layout_and_the_input_itself_are_left_alone(tiny):
    image = torch.rand(2, 3, 16, 24)
    before = image.clone()
    with torch.no_grad():
        plain, last = tiny(image), tiny(image.contiguous(memory_format=torch.channels_last))
    assert torch.equal(image, before) and relative(plain, last) < 1e-6


def test_students_pieces_are_what_trains(tiny_config):
    class MyAttention(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.scale = nn.Parameter(torch.full((dim, 1, 1), float(heads)))

        def forward(self, x):
            return x * self.scale

    class MyFeedForward(nn.Module):
        def __init__(self, dim, expansion):
            super().__init__()
            self.conv = nn.Conv2d(dim, dim, 1)

        def forward(self, x):
            return self.conv(x)

    calls = []

    def unshuffle(x, r):
        calls.append("down")
        return F.pixel_unshuffle(x, r)

    def shuffle(x, r):
        calls.append("up")
        return F.pixel_shuffle(x, r)

    model = create_model(
        "restormer", **tiny_config, attention=MyAttention, feed_forward=MyFeedForward, unshuffle=unshuffle, shuffle=shuffle
    )
    assert sum(isinstance(m, MyAttention) for m in model.modules()) == sum(isinstance(m, MyFeedForward) for m in model.modules()) == 8
    model(torch.rand(1, 3, 16, 16)).mean().backward()
    assert calls == ["down"] * 3 + ["up"] * 3
    assert all(m.scale.grad is not None for m in model.modules() if isinstance(m, MyAttention))


def test_sides_that_do_not_divide_by_eight_say_what_to_use(tiny):
    with pytest.raises(ValueError, match="12x16.*restore"):
        tiny(torch.rand(1, 3, 12, 16))


@pytest.mark.parametrize("norm_bias", [True, False])
def test_a_black_image_trains(norm_bias, tiny_config):
    """Bias-free, a black image makes every channel exactly zero: the norms in the attention must not turn gradients into NaN."""
    model = create_model("restormer", **tiny_config, norm_bias=norm_bias)
    model(torch.zeros(1, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is None or torch.isfinite(parameter.grad).all() for parameter in model.parameters())
