"""AutoDIR: the loop, the head that compares with sentences, the conditioned restorer, its data, its files."""

import numpy as np
import pytest
import torch

from course_lib.diffusion import autodir
from course_lib.diffusion.autodir import NAMES, AutoDIR, OneOfTwo, WholeResidual, load_published, next_degradation, prompt_of
from course_lib.models.official import CheckpointError
from course_lib.prompts import PromptError, read_vectors, shipped_file

TINY = dict(head=dict(widths=(8, 8), embed=8), restorer=dict(network=dict(dim=8, dim_mults=(1, 2))))


@pytest.fixture
def model():
    torch.manual_seed(1)
    return AutoDIR(**TINY).eval()


def with_scores(model, monkeypatch, *table):
    """Let the model's head say these scores, one row a round."""
    rows = iter(table)
    monkeypatch.setattr(model, "scores", lambda image: torch.tensor([next(rows)]))


def test_sentences_are_shipped_and_distinct():
    shipped = read_vectors(shipped_file())
    vectors = torch.stack([shipped[prompt_of(name)] for name in NAMES])
    assert len(vectors.unique(dim=0)) == 6 and "haze" in prompt_of("haze")
    with pytest.raises(ValueError, match="noise, blur, rain, haze, low light, clean"):
        prompt_of("fog")


@pytest.mark.parametrize(
    "scores, done, threshold, wanted",
    [
        ([0.5, 0.3, 0, 0, 0, 0.2], set(), 0.2, "noise"),
        ([0.5, 0.3, 0, 0, 0, 0.2], {"noise"}, 0.2, "blur"),
        ([0.5, 0.3, 0, 0, 0, 0.2], {"noise"}, 0.31, None),
        ([0.3, 0.3, 0, 0, 0, 0.4], set(), 0.2, None),  # "clean" is above them all
        ([0.3, 0.3, 0, 0, 0, 0.3], set(), 0.2, None),  # ... or beside
        ([0, 0.35, 0.35, 0, 0, 0.3], set(), 0.2, "blur"),  # the first of two
        ([1, 1, 1, 1, 1, 0], set(NAMES[:5]), 0.0, None),
    ],
)
def test_next_degradation(scores, done, threshold, wanted):
    assert next_degradation(scores, NAMES, done, threshold) == wanted
    order = np.random.default_rng(0).permutation(6)
    if len(set(scores)) == 6:
        assert next_degradation([scores[i] for i in order], [NAMES[i] for i in order], done, threshold) == wanted


def test_rounds_until_clean(model, monkeypatch):
    noise, haze, clean = [0.6, 0, 0, 0.3, 0, 0.1], [0.5, 0, 0, 0.4, 0, 0.1], [0.1, 0, 0, 0.1, 0, 0.8]
    image = torch.rand(1, 3, 21, 34)
    with_scores(model, monkeypatch, noise, haze, clean)
    rounds = list(model.steps(image))
    assert [(step.round, step.name) for step in rounds] == [(1, "noise"), (2, "haze"), (3, "clean")]
    assert torch.equal(rounds[0].image, model.remove(image, "noise")) and rounds[0].scores[0] == pytest.approx(0.6)
    assert torch.equal(rounds[1].image, model.remove(rounds[0].image, "haze")) and torch.equal(rounds[2].image, rounds[1].image)
    with_scores(model, monkeypatch, noise, haze)
    assert [step.name for step in model.steps(image, most=1)] == ["noise"]
    with_scores(model, monkeypatch, clean)
    assert torch.equal(model.restore(image), image)
    with pytest.raises(ValueError, match="one image"):
        next(model.steps(torch.rand(2, 3, 16, 16)))


def test_a_batch_is_restored_picture_by_picture(model):
    images = torch.rand(2, 3, 24, 17)
    together = model(images)
    assert together.shape == images.shape and 0 <= together.min() and together.max() <= 1
    torch.testing.assert_close(together, torch.cat([model(images[:1]), model(images[1:])]))


def test_the_head_is_small_and_compares_with_the_sentences():
    model = AutoDIR()
    assert sum(p.numel() for p in model.head.parameters()) < 300_000
    image = torch.rand(2, 3, 33, 40)
    logits = model.head(image)
    assert logits.shape == (2, 6) and logits.abs().max() <= model.head.scale.exp() + 1e-4
    model.head.vectors.copy_(model.head.vectors[[1, 0, 2, 3, 4, 5]])  # other words for the same places: the scores go with the words
    torch.testing.assert_close(model.head(image), logits[:, [1, 0, 2, 3, 4, 5]])


def test_the_prompt_reaches_every_block(model):
    image, prompts = torch.rand(1, 3, 16, 16), model.head.prompts(model.head.vectors)
    torch.testing.assert_close(prompts.norm(dim=1), torch.ones(6))
    for parameter in model.restorer.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    results = [model.remove(image, name) for name in NAMES]
    assert min((a - b).abs().max() for i, a in enumerate(results) for b in results[:i]) > 1e-4
    model.restorer(image, prompts[:1], torch.rand_like(image)).mean().backward()
    assert all(parameter.grad is not None for parameter in model.restorer.network.prompt.parameters())
    torch.testing.assert_close(model.remove(image, "deraining"), model.remove(image, " Deraining "))  # a free text of the shipped ones


