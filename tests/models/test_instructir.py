"""InstructIR: the official numbers and names, its blocks by hand, what the text does, the language head and its sentence encoder."""

import sys
import types

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import perturbed
from torch import nn

from course_lib.models import create_model, instructir
from course_lib.models.instructir import CLASSES, InstructionBlock, Instructions, NAFBlock, SentenceHead, load_head
from course_lib.models.official import CheckpointError, load_official, official_named_parameters, to_official
from course_lib.prompts import PromptError

SMALL = dict(width=4, blocks=[1, 2], middle_blocks=1, decoder_blocks=[1, 1], text_width=10)


def texts(case):
    spec = case["inputs"]["normal"][0]
    return torch.randn(spec["shape"], generator=torch.Generator().manual_seed(spec["seed"]))


def test_golden_numbers_names_and_counts():
    file = golden.read("instructir")
    model = load_official("instructir", golden.state_dict(file))
    assert not model.training and sum(p.numel() for p in model.parameters()) == file["parameters"] == 15_843_363
    assert model.config == create_model("instructir").config, "the released size is the default"
    for state in (to_official(model), dict(official_named_parameters(model))):
        assert {key: list(value.shape) for key, value in state.items()} == {key: shape for key, (shape, _) in file["state_dict"].items()}
    for case in file["cases"]:
        with torch.no_grad():
            assert golden.largest_excess(model(golden.image(case), texts(case)), case["output"]) < 1, case["label"]
    model(golden.image(case), texts(case)).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    "change", [{}, {"blocks": [1, 1, 2], "decoder_blocks": [2, 1, 1]}, {"in_channels": 1, "middle_blocks": 3}], ids=str
)
def test_round_trip_reads_every_configuration(change):
    model = perturbed(create_model("instructir", **{**SMALL, **change})).eval()
    again = load_official("instructir", to_official(model))
    image, text = torch.rand(2, model.config["in_channels"], 10, 13), torch.randn(2, 10)
    with torch.no_grad():
        assert torch.equal(again(image, text), model(image, text))
    assert again.config == model.config


def test_other_files_are_refused_with_their_keys():
    state = to_official(create_model("instructir", **SMALL))
    with pytest.raises(CheckpointError, match=r"1 keys missing \(dec_cond.1.fc.bias\)"):
        load_official("instructir", {key: value for key, value in state.items() if key != "dec_cond.1.fc.bias"})
    with pytest.raises(CheckpointError, match="missing"):
        load_official("instructir", golden.state_dict(golden.read("restormer_small")))


def test_the_blocks_by_hand():
    block = perturbed(NAFBlock(4))
    x, text = torch.randn(2, 4, 5, 6), torch.randn(2, 10)

    def norm(layer, x):
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
        return (x - mean) / (var + 1e-6).sqrt() * layer.weight[:, None, None] + layer.bias[:, None, None]

    with torch.no_grad():
        wide = block.conv2(block.conv1(norm(block.norm1, x)))
        gated = wide[:, :4] * wide[:, 4:]
        means = gated.mean((2, 3))
        weights = means @ block.sca[1].weight[:, :, 0, 0].T + block.sca[1].bias
        y = x + block.beta * block.conv3(gated * weights[:, :, None, None])
        wide = block.conv4(norm(block.norm2, y))
        assert torch.allclose(block(x), y + block.gamma * block.conv5(wide[:, :4] * wide[:, 4:]), atol=1e-5)
        icb = perturbed(InstructionBlock(4, 10))
        share = 1 / (1 + (-(text @ icb.fc.weight.T + icb.fc.bias)).exp())
        assert torch.allclose(icb(x, text), x + icb.block((x * icb.gamma + icb.beta) * share[:, :, None, None]), atol=1e-5)
        assert torch.equal(NAFBlock(4)(x), x) and torch.equal(InstructionBlock(4, 10)(x, text), x)


def test_the_text_counts_and_any_size_goes():
    model = perturbed(create_model("instructir", **SMALL)).eval()
    image, text = torch.rand(2, 3, 13, 18), torch.randn(2, 10)
    with torch.no_grad():
        out = model(image, text)
        assert out.shape == image.shape
        padded = F.pad(image, (0, 2, 0, 3))
        assert torch.allclose(out, model(padded, text)[..., :13, :18], atol=1e-6), "padded with zeros to a multiple of 4"
        assert not torch.allclose(out, model(image, text.flip(0)), atol=1e-4)
        assert torch.allclose(model(image, text[0]), model(image, text[:1].expand(2, -1)), atol=1e-6), "one text for all"
    for wrong, words in ((torch.randn(2, 9), r"10 numbers.*\(2, 9\)"), (torch.randn(3, 10), r"2 images; got \(3, 10\)")):
        with pytest.raises(ValueError, match=words):
            model(image, wrong)
    with pytest.raises(ValueError, match="as many levels"):
        create_model("instructir", **{**SMALL, "decoder_blocks": [1]})


