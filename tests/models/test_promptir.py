"""PromptIR: the official numbers and names, the fast form against the plain one, the prompts themselves, and what a student may replace."""

import golden
import pytest
import torch
import torch.nn.functional as F
from tiny_models import TINY, perturbed
from torch import nn

from course_lib.datasets.pairs import noise_of
from course_lib.models import PromptIR, create_model, list_models
from course_lib.models.official import CheckpointError, load_official, official_named_parameters, to_official
from course_lib.models.plain import PlainPromptIR
from course_lib.models.promptir import PromptGenBlock, PromptInteraction, watch_prompts
from course_lib.training import Recipe, fit
from course_lib.training.log import read_log

SMALL = dict(TINY, prompt_sides=[16, 8, 4])
UNUSED = ("chnl_reduce", "reduce_noise_channel_")


def relative(got, wanted):
    return float(((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12)).detach())


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def pair(**change):
    config = {**SMALL, **change}
    ours = perturbed(create_model("promptir", **config)).eval()
    plain = PlainPromptIR(**config).eval()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.fixture
def small():
    return perturbed(create_model("promptir", **SMALL)).eval()


# The official code


@pytest.fixture(scope="module")
def official():
    file = golden.read("promptir")
    return file, load_official("promptir", golden.state_dict(file))


def test_golden_numbers_names_and_counts(official):
    file, model = official
    assert not model.training and "promptir" in list_models()
    assert count(model.parameters()) == file["parameters"] == 35_592_263
    for state in (to_official(model), dict(official_named_parameters(model))):
        assert {key: list(value.shape) for key, value in state.items()} == {key: shape for key, (shape, _) in file["state_dict"].items()}
    for case in file["cases"]:
        image = golden.image(case)
        with torch.no_grad():
            assert golden.largest_excess(model(image), case["output"]) < 1, f"{case['label']} without gradients"
    assert golden.largest_excess(model(image), case["output"]) < 1, "with gradients"


def test_default_shapes_are_the_official_ones(official):
    file, _ = official
    with torch.device("meta"):
        fresh = create_model("promptir")
    assert {key: list(value.shape) for key, value in to_official(fresh).items()} == {
        k: shape for k, (shape, _) in file["state_dict"].items()
    }
    unused = [parameter for name, parameter in fresh.named_parameters() if name.startswith(UNUSED)]
    assert len(unused) == 6 and count(unused) == 215_296


@pytest.mark.slow
def test_official_size_equals_the_plain_form_with_gradients(official):
    """At a size that the golden file does not have; unused modules get no gradient, everything else gets one, under its official name."""
    _, model = official
    plain = PlainPromptIR()
    plain.load_state_dict(model.state_dict())
    image, target = torch.rand(1, 3, 24, 40), torch.rand(1, 3, 24, 40)
    gradients = []
    for one in (model, plain):
        one.zero_grad(set_to_none=True)
        F.l1_loss(one(image), target).backward()
        gradients.append({name: parameter.grad for name, parameter in official_named_parameters(one)})
    model.zero_grad(set_to_none=True)
    largest = max(gradient.abs().max() for gradient in gradients[1].values() if gradient is not None)
    for name, wanted in gradients[1].items():
        if name.startswith(UNUSED):
            assert wanted is None and gradients[0][name] is None
        else:
            assert float((gradients[0][name] - wanted).abs().max()) < 1e-4 * max(float(wanted.abs().max()), 0.01 * float(largest)), name


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"norm_bias": False},
        {"bias": True, "prompt_components": 3},
        {"in_channels": 1, "out_channels": 1, "prompt_widths": [8, 16, 40], "prompt_sides": [12, 10, 6]},
        {"expansion": 2.0, "heads": [2, 2, 4, 4], "blocks": [2, 1, 3, 1], "refinement_blocks": 2},
        {"expansion": 1.33, "dim": 16, "prompt_sides": None},
    ],
    ids=str,
)
def test_round_trip_reads_every_configuration(change):
    model = perturbed(create_model("promptir", **{**SMALL, **change})).eval()
    again = load_official("promptir", to_official(model))
    image = torch.rand(1, model.config["in_channels"], 16, 24)
    with torch.no_grad():
        assert torch.equal(again(image), model(image))
    assert {**again.config, "expansion": 0} == {**model.config, "expansion": 0}