def test_bands_add_up_to_the_image():
    image = torch.rand(2, 3, 16, 24)
    parts = autodir.bands(image)
    torch.testing.assert_close(parts[:, :4].sum(dim=1), image)
    flat = autodir.bands(torch.full((1, 3, 16, 24), 0.3))
    torch.testing.assert_close(flat[:, :3], torch.zeros(1, 3, 3, 16, 24), atol=1e-6, rtol=0)
    assert parts[:, 0].var() > parts[:, 1].var() > parts[:, 2].var()  # white noise: the finest band holds the most


@pytest.mark.parametrize("side", [1, 8, 16])
def test_small_pictures_are_finite(side):
    model, image = AutoDIR().eval(), torch.rand(1, 3, side, side)
    assert torch.isfinite(model.scores(image)).all() and torch.isfinite(model.remove(image, "haze")).all()


def test_words_of_another_encoder_are_refused(model):
    model.encoder = "offline:000000000000"
    with pytest.raises(PromptError, match="other weights"):
        model.remove(torch.rand(1, 3, 16, 16), "snow")


def test_another_encoder_is_refused_before_its_weights_are_downloaded(model, monkeypatch):
    monkeypatch.setattr("course_lib.prompts.encode", lambda *_: pytest.fail("encoded"))
    model.encoder = "open_clip:000000000000"
    with pytest.raises(PromptError, match="other weights"):
        model.prompt("a wet lens")


def test_the_walk_ends_at_a_known_clean_image_however_large_the_residual():
    clean, degraded = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8) * 0.05
    process = WholeResidual()

    def network(pair, t):
        assert pair.shape == (1, 6, 8, 8)
        return 2 * degraded - 2 * clean

    assert (2 * degraded - 2 * clean).abs().max() > 1.5
    for steps in (1, 2, 5):
        torch.testing.assert_close(process.sample(network, degraded, steps, torch.randn(1, 3, 8, 8)), clean)


def test_data_of_one_or_two_degradations():
    images = [torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2]
    data = OneOfTwo(images, 3, context=40)
    samples = {n: data[(n, 16)] for n in range(60)}
    for n, (degraded, target, label, present) in samples.items():
        assert degraded.shape == target.shape == (3, 16, 16) and label == n % 6 and present[label] == 1 and present.sum() <= 2
        assert torch.equal(degraded, target) == (label == 5)
    counts = torch.stack([present for *_, present in samples.values()]).sum(dim=1)
    assert 5 < (counts == 2).sum() < 35 and all(samples[n][3].sum() == 1 for n in range(5, 60, 6))
    again = OneOfTwo(images, 3, context=40)[(7, 16)]
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(again, samples[7], strict=True))
    alone = OneOfTwo(images, 3, twice=0, context=40)
    reference = images[0].mul(255).round().div(255)  # nothing else on it: the target is the photograph itself
    assert alone[(0, 40)][1].flatten().sort().values.equal(reference.flatten().sort().values)
    assert {data.taught[n] for n in range(5)} == set(autodir.KINDS)


@pytest.mark.parametrize("part", ["head", "restorer"])
def test_training_lowers_the_loss_and_is_repeatable(model, tmp_path, photos, part):
    from course_lib.training.log import read_log

    train = getattr(autodir, f"train_{part}")
    images = [photo[:, :200, :200] for photo in photos.values()]
    fields = dict(steps=12, patches=(16,), batches=(6,), learning_rate=3e-3, log_every=4, precision="fp32", warmup=0)
    logs = []
    for run in ("a", "b"):
        torch.manual_seed(1)
        fresh = AutoDIR(**TINY)
        result = train(fresh, images, tmp_path / run, recipe=fields, device="cpu", progress=False)
        logs.append([float(row["loss"]) for row in read_log(result.log)])
    assert logs[0] == logs[1] and logs[0][-1] < logs[0][0]
    assert result.model is getattr(fresh, part)


def test_saved_and_loaded(model, tmp_path):
    from course_lib.training.checkpoint import read_tensors, save_weights

    model.head.vectors += 0.5  # what the file holds counts, not what the encoder would say now
    path = save_weights(model, tmp_path / "autodir.safetensors")
    tensors, meta = read_tensors(path)
    assert not any("alphas" in key for key in tensors) and meta["config"]["encoder"].startswith("offline:")
    again = AutoDIR(**meta["config"]).eval()
    again.load_state_dict(tensors)
    image = torch.rand(1, 3, 16, 24)
    assert torch.equal(again.scores(image), model.scores(image)) and torch.equal(again.remove(image, "rain"), model.remove(image, "rain"))


def test_the_published_file_comes_apart(tmp_path):
    alpha_bar = torch.linspace(0.99, 0.01, 20)
    keys = [start + "a.weight" for start in autodir.PARTS.values()]
    state = {key: torch.zeros(2) for key in keys} | {"alphas_cumprod": alpha_bar, "logvar": torch.zeros(20)}
    state["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(4, 8, 3, 3)
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "autodir.ckpt")
    process, parts = load_published(tmp_path / "autodir.ckpt")
    assert set(parts) == set(autodir.PARTS) and set(parts["structure correction"]) == {"a.weight"}
    assert process.T == 20 and process.level(3) == pytest.approx(float(alpha_bar[3]))
    for damage, said in (("NAFNet.a.weight", "without structure correction"), ("alphas_cumprod", "without its schedule")):
        torch.save({"state_dict": {k: v for k, v in state.items() if k != damage}}, tmp_path / "other.ckpt")
        with pytest.raises(CheckpointError, match=said):
            load_published(tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match="holds nothing"):
        load_published(tmp_path / "list.ckpt")
