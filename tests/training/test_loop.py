"""The loop's promises: optimiser, precisions, memory, NaN, schedules, averages."""

import functools
import math
import weakref

import pytest
import torch
import toy_run

from course_lib.models import Restormer
from course_lib.training import Recipe, TrainingError, loop
from course_lib.training import checkpoint as ckpt
from course_lib.training import device as device_module
from course_lib.training.ema import EMA

LOSSES = ("loss", "grad_norm", "lr", "patch", "batch")


def assert_close(one, other, tolerance=1e-5):
    tensors, wanted = toy_run.final_tensors(one), toy_run.final_tensors(other)
    assert tensors.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.allclose(tensors[key], value, rtol=0, atol=tolerance), key


def test_the_fused_step_equals_the_plain_one(tmp_path, left_alone, monkeypatch):
    plain = functools.partial(torch.optim.AdamW)
    monkeypatch.setattr(torch.optim, "AdamW", lambda *a, fused, **k: plain(*a, fused=False, foreach=False, **k))
    toy_run.run(tmp_path)
    assert_close(tmp_path, left_alone)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_accumulation_gives_the_same_weights(tmp_path, left_alone, parts):
    toy_run.run(tmp_path, accumulate=parts)  # the later batches hold two images only
    assert_close(tmp_path, left_alone)


class Limited(Restormer):
    """Runs out of memory above `limit` images while it trains."""

    limit, seen, error = 1, None, (torch.OutOfMemoryError, "CUDA out of memory (faked)")

    def forward(self, image):
        activations = image * 2
        if self.training and torch.is_grad_enabled():
            self.seen.append((len(image), weakref.ref(activations)))
            if len(image) > self.limit:
                kind, words = self.error
                raise kind(words)
        return super().forward(image)


def limited(limit, error=None):
    torch.manual_seed(0)
    model = Limited(**toy_run.TINY)
    model.limit, model.seen = limit, []
    if error:
        model.error = error
    return model


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_out_of_memory_is_answered_by_smaller_pieces(tmp_path, left_alone, limit, monkeypatch):
    model, said, held = limited(limit), [], []
    free = loop.free_memory

    def watch(device):
        free(device)
        held.append(model.seen[-1][1]() is not None)

    monkeypatch.setattr(loop, "free_memory", watch)
    toy_run.run(tmp_path, model=model, say=said.append)
    parts = [line for line in said if "out of memory" in line]
    assert [f"in {n} parts" in line for n, line in zip((2, 4), parts, strict=False)] == [True] * len(parts)
    assert len(parts) == {1: 2, 2: 1, 3: 1}[limit] and all(line.startswith("step 0:") for line in parts)
    assert not any(held), "the failed pass still held its activations when the memory was freed"
    assert max(size for size, _ in model.seen[3:]) <= limit
    assert_close(tmp_path, left_alone)


def test_the_allocators_words_count_as_out_of_memory(tmp_path, left_alone):
    error = (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
    toy_run.run(tmp_path, model=limited(2, error))
    assert_close(tmp_path, left_alone)


def test_out_of_memory_with_one_image_says_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match="step 0: out of memory with 4 images of 16 pixels in 4 parts; use a smaller"):
        toy_run.run(tmp_path, model=limited(0))


def test_other_errors_of_a_model_pass_through(tmp_path):
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        toy_run.run(tmp_path, model=limited(0, (RuntimeError, "shapes do not fit")))


def test_the_parts_survive_a_stop(tmp_path):
    toy_run.run(tmp_path, model=limited(2), checkpoint_seconds=0.0, stop_after=3)
    model, said = limited(2), []
    toy_run.run(tmp_path, model=model, checkpoint_seconds=0.0, say=said.append)
    assert not any("out of memory" in line for line in said)


def bad_batch(sample, value):
    noise, count = toy_run.noise_of(25), []

    def degrade(clean, rng):
        count.append(1)
        return noise(clean, rng) * (value if len(count) == sample else 1)

    return degrade