def test_lightning_file(tmp_path, small):
    """The released file: `net.` before every key, a loss with weights beside it, the trainer's own entries around it."""
    state = {f"net.{key}": value for key, value in to_official(small).items()}
    content = {
        "epoch": 119, "global_step": 534_000, "pytorch-lightning_version": "2.0.1", "loops": {}, "lr_schedulers": [{"last_epoch": 119}],
        "callbacks": {"ModelCheckpoint": {"best_model_path": ""}}, "optimizer_states": [{"state": {0: {"step": torch.tensor(5.0)}}}],
        "state_dict": {**state, "loss_fn.weight": torch.ones(3)},
    }  # fmt: skip
    torch.save(content, tmp_path / "model.ckpt")
    loaded = load_official("promptir", tmp_path / "model.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), small.state_dict().values(), strict=True))


def test_other_files_are_refused_with_their_keys(small):
    state = to_official(small)
    with pytest.raises(CheckpointError, match=r"1 keys missing \(prompt2.linear_layer.bias\), 1 unexpected \(prompt2.bias\)"):
        load_official("promptir", {"prompt2.bias" if key == "prompt2.linear_layer.bias" else key: value for key, value in state.items()})
    with pytest.raises(CheckpointError, match=r"1 keys missing \(reduce_noise_level1.weight\)"):
        load_official("promptir", {key: value for key, value in state.items() if key != "reduce_noise_level1.weight"})
    with pytest.raises(CheckpointError, match="missing"):
        load_official("promptir", to_official(create_model("restormer", **TINY)))
    with pytest.raises(CheckpointError, match="unexpected"):
        load_official("restormer", state)


def test_a_file_saved_without_prompts_is_refused(official):
    """What the official constructor's default, decoder=False, would save."""
    file, _ = official
    state = {key: value for key, value in golden.state_dict(file).items() if not key.startswith("prompt")}
    with pytest.raises(CheckpointError, match=r"not a promptir.* 12 keys missing \(prompt3.prompt_param.*, 0 unexpected.*, 0 of another"):
        load_official("promptir", state)


# Fast and plain


@pytest.mark.parametrize("change", [{}, {"norm_bias": False}, {"bias": True}, {"dim": 12, "heads": [1, 2, 3, 4]}], ids=str)
@pytest.mark.parametrize("batch, height, width", [(1, 64, 72), (3, 40, 24), (2, 8, 8)])
def test_outputs_and_gradients_equal_the_plain_forms(change, batch, height, width):
    ours, plain = pair(**change)
    image, target = torch.rand(batch, 3, height, width), torch.rand(batch, 3, height, width)
    with torch.no_grad():
        assert relative(ours(image) - image, plain(image) - image) < 1e-5
    gradients = []  # in double precision: what differs by more than rounding is a mistake
    for model in (ours.double(), plain.double()):
        (model(image.double()) - target).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if not name.startswith(UNUSED)})
    scale = max(float(g.abs().max()) for g in gradients[1].values())
    for name, wanted in gradients[1].items():
        assert float((gradients[0][name] - wanted).abs().max()) < 1e-9 * max(float(wanted.abs().max()), 0.01 * scale), name


def test_bf16_autocast_is_close():
    ours, plain = pair()
    image = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        wanted = plain(image)
        with torch.autocast("cpu", torch.bfloat16):
            got = ours(image).float()
    assert float((got - wanted).abs().max() / (wanted.max() - wanted.min())) < 2e-2


def test_memory_layouts(small):
    image = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        wanted = small(image)
        for layout in (torch.contiguous_format, torch.channels_last):  # torch itself refuses channels_last for the 5-D prompts
            assert nn.Sequential(small).to(memory_format=layout)[0] is small
            assert small.prompt1.prompt_param.shape == (1, 5, 8, 16, 16)
            assert small.prompt1.prompt_param[0].is_contiguous(memory_format=layout)
            assert relative(small(image.contiguous(memory_format=layout)), wanted) < 1e-6


# The prompts


@pytest.mark.parametrize("height, width", [(9, 13), (4, 4), (2, 3)])
def test_prompt_block_by_hand(height, width):
    block = perturbed(PromptGenBlock(6, 8, components=3, side=4))
    x = torch.randn(2, 6, height, width)
    for image, prompt in zip(x, block(x), strict=True):
        score = block.linear_layer.weight @ image.flatten(1).mean(1) + block.linear_layer.bias
        w = score.exp() / score.exp().sum()
        mixture = w[0] * block.prompt_param[0, 0] + w[1] * block.prompt_param[0, 1] + w[2] * block.prompt_param[0, 2]
        resized = F.interpolate(mixture[None], (height, width), mode="bilinear")
        assert torch.allclose(prompt, F.conv2d(resized, block.conv3x3.weight, padding=1)[0], atol=1e-5)


def test_weights_are_seen_and_replaced(small):
    images = torch.rand(3, 3, 32, 32) * torch.tensor([0.1, 0.5, 1.0]).view(3, 1, 1, 1)
    with torch.no_grad():
        before = small(images)
        with watch_prompts(small) as seen:
            assert torch.equal(small(images), before)
            small(images[:1])
        assert {name: [w.shape for w in weights] for name, weights in seen.items()} == {f"prompt{i}": [(3, 5), (1, 5)] for i in (1, 2, 3)}
        own = {name: weights[0] for name, weights in seen.items()}
        assert all(torch.allclose(w.sum(1), torch.ones(3)) and w.std(0).max() > 1e-4 for w in own.values())
        with watch_prompts(small, own):
            assert torch.allclose(small(images), before, atol=1e-6)
        one_hot = torch.eye(5)[2]
        with watch_prompts(small, {"prompt2": one_hot}) as seen:
            changed = small(images)
        assert (seen["prompt2"][0] == one_hot).all() and relative(changed, before) > 1e-4
        # the third component everywhere, by other means
        small.prompt2.linear_layer.bias += 1e4 * one_hot
        assert torch.allclose(small(images), changed, atol=1e-5)
    for wrong, words in (({"prompt4": one_hot}, "prompt4.*prompt1"), ({"prompt1": torch.ones(4)}, r"\(4,\), expected \(3, 5\)")):
        with pytest.raises(ValueError, match=words), watch_prompts(small, wrong):
            small(images)
    assert not any(module._forward_hooks for module in small.modules())
    with pytest.raises(ValueError, match="none"), watch_prompts(create_model("restormer", **TINY)):
        pass


