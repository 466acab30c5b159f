"""DFPIR: the official numbers and names, the shuffle as a permutation, every switch for what it does, fast form against plain."""

import golden
import pytest
import torch
import torch.nn.functional as F
from tiny_models import TINY, perturbed
from torch import nn

from course_lib.models import DFPIR, create_model
from course_lib.models.dfpir import DGPB, AttentionPerturbation, ChannelAttention, ChannelPerturbation
from course_lib.models.dfpir_blocks import COMPONENTS
from course_lib.models.official import CheckpointError, load_official, official_named_parameters, to_official
from course_lib.models.plain_dfpir import PlainDFPIR

SMALL = dict(TINY, text_width=12)
GUIDES = ("linear_layer1", "linear_layer3")


def texts(case):
    spec = case["inputs"]["normal"][0]
    return torch.randn(spec["shape"], generator=torch.Generator().manual_seed(spec["seed"]))


def relative(got, wanted):
    return float(((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12)).detach())


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def gradients(model, image, text, target):
    model.zero_grad(set_to_none=True)
    (model(image, text) - target).square().mean().backward()
    return {name: parameter.grad for name, parameter in official_named_parameters(model)}


def without_gradient(model):
    image = torch.rand(2, 3, 16, 24)
    found = gradients(model, image, torch.randn(2, model.text_width), 0.5)
    return {name for name, gradient in found.items() if gradient is None}


# The official code


@pytest.fixture(scope="module")
def official():
    file = golden.read("dfpir")
    return file, load_official("dfpir", golden.state_dict(file))


def test_golden_numbers_names_and_counts(official):
    file, model = official
    assert not model.training
    assert count(model.parameters()) == file["parameters"] == 31_104_761
    for state in (to_official(model), dict(official_named_parameters(model))):
        assert {key: list(value.shape) for key, value in state.items()} == {key: shape for key, (shape, _) in file["state_dict"].items()}
    for case in file["cases"]:
        with torch.no_grad():
            assert golden.largest_excess(model(golden.image(case), texts(case)), case["output"]) < 1, f"{case['label']} without gradients"
    output = model(golden.image(case), texts(case))
    assert golden.largest_excess(output, case["output"]) < 1, "with gradients"
    model.zero_grad(set_to_none=True)
    output.mean().backward()
    never = {name: p.numel() for name, p in official_named_parameters(model) if p.grad is None}
    model.zero_grad(set_to_none=True)
    assert set(never) == {key for key in file["state_dict"] if any(guide in key for guide in GUIDES)}
    assert sum(never.values()) == 1_789_344, "the authors' guidance layers, which their code never trains"


def test_default_shapes_are_the_official_ones(official):
    file, _ = official
    with torch.device("meta"):
        fresh = create_model("dfpir")
    assert {key: list(value.shape) for key, value in to_official(fresh).items()} == {
        key: shape for key, (shape, _) in file["state_dict"].items()
    }
    assert all(
        float(block.attn.scale.detach()) == pytest.approx(0.2)
        for block in create_model("dfpir", **SMALL).children()
        if isinstance(block, DGPB)
    )


@pytest.mark.slow
def test_official_size_equals_the_plain_form_with_gradients(official):
    """At a size that the golden file does not have, in double precision: what differs by more than rounding is a mistake."""
    _, model = official
    ours, plain = create_model("dfpir").double(), PlainDFPIR().double()
    for one in (ours, plain):
        one.load_state_dict(model.state_dict())
    image, text = torch.rand(1, 3, 24, 40).double(), torch.randn(1, 512).double()
    got, wanted = (gradients(one, image, text, 0.5) for one in (ours, plain))
    largest = max(float(gradient.abs().max()) for gradient in wanted.values() if gradient is not None)
    for name, gradient in wanted.items():
        assert (gradient is None) == (got[name] is None) == any(guide in name for guide in GUIDES)
        if gradient is not None:
            assert float((got[name] - gradient).abs().max()) < 1e-9 * max(float(gradient.abs().max()), 0.01 * largest), name


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"norm_bias": False, "expand": 1},
        {"bias": True, "text_width": 384, "guide_width": 5},
        {"in_channels": 1, "out_channels": 1, "expand": 3},
        {"expansion": 2.0, "heads": [2, 2, 4, 4], "blocks": [2, 1, 3, 1], "refinement_blocks": 2},
    ],
    ids=str,
)
def test_round_trip_reads_every_configuration(change):
    model = perturbed(create_model("dfpir", **{**SMALL, **change})).eval()
    again = load_official("dfpir", to_official(model))
    image, text = torch.rand(2, model.config["in_channels"], 16, 24), torch.randn(2, model.text_width)
    with torch.no_grad():
        assert torch.equal(again(image, text), model(image, text))
    assert {**again.config, "expansion": 0} == {**model.config, "expansion": 0}