def test_nan_stops_with_step_batch_and_file(tmp_path):
    with pytest.raises(TrainingError) as caught:
        toy_run.run(tmp_path, degrade=bad_batch(22, float("nan")), checkpoint_seconds=0.0)
    text = str(caught.value)
    assert text.startswith("step 5:") and "samples 20 to 23 of seed 0" in text and "learning_rate" in text
    path = tmp_path / "nan-step-00000005.safetensors"
    assert str(path) in text
    tensors, meta = ckpt.read_tensors(path)
    assert meta["step"] == 5 and tensors["degraded"].shape == (4, 3, 16, 16) and tensors["clean"].isfinite().all()
    assert [sample.isfinite().all().item() for sample in tensors["degraded"]] == [True, False, True, True]
    groups, meta = ckpt.load_latest(tmp_path)
    assert meta["step"] == 5 and all(value.isfinite().all() for value in groups["model"].values())


def hooked(when):
    """A model whose gradient is infinite in the steps that `when(step)` names."""
    model, count = toy_run.fresh_model(toy_run.BASE), []

    def spoil(gradient):
        count.append(1)
        return gradient * float("inf") if when(len(count) - 1) else gradient

    model.output.weight.register_hook(spoil)
    return model


def test_an_infinite_gradient_stops_without_a_scaler(tmp_path):
    with pytest.raises(TrainingError, match="step 4: the loss or the gradient is"):
        toy_run.run(tmp_path, model=hooked(lambda step: step == 4))


def test_fp16_trains_with_a_scaler(tmp_path, left_alone):
    result = toy_run.run(tmp_path, precision="fp16")
    rows, wanted = toy_run.log_rows(tmp_path), toy_run.log_rows(left_alone)
    assert float(rows[0]["loss"]) == pytest.approx(float(wanted[0]["loss"]), rel=2e-2)
    # the gradients are unscaled before they are measured
    assert float(rows[0]["grad_norm"]) == pytest.approx(float(wanted[0]["grad_norm"]), rel=5e-2)
    assert float(rows[-1]["val_psnr"]) > float(rows[6]["val_psnr"])
    assert result.model(torch.rand(1, 3, 16, 16)).dtype == torch.float32, "the autocast of the training is gone"


def test_fp16_skips_an_infinite_step_and_lowers_the_scale(tmp_path):
    toy_run.run(tmp_path, precision="fp16", model=hooked(lambda step: step == 5), checkpoint_seconds=0.0, stop_after=6)
    (before, early), (after, late) = (_read(path) for path in ckpt.checkpoints(tmp_path))
    assert (early["step"], late["step"]) == (5, 6)
    assert late["scaler"]["scale"] == early["scaler"]["scale"] / 2
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith(("model|", "optimizer|")))
    toy_run.run(tmp_path, precision="fp16", checkpoint_seconds=0.0, stop_after=7)
    moved = _read(ckpt.checkpoints(tmp_path)[-1])[0]
    assert any(not torch.equal(moved[key], after[key]) for key in after if key.startswith("model|"))


def _read(path):
    return ckpt.read_tensors(path)


def test_fp16_does_not_skip_for_ever(tmp_path):
    with pytest.raises(TrainingError, match=r"step 1\d: the loss or the gradient is"):
        toy_run.run(tmp_path, precision="fp16", model=hooked(lambda step: True))


@pytest.mark.parametrize("precision, low", [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)])
def test_the_forward_runs_in_the_precision_asked_for_whatever_ran_before(tmp_path, precision, low):
    seen = []
    model = toy_run.fresh_model(toy_run.BASE)
    model.patch_embed.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    toy_run.run(tmp_path, precision=precision, model=model, steps=2, warmup=0, validate_every=0)
    assert seen[0] == low and {p.dtype for p in model.parameters()} == {torch.float32}


def test_an_absent_card_is_said_and_the_next_call_has_its_own_device(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    accelerator = device_module.make_accelerator("cuda", "auto")
    assert accelerator.device.type == "cpu" and "cannot be used" in capsys.readouterr().out
    from accelerate.state import PartialState

    PartialState._shared_state["device"] = torch.device("meta")  # what an earlier call on another device leaves behind
    assert device_module.make_accelerator("cpu", "fp32").device.type == "cpu"
    with pytest.raises(ValueError, match="unknown device 'tpu9'"):
        device_module.make_accelerator("tpu9", "fp32")


def test_ema_formula():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)
    ema, wanted = EMA(model, 0.5), 1.0
    for step in range(12):
        torch.nn.init.constant_(model.weight, float(step))
        ema.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
        assert float(ema.state_dict()["weight"]) == pytest.approx(wanted, rel=1e-6)
    for bad in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"\[0, 1\)"):
            EMA(model, bad)