def test_small_models_have_small_prompts():
    shapes = {dim: create_model("promptir", **{**TINY, "dim": dim}).config for dim in (8, 16, 24)}
    assert [config["prompt_sides"] for config in shapes.values()] == [[16, 8, 4], [32, 16, 8], [32, 16, 8]]
    for dim, config in shapes.items():
        for width, official_width in zip(config["prompt_widths"], (64, 128, 320), strict=True):
            assert abs(width - official_width * dim / 48) <= 4


# A student's pieces, training, errors


class MyPrompt(nn.Module):
    def __init__(self, features, width, components, side):
        super().__init__()
        self.table = nn.Parameter(torch.rand(components, width))
        self.softmax = nn.Softmax(dim=1)
        self.linear = nn.Linear(features, components)

    def forward(self, x):
        weights = self.softmax(self.linear(x.mean((2, 3))))
        return (weights @ self.table)[:, :, None, None].expand(-1, -1, *x.shape[-2:])


class MyInteraction(nn.Module):
    def __init__(self, features, width, out_channels, heads):
        super().__init__()
        self.scale = nn.Conv2d(width, features, 1)
        self.reduce = nn.Conv2d(features, out_channels, 1)

    def forward(self, x, prompt):
        return self.reduce(x * self.scale(prompt))


def test_students_pieces_are_what_trains():
    model = create_model("promptir", **SMALL, prompt=MyPrompt, interaction=MyInteraction)
    assert not any(isinstance(module, (PromptGenBlock, PromptInteraction)) for module in model.modules())
    with watch_prompts(model) as seen:
        model(torch.rand(2, 3, 16, 24)).mean().backward()
    assert seen["prompt3"][0].shape == (2, 5)
    assert all(p.grad is not None for name, p in model.named_parameters() if name.startswith(("prompt", "interact")))
    del model.prompt1.softmax
    with pytest.raises(ValueError, match="prompt1 is a MyPrompt without.*softmax"), watch_prompts(model):
        pass


def test_training_goes_on_bit_for_bit_and_leaves_unused_modules_alone(tmp_path, photos):
    """Fused AdamW walks weight, gradient and averages as they lie in memory: the 5-D prompts must come through a resume unharmed."""
    recipe = Recipe(
        name="prompt", model="promptir", config=SMALL, steps=6, patches=(32,), batches=(2,), learning_rate=1e-2,
        precision="fp32", log_every=1, checkpoint_seconds=0.0,
    )  # fmt: skip
    results, start = [], create_model("promptir", **SMALL).state_dict()
    for folder, stops in (("whole", [None]), ("cut", [3, None])):
        for stop in stops:
            model = create_model("promptir", **SMALL)
            model.load_state_dict(start)
            images = list(photos.values())
            result = fit(model, recipe, images, noise_of(25), tmp_path / folder, device="cpu", stop_after=stop, progress=False, say=str)
        results.append((result.model.state_dict(), [row["loss"] for row in read_log(result.log)]))
    (whole, losses), (cut, losses_cut) = results
    assert losses == losses_cut and len(losses) == 6
    for key, value in whole.items():
        assert torch.equal(value, cut[key]), key
        assert torch.equal(value, start[key]) == key.startswith(UNUSED), key


def test_the_fused_step_of_the_prompts_is_the_plain_one():
    ours, plain = pair()
    image = torch.rand(2, 3, 32, 32)
    for model, fused in ((ours, True), (plain, False)):
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, eps=1e-3, fused=fused)
        for _ in range(3):
            optimizer.zero_grad()
            (model(image) - 0.5).square().mean().backward()
            optimizer.step()
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter, plain.get_parameter(name), atol=2e-5), name


def test_errors(small):
    with pytest.raises(ValueError, match="12x16.*restore"):
        small(torch.rand(1, 3, 12, 16))
    with pytest.raises(ValueError, match="four levels"):
        PromptIR(blocks=[1, 2, 3])
    with pytest.raises(ValueError, match="three prompts"):
        PromptIR(dim=8, prompt_widths=[8, 8])
    with pytest.raises(ValueError, match="18 channels do not divide into 4 heads"):
        PromptIR(dim=8, heads=[1, 1, 4, 4], blocks=[1] * 4, prompt_widths=[2, 8, 8])
