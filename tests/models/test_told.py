"""Models that are told the task: names and numbers, words and their encoders, and who refuses whom."""

import pytest
import torch
from tiny_models import TINY, perturbed

from course_lib.evaluation import restore
from course_lib.models import create_model
from course_lib.models.official import CheckpointError, load_official, official_named_parameters, to_official
from course_lib.models.told import TaskAware, Words, told
from course_lib.prompts import Embeddings, PromptError, encode_words
from course_lib.training.checkpoint import load_weights, read_tensors, save_weights

TEXTS = {"haze": "haze", "noise 15": "gaussian noise with a standard deviation of 15", "noise 25": "noise", "motion blur": "blur"}
OTHER = "open_clip:40d365715913"


def dfpir(**change):
    return perturbed(create_model("dfpir", **TINY, **{"words": TEXTS, **change})).eval()


def test_names_mean_tasks():
    words = Words(TEXTS)
    places = {
        "haze": 0, "Haze": 0, "noise 15": 1, "noise 25": 2, "noise 50": 2, "noise 5": 1, "gaussian_noise": 2, "motion_blur": 3, "blur": 3,
        "low light": None, "haze rain": None, "": None,
    }  # fmt: skip
    assert {name: words.find(name) for name in places} == places
    assert Words({"low light": "low"}).find("low_light") == Words({"low_light": "low"}).find("lowlight") == 0
    assert Words({"low light": "low"}).find("low") == 0, "as CDD-11 calls it"


def test_each_image_gets_the_vector_of_its_text():
    words, table = Words(TEXTS), encode_words(list(TEXTS.values())).vectors
    assert words.encoder.startswith("offline:") and torch.equal(words.vectors, table)
    for said, rows in ((["blur", "haze"], [3, 0]), ("noise 15", [1]), (torch.tensor([2, 2, 0]), [2, 2, 0]), (3, [3])):
        with told(words, said):
            assert torch.equal(words(), table[rows])
    with pytest.raises(RuntimeError, match="not told"):
        words()


def test_any_text_of_the_same_encoder_goes(monkeypatch):
    words = Words(TEXTS)
    with told(words, "low_haze_rain"):  # a task of CDD-11, whose text is shipped
        assert torch.equal(words(), encode_words("low haze rain").vectors)
    monkeypatch.setattr("course_lib.prompts.encode_words", lambda texts, encoder: Embeddings((texts,), torch.ones(1, 512), OTHER))
    with pytest.raises(PromptError, match=f"trained with the prompts of offline:.*these are of {OTHER}"):
        words.encode("mist")
    for encoder in ("random:1", "learned"):
        with pytest.raises(PromptError, match="'mist' is none of haze.*random|learned"):
            Words(TEXTS, encoder).vector("mist")


def test_vectors_to_compare_with():
    first, same, other = (Words(TEXTS, f"random:{seed}", 12).vectors for seed in (1, 1, 2))
    assert first.shape == (4, 12) and torch.equal(first, same) and not torch.equal(first, other)
    assert [name for name, _ in Words(TEXTS, "learned", 12).named_parameters()] == ["vectors"]
    assert not list(Words(TEXTS).parameters())


def test_a_told_model_equals_one_that_is_handed_the_vectors():
    model, image = dfpir(), torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        wanted = model(image, torch.stack([model.words.vectors[2], model.words.vectors[0]]))
        with told(model, ["noise 25", "haze"]):
            assert torch.equal(model(image), wanted)
        with told(model, "haze"):
            assert torch.allclose(restore(model, image)[1], wanted[1], atol=1e-5)
            by_vector = model(image, model.words.vectors[2])  # what is handed over goes before what was told
            assert torch.allclose(by_vector[0], wanted[0], atol=1e-5) and not torch.allclose(by_vector[1], wanted[1], atol=1e-3)
        with pytest.raises(RuntimeError, match="not told"):
            model(image)
        with pytest.raises(RuntimeError, match="not blind.*words"):
            create_model("dfpir", **TINY)(image)
        with told(create_model("restormer", **TINY), "haze") as blind:  # does not mind
            assert blind(image).shape == image.shape


def test_a_learned_embedding_learns_where_the_guidance_lets_it():
    for guidance in ("fixed", "straight_through"):
        model = dfpir(encoder="learned", guidance=guidance, text_width=12)
        with told(model, ["haze", "blur"]):
            model(torch.rand(2, 3, 16, 16)).square().mean().backward()
        gradient = model.words.vectors.grad
        assert (gradient is None) == (guidance == "fixed")
    assert (gradient[[0, 3]].abs().amax(1) > 0).all() and not gradient[1:3].any()


def test_words_travel_with_the_weights_and_not_with_the_official_names(tmp_path, monkeypatch):
    model = dfpir()
    path = save_weights(model, tmp_path / "w.safetensors")
    config = read_tensors(path)[1]["config"]
    assert config["words"] == TEXTS and config["encoder"] == model.words.encoder and config["text_width"] == 512
    monkeypatch.setattr("course_lib.prompts.encode_words", None)  # the file needs no encoder
    again = load_weights(path)
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad(), told(model, "blur"), told(again, "blur"):
        assert torch.equal(again(image), model(image))
    assert not [key for key in (*to_official(model), *dict(official_named_parameters(model))) if "words" in key]
    assert load_official("dfpir", to_official(model)).words is None


def test_weights_of_one_encoder_refuse_another(tmp_path):
    path = save_weights(dfpir(encoder=OTHER), tmp_path / "clip.safetensors")
    with pytest.raises(CheckpointError, match=f"clip.safetensors: .*{OTHER}, these are of offline:.*encode_words"):
        load_weights(path, dfpir())
    assert load_weights(path, dfpir(encoder=OTHER)).words.encoder == OTHER
    with pytest.raises(CheckpointError, match="random:2"):
        load_weights(path, dfpir(encoder="random:2"))


def test_layers_that_know_numbers_refuse_names():
    layer = TaskAware()
    with told(layer, 3):
        assert layer.task().tolist() == [3]
    with told(layer, "haze"), pytest.raises(RuntimeError, match="by number.*haze"):
        layer.task()
    assert layer.labels is None
