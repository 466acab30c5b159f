"""The DDPM U-Net: golden numbers, an independent transcription, configurations, conditions, a student's pieces, what is refused."""

import golden
import pytest
import torch
from tiny_models import perturbed
from torch import nn
from unets import Official

from course_lib.models import create_model, list_models
from course_lib.models.official import CheckpointError, load_official, official_named_parameters, to_official
from course_lib.models.unet_parts import Attention, LinearAttention, RMSNorm, SinusoidalEmbedding

TINY = dict(dim=8, dim_mults=[1, 2], heads=2, head_width=4, memory=3)


def tiny(**change):
    return perturbed(create_model("ddpm_unet", **{**TINY, **change})).eval()


def shapes(named):
    return {key: list(value.shape) for key, value in dict(named).items()}


def test_golden_numbers_names_and_counts():
    file = golden.read("ddpm_unet_lucidrains")
    model = load_official("ddpm_unet", golden.state_dict(file))
    assert not model.training and "ddpm_unet" in list_models()
    assert sum(p.numel() for p in model.parameters()) == file["parameters"]
    wanted = {key: shape for key, (shape, _) in file["state_dict"].items()}
    assert shapes(to_official(model)) == wanted and shapes(official_named_parameters(model)) == wanted
    for case in file["cases"]:
        t = torch.tensor(case["inputs"]["t"])
        with torch.no_grad():
            assert golden.largest_excess(model(golden.image(case), t), case["output"]) < 1
    assert golden.largest_excess(model(golden.image(case), t), case["output"]) < 1, "with gradients"


def test_published_size():
    with torch.device("meta"):
        assert sum(p.numel() for p in create_model("ddpm_unet").parameters()) == 35_711_491


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"in_channels": 1, "out_channels": 2},
        {"init_dim": 12},
        {"dim_mults": [1, 2, 2], "full_attention": [True, False, True]},
        {"dim": 4, "dim_mults": [3], "heads": 1, "memory": 1},
    ],
    ids=str,
)
def test_every_configuration_is_read_and_computes_what_the_official_code_does(change):
    model = tiny(**change).double()
    state = to_official(model)
    again = load_official("ddpm_unet", {key: value.clone() for key, value in state.items()}).double()
    assert again.config == model.config
    side = 4 * model.size_multiple
    x, t = torch.randn(2, model.config["in_channels"], side, side + model.size_multiple, dtype=torch.float64), [3.0, 700.5]
    wanted = Official(state, new=True, heads=model.config["heads"])(x, t)
    assert torch.allclose(model(x, torch.tensor(t)), wanted, atol=1e-5)  # the times' sines are taken in single precision
    assert torch.equal(again(x, torch.tensor(t)), model(x, torch.tensor(t)))


def test_gradients_equal_the_transcription():
    model = tiny().double()
    x, t = torch.randn(2, 3, 8, 12, dtype=torch.float64), torch.tensor([0.0, 0.0])  # at t = 0 the sines are exact
    model(x, t).square().sum().backward()
    state = {key: value.detach().clone().requires_grad_() for key, value in official_named_parameters(model)}
    Official(state, new=True, heads=2)(x, t).square().sum().backward()
    for key, parameter in official_named_parameters(model):
        assert torch.allclose(parameter.grad, state[key].grad, rtol=1e-8, atol=1e-8 * float(state[key].grad.abs().max())), key


def test_times_one_for_all_or_one_each():
    model = tiny()
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        both = model(x, torch.tensor([5, 5, 5]))
        for t in (5, torch.tensor(5), torch.tensor([5]), torch.tensor([5.0])):
            assert torch.equal(model(x, t), both)
        assert not torch.allclose(model(x, 6), both)
        for index in range(3):
            alone = model(x[index : index + 1], torch.tensor([5]))
            assert torch.allclose(alone, both[index : index + 1], atol=1e-5)
    with pytest.raises(ValueError, match="one time for each of the 3 images"):
        model(x, torch.tensor([1, 2]))