def test_other_files_are_refused_with_their_keys():
    state = to_official(create_model("dfpir", **SMALL))
    other = {key.replace("attn4", "attn3"): value for key, value in state.items()}
    with pytest.raises(CheckpointError, match=r"4 keys missing \(encoder_shuffle_channel1.select_attn.attn4.*4 unexpected"):
        load_official("dfpir", other)
    with pytest.raises(CheckpointError, match="missing"):
        load_official("dfpir", to_official(create_model("restormer", **TINY)))
    with pytest.raises(CheckpointError, match="unexpected"):
        load_official("restormer", state)
    # the authors' files: a training checkpoint without a prefix
    content = {"epoch": 80, "state_dict": state, "optimizer": {"param_groups": [{"lr": 1e-4}]}, "scheduler": {"last_epoch": 80}}
    assert torch.equal(to_official(load_official("dfpir", content))["output.weight"], state["output.weight"])


# Fast and plain


CHANGES = [
    {}, {"norm_bias": False}, {"bias": True}, {"dim": 12, "heads": [1, 2, 3, 4]}, {"gamma": 0.5}, {"gamma": 1.0},
    {"expand": 1, "guide_width": 7}, {"form": "paper"}, {"form": "paper", "bias": True, "gamma": 0.5}, {"components": "dgcpm"},
    {"components": "ca+caapm"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("batch, height, width", [(1, 40, 48), (3, 24, 8)])
def test_outputs_and_gradients_equal_the_plain_forms(change, batch, height, width):
    config = {**SMALL, **change}
    ours, plain = perturbed(create_model("dfpir", **config)).eval(), PlainDFPIR(**config).eval()
    plain.load_state_dict(ours.state_dict())
    image, text, target = torch.rand(batch, 3, height, width), torch.randn(batch, 12), torch.rand(batch, 3, height, width)
    with torch.no_grad():
        assert relative(ours(image, text) - image, plain(image, text) - image) < 5e-5
    both = [gradients(model.double(), image.double(), text.double(), target.double()) for model in (ours, plain)]
    scale = max(float(g.abs().max()) for g in both[1].values() if g is not None)
    for name, wanted in both[1].items():
        assert (wanted is None) == (both[0][name] is None), name
        if wanted is not None:
            assert float((both[0][name] - wanted).abs().max()) < 1e-9 * max(float(wanted.abs().max()), 0.01 * scale), name


def test_strips_of_rows_change_nothing(monkeypatch):
    from course_lib.models import layers

    model, image, text = perturbed(create_model("dfpir", **SMALL)).eval(), torch.rand(2, 3, 40, 24), torch.randn(2, 12)
    with torch.no_grad():
        wanted = model(image, text)
        monkeypatch.setattr(layers, "STRIP_BYTES", 1)
        assert relative(model(image, text), wanted) < 1e-5


def test_bf16_keeps_the_order_of_the_channels():
    """Without the mask: near its edge rounding decides which score is kept, in the plain form as in ours."""
    config = dict(SMALL, text_width=512, gamma=1.0)
    ours, plain = perturbed(create_model("dfpir", **config)).eval(), PlainDFPIR(**config).eval()
    plain.load_state_dict(ours.state_dict())
    image, text = torch.rand(2, 3, 32, 40), torch.randn(2, 512)
    last = ours.shuffle4.perturb
    with torch.no_grad():
        wanted, order = plain(image, text), last.order(text)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(last.order(text), order)
            rough = last.linear2(last.linear1(text)).float().argsort(1, descending=True)
            got = ours(image, text).float()
    assert not torch.equal(rough, order), "a bf16 guidance would shuffle otherwise, so the assertion above says something"
    assert float((got - wanted).abs().max() / (wanted.max() - wanted.min())) < 3e-2


# The shuffle


@pytest.mark.parametrize("expand", [1, 2, 3])
def test_a_shuffle_is_a_permutation_and_equal_texts_share_it(expand):
    piece = ChannelPerturbation(8, text_width=20, expand=expand)
    text = torch.randn(5, 20)[[0, 1, 0, 2, 1]]
    order = piece.order(text)
    assert order.shape == (5, 8 * expand) and order.dtype == torch.int64
    assert torch.equal(order.sort(1).values, torch.arange(8 * expand).expand(5, -1))
    assert torch.equal(order[0], order[2]) and torch.equal(order[1], order[4]) and not torch.equal(order[0], order[1])
    scores = piece.linear2.weight @ (piece.linear1.weight @ text[3] + piece.linear1.bias) + piece.linear2.bias
    assert (scores[order[3]].diff() <= 0).all(), "largest first"
    assert torch.equal(piece.permutation(text), F.one_hot(order, 8 * expand).float())


def test_the_shuffle_by_hand_and_as_one_matrix():
    piece = perturbed(ChannelPerturbation(6, text_width=20))
    x, text = torch.randn(2, 6, 5, 7), torch.randn(2, 20)
    with torch.no_grad():
        got, (matrix, constant) = piece(x, text), piece.matrix(text)
        for index in range(2):
            wide = F.conv2d(x[index : index + 1], piece.widen.weight, piece.widen.bias)
            shuffled = torch.cat([wide[:, channel : channel + 1] for channel in piece.order(text)[index].tolist()], dim=1)
            assert torch.allclose(got[index : index + 1], F.conv2d(shuffled, piece.narrow.weight, piece.narrow.bias), atol=1e-5)
            by_matrix = torch.einsum("oc,chw->ohw", matrix[index], x[index]) + constant[index][:, None, None]
            assert torch.allclose(got[index], by_matrix, atol=1e-5)
        assert torch.allclose(piece(x, text[:1]), piece(x, text[:1].expand(2, -1)), atol=1e-6), "one text for all"


def test_guidance_decides_whether_the_guides_learn():
    x, text = torch.randn(2, 6, 5, 7), torch.randn(2, 20, requires_grad=True)
    pieces = {guidance: ChannelPerturbation(6, text_width=20, guidance=guidance) for guidance in ("fixed", "straight_through", "soft")}
    outputs = {}
    for guidance, piece in pieces.items():
        piece.load_state_dict(pieces["fixed"].state_dict())
        text.grad = None
        outputs[guidance] = piece(x, text)
        outputs[guidance].square().mean().backward()
        learns = guidance != "fixed"
        assert (text.grad is not None and text.grad.abs().max() > 0) == learns
        for guide in (piece.linear1.weight, piece.linear2.weight, piece.linear2.bias):
            assert (guide.grad is not None and guide.grad.abs().max() > 0) == learns
        assert piece.widen.weight.grad.abs().max() > 0
    assert torch.allclose(outputs["straight_through"], outputs["fixed"], atol=1e-5), "the same values, another slope"
    assert relative(outputs["soft"], outputs["fixed"]) > 0.01
    pieces["soft"].tau = 1e-5
    assert torch.allclose(pieces["soft"](x, text), outputs["fixed"], atol=1e-3), "a sharp soft sort is the sort"
    rows = pieces["soft"].permutation(text).sum(-1)
    assert torch.allclose(rows, torch.ones_like(rows))
    assert torch.allclose(pieces["straight_through"].widen.weight.grad, pieces["fixed"].widen.weight.grad, atol=1e-5)


# The masked attention


@pytest.mark.parametrize("form, along", [("code", -1), ("paper", -2)])
@pytest.mark.parametrize("gamma, kept", [(0.9, 9), (0.5, 5), (0.05, 1), (1.0, 10)])
def test_gamma_keeps_so_many_of_a_row_or_column(form, along, gamma, kept):
    piece = AttentionPerturbation(20, 2, gamma=gamma, form=form)
    scores = torch.randn(3, 2, 10, 10).round(decimals=1)  # with ties
    mask = piece.mask(scores)
    assert piece.kept == kept and (mask.sum(along) == kept).all()
    assert (scores.where(mask, torch.inf).amin(along) >= scores.where(~mask, -torch.inf).amax(along)).all()


def test_the_mask_is_minus_infinity_in_the_code_and_zero_in_the_paper():
    cosine = torch.tensor([[0.9, -0.2, 0.1], [0.3, 0.8, -0.5], [0.2, 0.1, 0.7]])[None, None]
    code, paper = (AttentionPerturbation(3, 1, gamma=0.67, form=form) for form in ("code", "paper"))
    with torch.no_grad():
        code.temperature.fill_(2.0)
        code.scale.fill_(0.5)
        row = torch.tensor([0.9, -torch.inf, 0.1]) * 2
        assert torch.allclose(code.weights(cosine)[0, 0, 0], 0.5 * row.softmax(0))
        assert torch.allclose(code.weights(cosine).sum(-1), torch.tensor(0.5)) and code.weights(cosine)[0, 0, 0, 1] == 0
        kept = torch.tensor([[0.9, 0.0, 0.1], [0.3, 0.8, 0.0], [0.0, 0.1, 0.7]]) * 3**-0.5  # two of each column
        assert torch.allclose(paper.weights(cosine)[0, 0], kept.softmax(-1)) and (paper.weights(cosine) > 0).all()
    assert {name for name, _ in code.named_parameters()} - {name for name, _ in paper.named_parameters()} == {"temperature", "scale"}


def test_a_dead_channel_gives_no_nan():
    piece = AttentionPerturbation(8, 2)
    with torch.no_grad():
        piece.q.weight[:4] = 0
    x = torch.randn(1, 8, 6, 6, requires_grad=True)
    piece(x, x).sum().backward()
    assert all(torch.isfinite(value).all() for value in (x.grad, piece.q.weight.grad, piece.kv.weight.grad))


# The block and the network


def test_the_block_by_hand_in_both_forms():
    x, text = torch.randn(2, 8, 6, 6), torch.randn(2, 12)
    for form in ("code", "paper"):
        block = perturbed(DGPB(8, 2, 12, form=form))
        with torch.no_grad():
            attended = block.attn(block.norm1(block.perturb(x, text)), block.norm2(x))
            attended = attended + x if form == "paper" else attended
            assert torch.allclose(block(x, text), attended + block.ffn(block.norm3(attended)), atol=1e-6)


def test_the_rows_of_table_3():
    """What each row holds, and which of its parameters learn: channel attention trains the guides that the shuffle leaves alone."""
    sizes = {}
    for components in COMPONENTS:
        model = perturbed(create_model("dfpir", **SMALL, components=components)).eval()
        sizes[components] = count(model.parameters())
        kinds = {type(module) for module in model.modules()}
        assert (ChannelPerturbation in kinds) == ("dgcpm" in components)
        assert (ChannelAttention in kinds) == ("ca" in components.split("+"))
        assert (AttentionPerturbation in kinds) == ("caapm" in components)
        never = without_gradient(model)
        assert len(never) == (16 if "dgcpm" in components else 0), components
        image, text = torch.rand(2, 3, 16, 16), torch.randn(2, 12)
        with torch.no_grad():
            told = relative(model(image, text), model(image, text.flip(0))) > 1e-6
        assert told == any(part in components.split("+") for part in ("ca", "dgcpm")), "whether the text matters"
    assert sizes[""] < sizes["ca"] < sizes["dgcpm"] < sizes["dgcpm+caapm"] and sizes["caapm"] < sizes["ca+caapm"]
    baseline, restormer = create_model("dfpir", **SMALL, components=""), create_model("restormer", **TINY)
    restormer.load_state_dict(baseline.state_dict())
    with torch.no_grad():
        assert torch.equal(baseline(image, text), restormer(image))


def test_the_text_reaches_all_four_places():
    model = perturbed(create_model("dfpir", **SMALL)).eval()
    seen = {}
    for place in (1, 2, 3, 4):
        getattr(model, f"shuffle{place}").register_forward_hook(lambda _m, inputs, _o, place=place: seen.update({place: inputs}))
    text = torch.randn(12)
    with torch.no_grad():
        model(torch.rand(2, 3, 32, 48), text)
    assert {place: tuple(inputs[0].shape[1:]) for place, inputs in seen.items()} == {
        1: (8, 32, 48), 2: (16, 16, 24), 3: (32, 8, 12), 4: (64, 4, 6)
    }  # fmt: skip
    assert all(torch.equal(inputs[1], text[None]) for inputs in seen.values())


class MyShuffle(nn.Module):
    def __init__(self, channels, text_width):
        super().__init__()
        self.gain = nn.Linear(text_width, channels)

    def forward(self, x, text):
        return x * self.gain(text)[:, :, None, None]


class MyAttention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, query, x):
        return self.mix(torch.cat([query, x], dim=1))


class MyBlock(nn.Module):
    def __init__(self, channels, heads, text_width):
        super().__init__()
        self.shift = nn.Linear(text_width, channels)

    def forward(self, x, text):
        return x + self.shift(text)[:, :, None, None]


@pytest.mark.parametrize("pieces", [dict(perturbation=MyShuffle), dict(attention_perturbation=MyAttention), dict(block=MyBlock)], ids=str)
def test_students_pieces_are_what_trains(pieces):
    model = create_model("dfpir", **SMALL, **pieces)
    mine = tuple(pieces.values())[0]
    theirs = {"perturbation": ChannelPerturbation, "attention_perturbation": AttentionPerturbation, "block": DGPB}[next(iter(pieces))]
    assert sum(isinstance(module, mine) for module in model.modules()) == 4
    assert not any(isinstance(module, theirs) for module in model.modules())
    model(torch.rand(2, 3, 16, 24), torch.randn(2, 12)).mean().backward()
    assert all(p.grad is not None for module in model.modules() if isinstance(module, mine) for p in module.parameters())


def test_small_sizes():
    model = create_model("dfpir", dim=16, blocks=[1, 2, 2, 3], refinement_blocks=1, heads=[1, 2, 4, 8], text_width=384)
    with torch.no_grad():
        assert model(torch.rand(1, 3, 64, 64), torch.randn(384)).shape == (1, 3, 64, 64)
    assert create_model("dfpir", **model.config).config == model.config


def test_errors():
    model = create_model("dfpir", **SMALL)
    with pytest.raises(ValueError, match="12x16.*restore"):
        model(torch.rand(1, 3, 12, 16), torch.randn(12))
    with pytest.raises(ValueError, match=r"12 numbers.*\(1, 13\)"):
        model(torch.rand(1, 3, 16, 16), torch.randn(13))
    with pytest.raises(ValueError, match=r"each of 3 images; got \(2, 12\)"):
        model(torch.rand(3, 3, 16, 16), torch.randn(2, 12))
    with pytest.raises(ValueError, match="four levels"):
        DFPIR(blocks=[1, 2, 3])
    for wrong, words in (
        ({"components": "dgcpm+ca"}, "components.*dgcpm.caapm"), ({"form": "book"}, "form.*'book'"), ({"gamma": 0.0}, "gamma"),
        ({"gamma": 1.1}, "gamma"), ({"guidance": "hard"}, "guidance.*'hard'"), ({"heads": [1, 1, 3, 3]}, "32 channels.*3 heads"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            DFPIR(**{**SMALL, **wrong})