def test_the_averaged_weights_are_the_result_and_are_what_is_validated(tmp_path):
    scores = []

    def score(model):
        scores.append(model.state_dict()["output.weight"].clone())
        assert not model.training
        return 20.0

    original = toy_run.validate
    toy_run.validate = score
    try:
        result = toy_run.run(tmp_path / "ema", validate_every=0)
        plain = toy_run.run(tmp_path / "plain", validate_every=0, ema_decay=0.0)
    finally:
        toy_run.validate = original
    assert torch.equal(scores[0], result.model.state_dict()["output.weight"])
    assert not torch.equal(scores[0], plain.model.state_dict()["output.weight"])
    assert toy_run.log_rows(tmp_path / "ema")[-1]["loss"] == toy_run.log_rows(tmp_path / "plain")[-1]["loss"]


def test_validation_changes_nothing(tmp_path, left_alone):
    toy_run.run(tmp_path, validate_every=3)
    drop = [{k: v for k, v in row.items() if k != "val_psnr"} for row in toy_run.log_rows(tmp_path)]
    assert drop == [{k: v for k, v in row.items() if k != "val_psnr"} for row in toy_run.log_rows(left_alone)]
    assert toy_run.final_digest(tmp_path) == toy_run.final_digest(left_alone)


def test_learning_rate_endpoints():
    recipe = Recipe(steps=101, warmup=10, learning_rate=1e-3, final_learning_rate=1e-5)
    rates = [recipe.learning_rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4) and rates[9] == rates[10] == pytest.approx(1e-3)
    assert rates[100] == pytest.approx(1e-5) and rates[55] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert math.isfinite(Recipe(steps=1).learning_rate_at(0)) and Recipe(steps=5, warmup=5).learning_rate_at(4) == pytest.approx(3e-4)


def test_patches_grow_and_rates_stand_in_the_log(left_alone):
    rows = toy_run.log_rows(left_alone)
    assert [(row["patch"], row["batch"]) for row in rows] == [("16", "4")] * 15 + [("24", "2")] * 9
    assert [float(row["lr"]) for row in rows] == pytest.approx([toy_run.BASE.learning_rate_at(step) for step in range(24)], rel=1e-6)


def test_a_sparse_log_holds_means(tmp_path, left_alone):
    toy_run.run(tmp_path, log_every=6, validate_every=0)
    rows, all_rows = toy_run.log_rows(tmp_path), toy_run.log_rows(left_alone)
    assert [int(row["step"]) for row in rows] == [6, 12, 18, 24]
    for i, row in enumerate(rows):
        mean = sum(float(r["loss"]) for r in all_rows[6 * i : 6 * i + 6]) / 6
        assert float(row["loss"]) == pytest.approx(mean, rel=1e-5)


def test_workers_change_nothing(tmp_path, left_alone):
    toy_run.run(tmp_path, workers=2)
    assert toy_run.log_rows(tmp_path) == toy_run.log_rows(left_alone)
    assert toy_run.final_digest(tmp_path) == toy_run.final_digest(left_alone)


def test_clipping_bounds_the_update(tmp_path):
    norms = []
    original = torch.nn.utils.clip_grad_norm_

    def watch(parameters, limit, **options):
        parameters = list(parameters)
        total = original(parameters, limit, **options)
        norms.append((float(total), float(torch.stack([p.grad.norm() for p in parameters]).norm())))
        return total

    torch.nn.utils.clip_grad_norm_ = watch
    try:
        toy_run.run(tmp_path, clip_norm=0.01, steps=4)
    finally:
        torch.nn.utils.clip_grad_norm_ = original
    assert len(norms) == 4 and all(before > 0.01 and after == pytest.approx(0.01, rel=1e-3) for before, after in norms)