def test_embedding_by_hand():
    t = torch.tensor([0.0, 3.0, 999.0], dtype=torch.float64)
    got = SinusoidalEmbedding(8)(t)
    frequencies = torch.tensor([1, 10000 ** (-1 / 3), 10000 ** (-2 / 3), 1e-4], dtype=torch.float64)
    assert torch.allclose(got, torch.cat([(t[:, None] * frequencies).sin(), (t[:, None] * frequencies).cos()], 1), atol=1e-4)
    for dim in (2, 7):
        with pytest.raises(ValueError, match="even and at least 4"):
            SinusoidalEmbedding(dim)


def test_norm_of_small_and_large_maps_stays_finite():
    norm = RMSNorm(4)
    assert torch.equal(norm(torch.zeros(1, 4, 2, 2)), torch.zeros(1, 4, 2, 2))
    x = torch.randn(1, 4, 2, 2)
    assert torch.allclose(norm(x).square().mean(1), torch.ones(1, 2, 2))
    assert torch.allclose(norm((300 * x).half()).float(), norm(x), atol=1e-2)  # the sum of squares alone would pass fp16's range


@pytest.mark.parametrize("kind", [LinearAttention, Attention])
def test_attention_without_memory_or_with_other_pixel_order(kind):
    attention = kind(6, heads=2, head_width=4, memory=0)
    assert not any("mem_kv" in key for key, _ in attention.named_parameters())
    x = torch.randn(2, 6, 3, 5)
    order = torch.randperm(15)
    mixed = attention(x.flatten(2)[..., order].view(2, 6, 3, 5)).flatten(2)
    assert torch.allclose(mixed, attention(x).flatten(2)[..., order], atol=1e-5)


def test_bf16_autocast_is_close():
    model = tiny()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        wanted = model(x, 7)
        with torch.autocast("cpu", torch.bfloat16):
            got = model(x, 7).float()
    assert float((got - wanted).abs().max() / (wanted.max() - wanted.min())) < 0.05


def test_conditions_by_concatenation_and_by_cross_attention():
    model = create_model("ddpm_unet", **TINY, in_channels=5, out_channels=3, context_width=6)
    x, extra, words = torch.randn(2, 3, 8, 8), torch.randn(2, 2, 8, 8), torch.randn(2, 4, 6)
    plain = model(x, 3, concat=extra)
    assert torch.allclose(model(x, 3, concat=extra, context=words), plain)  # a new condition changes nothing before training
    perturbed(model)
    asked = model(x, 3, concat=extra, context=words)
    assert not torch.allclose(asked, model(x, 3, concat=extra, context=words.flip(0)))
    assert torch.allclose(asked, model(x, 3, concat=extra, context=words.flip(1)), atol=1e-5)  # a set, without order
    assert torch.allclose(model(x, 3, concat=extra, context=words[:, 0]), model(x, 3, concat=extra, context=words[:, :1]), atol=1e-6)
    asked.mean().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "cross" in name)
    with pytest.raises(ValueError, match="context_width"):
        tiny()(x, 3, context=words)


class MyBlock(nn.Module):
    def __init__(self, channels, out_channels, time_width):
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_width, out_channels)

    def forward(self, x, time):
        return self.conv(x) + self.time(time)[:, :, None, None]


class MyAttention(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)


def test_students_pieces_are_what_trains():
    model = create_model("ddpm_unet", **TINY, block=MyBlock, attention=MyAttention)
    assert sum(isinstance(module, MyBlock) for module in model.modules()) == 2 * 4 + 2 + 1
    assert sum(isinstance(module, MyAttention) for module in model.modules()) == 4
    model(torch.randn(1, 3, 8, 8), 1).mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_what_is_refused():
    with pytest.raises(ValueError, match="sides that divide by 2; got 9x8.*pad_to_multiple"):
        tiny()(torch.randn(1, 3, 9, 8), 1)
    with pytest.raises(ValueError, match="2 levels"):
        create_model("ddpm_unet", **TINY, full_attention=[True])
    state = to_official(tiny())
    with pytest.raises(CheckpointError, match=r"1 keys missing \(downs.1.2.to_qkv.weight\)"):
        load_official("ddpm_unet", {key: value for key, value in state.items() if key != "downs.1.2.to_qkv.weight"})
    with pytest.raises(CheckpointError, match="unexpected"):
        load_official("ddpm_unet", to_official(create_model("rddm", dim=8, dim_mults=[1, 2])))