def test_students_pieces_are_used():
    class Mine(nn.Module):
        def __init__(self, channels, text_width):
            super().__init__()
            self.shift = nn.Linear(text_width, channels)

        def forward(self, x, text):
            return x + self.shift(text)[:, :, None, None]

    model = create_model("instructir", **SMALL, instruction=Mine)
    model(torch.rand(1, 3, 8, 8), torch.randn(10)).mean().backward()
    assert sum(isinstance(module, Mine) for module in model.modules()) == 4
    assert not any(isinstance(module, InstructionBlock) for module in model.modules())
    assert all(module.shift.weight.grad is not None for module in model.modules() if isinstance(module, Mine))


# Sentences


def test_the_language_head(tmp_path):
    head = SentenceHead()
    torch.save(head.state_dict(), tmp_path / "lm.pt")
    loaded, vectors = load_head(tmp_path / "lm.pt"), torch.randn(3, 384)
    with torch.no_grad():
        text, scores = loaded(vectors)
        plain = vectors @ head.fc1.weight.T + head.fc1.bias
        assert torch.allclose(text, plain / plain.norm(dim=1, keepdim=True), atol=1e-6)
        assert torch.allclose(scores, text @ head.fc2.weight.T + head.fc2.bias, atol=1e-6) and scores.shape == (3, len(CLASSES))
    assert load_head(SentenceHead(12, 8, 3).state_dict()).fc1.weight.shape == (8, 12)
    with pytest.raises(CheckpointError, match="language head.*found fc1.weight"):
        load_head({"fc1.weight": torch.ones(2, 2)})


def stub(monkeypatch, encode=None, error=None):
    """A package sentence_transformers in the place of the real one; returns what it was asked for."""
    asked = []

    class SentenceTransformer:
        def __init__(self, name, device, local_files_only):
            asked.append((name, local_files_only))
            if error:
                raise error

        def encode(self, sentences, convert_to_numpy, normalize_embeddings, show_progress_bar):
            assert convert_to_numpy and normalize_embeddings
            return encode(sentences)

    package = types.ModuleType("sentence_transformers")
    package.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    monkeypatch.setattr(instructir, "find_spec", lambda name: package)
    return asked


def test_instructions_go_from_sentence_to_text_and_class(monkeypatch):
    head = SentenceHead(4, 4, len(CLASSES))
    with torch.no_grad():
        for layer in (head.fc1, head.fc2):
            layer.weight.copy_(torch.eye(*layer.weight.shape))
            layer.bias.zero_()
    rows = {"remove the noise": [2.0, 0, 0, 0], "there is fog": [0, 0, 0, 3.0]}
    asked = stub(monkeypatch, lambda sentences: np.array([rows[sentence] for sentence in sentences]))
    spoken = Instructions(head, "folder")
    assert asked == [("folder", True)], "nothing is fetched unless allowed"
    assert spoken.asked(list(rows)) == ["noise", "haze"]
    assert torch.equal(spoken.texts("there is fog"), torch.tensor([[0.0, 0, 0, 1]]))


def test_what_is_missing_is_said_with_the_steps(monkeypatch):
    stub(monkeypatch, error=OSError("no such model"))
    with pytest.raises(PromptError, match="bge-micro-v2 is not on this machine.*no such model.*folder.*download=True"):
        Instructions(SentenceHead())
    monkeypatch.setattr(instructir, "find_spec", lambda name: None)
    with pytest.raises(PromptError, match="pip install sentence-transformers"):
        Instructions(SentenceHead())


def test_a_real_sentence_encoder(tmp_path):
    """A two-layer BERT of random weights, read by the package itself: its mean over the tokens, at length 1."""
    pytest.importorskip("sentence_transformers")
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "remove", "the", "rain", "noise"]))
    tokens = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    bert = BertModel(BertConfig(vocab_size=9, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)).eval()
    for part in (tokens, bert):
        part.save_pretrained(tmp_path / "encoder")
    spoken = Instructions(SentenceHead(16, 8), tmp_path / "encoder")
    vectors = spoken.vectors(["remove the rain", "remove the noise"])
    with torch.no_grad():
        mean = bert(**tokens("remove the rain", return_tensors="pt")).last_hidden_state[0].mean(0)
    assert torch.allclose(vectors[0], mean / mean.norm(), atol=1e-4)
    assert vectors.shape == (2, 16) and torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    assert spoken.texts("remove the rain").shape == (1, 8)
