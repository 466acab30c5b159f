"""The training loop of every lesson and of `course train`: short PyTorch that can be killed at any moment and goes on bit for bit."""

import contextlib
import copy
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from course_lib.datasets.pairs import Degrade, PairDataset, StepSampler, first_sample, pair_loader
from course_lib.images import save_image
from course_lib.paths import ensure_folder
from course_lib.training import checkpoint as ckpt
from course_lib.training.device import OUT_OF_MEMORY, free_memory, is_out_of_memory, make_accelerator
from course_lib.training.ema import EMA
from course_lib.training.log import LEVEL_COLUMNS, TASK_COLUMNS, Log
from course_lib.training.recipe import Recipe


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step, why, and what to do. What was saved stays."""


@dataclass
class Result:
    """A finished run: the model in eval mode with the averaged weights, the log, the time."""

    model: nn.Module
    log: Path
    weights: Path
    steps: int
    seconds: float
    resumed: bool


Batch = tuple[Tensor, ...]  # (degraded, clean), of a mixture (degraded, clean, label) or (degraded, clean, label, key)
Objective = Callable[[nn.Module, Batch], Tensor]


def l1_objective(model: nn.Module, batch: Batch) -> Tensor:
    """Mean absolute error of model(degraded) against clean, the loss of Restormer and its kin; in fp32 whatever the precision."""
    return F.l1_loss(model(batch[0]).float(), batch[1])


def fit(
    model: nn.Module,
    recipe: Recipe,
    images: Sequence[Tensor] | Dataset,
    degrade: Degrade | None,
    folder: str | Path,
    *,
    device: str | torch.device = "auto",
    validate: Callable[[nn.Module], float | dict[str, float]] | None = None,
    objective: Objective = l1_objective,
    stop_after: int | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Result:
    """Train `model` by `recipe` on crops of `images` ((3, H, W), in [0, 1]) spoilt by `degrade`, with everything in `folder`.

    `images` may be a dataset of its own, keyed by (sample, patch) as `PairDataset` and `MixtureDataset` are; `degrade` is then None.
    Called again with the same folder it goes on from the last checkpoint, and returns at once when the run is done. `validate`
    gets the averaged model and returns PSNR in dB, or one for each task, which `validation.csv` keeps beside the log.
    `objective(model, batch)` is the loss, a mean over the batch; one that tells its loss by noise level (`training/diffusion.py`) gets a
    `levels.csv`, and a `validate` with a `grid` leaves its pictures in `samples-STEP.png`. `stop_after` ends after that many
    steps without finishing (`--verify`).
    Raises TrainingError (a run of another recipe in the folder, NaN, out of memory at one image a step, disk full) and lets Ctrl-C through
    after saving.
    """
    folder = ensure_folder(folder)
    accelerator = make_accelerator(device, recipe.precision)
    main = accelerator.is_main_process
    say = say if main else (lambda *_: None)
    device = accelerator.device
    final = folder / "final.safetensors"
    if final.is_file():
        return _finished(model, recipe, folder, device, say)

    torch.manual_seed(recipe.seed)
    model = model.to(device)
    ema = EMA(model, recipe.ema_decay) if recipe.ema_decay else None
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay, fused=device.type in ("cpu", "cuda")
    )
    bare = model
    model, optimizer = accelerator.prepare(model, optimizer)

    step, seconds, accumulate = 0, 0.0, recipe.accumulate
    row = {"loss": 0.0, "grad_norm": 0.0, "count": 0}  # sums of the log row in progress
    by_level = hasattr(objective, "rows")
    saved = ckpt.load_latest(folder, say)
    if saved:
        groups, meta = saved
        if meta["recipe"] != recipe.hash():
            raise TrainingError(
                f"{folder} holds a run of another recipe ({meta['recipe']}, this one is {recipe.hash()}); name another folder or delete it"
            )
        bare.load_state_dict(groups["model"])
        ckpt.restore_optimizer(optimizer.optimizer, groups["optimizer"], meta)
        if ema:
            ema.load_state_dict(groups["ema"])
        if accelerator.scaler is not None and meta["scaler"]:  # none when the run began at another precision ("auto")
            accelerator.scaler.load_state_dict(meta["scaler"])
        ckpt.restore_random_state(groups["rng"], meta)
        step, seconds, accumulate, row = meta["step"], meta["seconds"], meta["accumulate"], meta["row"]
        if by_level:
            objective.load_state(meta["levels"])
        say(f"{recipe.name}: going on from step {step} of {recipe.steps} ({folder.name})")
    elif ckpt.checkpoints(folder):
        say(f"{recipe.name}: no whole checkpoint in {folder}; starting again at step 0")

    log = Log(folder / "log.csv", after=step) if main else None
    task_log = Log(folder / "validation.csv", after=step, columns=TASK_COLUMNS) if main and (folder / "validation.csv").is_file() else None
    level_log = Log(folder / "levels.csv", after=step, columns=LEVEL_COLUMNS) if main and by_level else None
    dataset = images if degrade is None else PairDataset(images, degrade, recipe.seed)
    stop = min(recipe.steps, stop_after or recipe.steps)
    sampler = StepSampler(recipe.stage, step, stop, accelerator.process_index, accelerator.num_processes)
    loader = pair_loader(dataset, sampler, recipe.workers, pin=device.type == "cuda")

    def save() -> None:
        if not main:
            return
        state = {"model": bare.state_dict(), **({"ema": ema.state_dict()} if ema else {})}
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else {}
        meta = {"recipe": recipe.hash(), "seconds": elapsed(), "accumulate": accumulate, "row": row, "scaler": scaler}
        meta |= {"levels": objective.state()} if by_level else {}
        try:
            ckpt.save_checkpoint(folder, step, state, optimizer.optimizer, meta)
        except OSError as error:
            say(
                f"step {step}: the checkpoint could not be written to {folder} ({error}); free some space. "
                "The one before it stays; training goes on"
            )

    start = last_save = time.monotonic()

    def elapsed() -> float:
        return seconds + time.monotonic() - start

    bar = _progress(recipe, step, progress and main)
    between_steps = True  # False while weights, averages, step and log do not belong to one step
    model.train()
    try:
        for batch_of_step in loader:
            rate = recipe.learning_rate_at(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            tensors = tuple(_moved(tensor, device) for tensor in batch_of_step)
            degraded, clean = tensors[:2]

            while True:  # one step, or the same step again in smaller pieces when the memory does not suffice
                try:
                    loss = _backward(accelerator, model, objective, tensors, accumulate)
                    break
                except OUT_OF_MEMORY as error:
                    if not is_out_of_memory(error):
                        raise
                    if accelerator.num_processes > 1 or accumulate >= len(clean):
                        raise TrainingError(
                            f"step {step}: out of memory with {len(clean)} images of {clean.shape[-1]} pixels in {accumulate} parts; "
                            "use a smaller batch, patch or model in the recipe"
                        ) from error
                # only here: inside `except` the error's traceback still holds the activations of the failed pass
                optimizer.zero_grad(set_to_none=True)
                free_memory(device)
                accumulate = min(2 * accumulate, len(clean))
                say(f"step {step}: out of memory; the batch of {len(clean)} now goes in {accumulate} parts (same gradient, more time)")

            if not math.isfinite(loss):
                raise TrainingError(_nan_report(folder, recipe, step, loss, degraded, clean))
            # accelerate unscales fp16 gradients here, before they are measured
            norm = float(accelerator.clip_grad_norm_(model.parameters(), recipe.clip_norm or math.inf))
            # with a scaler the step is skipped and the scale lowered; a scale below 1 means that this did not help
            if not math.isfinite(norm) and (accelerator.scaler is None or accelerator.scaler.get_scale() < 1):
                raise TrainingError(_nan_report(folder, recipe, step, norm, degraded, clean))
            between_steps = False
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if ema:
                ema.update(bare, step)
            patch, batch = recipe.stage(step)
            step += 1

            row["loss"] += loss
            row["grad_norm"] += norm if math.isfinite(norm) else 0.0
            row["count"] += 1
            due = validate is not None and (step == recipe.steps or (recipe.validate_every and step % recipe.validate_every == 0))
            score = _validate(validate, bare, ema, folder / f"samples-{step:08d}.png") if due and main else None
            if isinstance(score, dict):
                task_log = task_log or Log(folder / "validation.csv", columns=TASK_COLUMNS)
                for task, value in score.items():
                    task_log.write(step=step, task=task, psnr=f"{value:.6f}", seconds=round(elapsed(), 2))
                score = sum(score.values()) / len(score)
            if main and (step % recipe.log_every == 0 or step == recipe.steps or due):
                mean_loss, mean_norm = row["loss"] / row["count"], row["grad_norm"] / row["count"]
                log.write(step=step, loss=mean_loss, lr=rate, patch=patch, batch=batch, grad_norm=mean_norm,
                          val_psnr="" if score is None else f"{score:.6f}", seconds=round(elapsed(), 2))  # fmt: skip
                row = {"loss": 0.0, "grad_norm": 0.0, "count": 0}
                for level in objective.rows() if by_level else ():
                    level_log.write(step=step, **level, seconds=round(elapsed(), 2))
                bar.set_postfix_str(f"loss {mean_loss:.4f}" + (f", validation {score:.2f} dB" if score is not None else ""), refresh=False)
            between_steps = True
            bar.update()
            if time.monotonic() - last_save >= recipe.checkpoint_seconds:
                save()
                last_save = time.monotonic()
    except KeyboardInterrupt:
        if between_steps:
            save()
        where = "here" if between_steps else "the last checkpoint (the stop came in the middle of a step)"
        say(f"stopped at step {step} of {recipe.steps}; the same command goes on from {where} ({folder})")
        raise
    except OSError as error:
        words = f"step {step}: {folder} could not be written ({error}); free some space and start the same command again"
        raise TrainingError(words) from error
    finally:
        bar.close()
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # accelerate had put its autocast around forward

    if ema:
        bare.load_state_dict(ema.state_dict())
    seconds = elapsed()
    if main and step == recipe.steps:
        try:
            ckpt.save_weights(bare, final, recipe=recipe.hash(), name=recipe.name, steps=step, seed=recipe.seed, seconds=round(seconds, 1))
        except OSError as error:
            words = f"{final} could not be written ({error}); free some space; the same command goes on from the last checkpoint"
            raise TrainingError(words) from error
        for path in ckpt.checkpoints(folder):
            path.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return Result(bare.eval(), folder / "log.csv", final, step, seconds, resumed=saved is not None)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; pictures channels-last, which convolutions are faster on."""
    form = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(device, memory_format=form, non_blocking=True)


def _backward(accelerator, model: nn.Module, objective: Objective, batch: Batch, parts: int) -> float:
    """Loss of a batch and its gradients, in `parts` micro-batches; returns the mean loss over all processes."""
    size = len(batch[0])
    total = torch.zeros((), device=batch[0].device)
    parts = min(parts, size)  # a later stage may have fewer images a batch than there are parts
    pieces = list(zip(*(tensor.tensor_split(parts) for tensor in batch), strict=True))
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        with _exchange(accelerator, model, last), accelerator.autocast():
            # weighted by its share, so that the parts add up to the mean over the whole batch
            loss = objective(model, piece) * (len(piece[0]) / size)
            accelerator.backward(loss)
        total += loss.detach()
    return float(accelerator.reduce(total, "mean"))


def _exchange(accelerator, model: nn.Module, last: bool):
    """Gradients are exchanged between processes only after the last micro-batch."""
    return contextlib.nullcontext() if last else accelerator.no_sync(model)


def _validate(validate, bare: nn.Module, ema: EMA | None, picture: Path) -> float | dict[str, float]:
    """Score of the averaged weights, and the grid of `validate` in `picture`; weights in training and random states come back unchanged."""
    backup = copy.deepcopy(bare.state_dict()) if ema else None
    rng = torch.get_rng_state()
    if ema:
        bare.load_state_dict(ema.state_dict())
    bare.eval()
    try:
        with torch.no_grad():
            score = validate(bare)
            if hasattr(validate, "grid"):
                save_image(validate.grid(bare), picture)
            return score if isinstance(score, dict) else float(score)
    finally:
        bare.train()
        torch.set_rng_state(rng)
        if ema:
            bare.load_state_dict(backup)


def _nan_report(folder: Path, recipe: Recipe, step: int, value: float, degraded: Tensor, clean: Tensor) -> str:
    path = folder / f"nan-step-{step:08d}.safetensors"
    first = first_sample(recipe.stage, step)
    ckpt._write(path, {"degraded": degraded, "clean": clean}, {"step": step})
    return (
        f"step {step}: the loss or the gradient is {value}; stopped before the weights were touched. "
        f"The batch (samples {first} to {first + len(clean) - 1} of seed {recipe.seed}) lies in {path}. "
        f'Try a lower learning_rate, a smaller clip_norm or precision = "fp32"'
    )


def _finished(model: nn.Module, recipe: Recipe, folder: Path, device, say) -> Result:
    final = folder / "final.safetensors"
    _, meta = ckpt.read_tensors(final)
    if meta.get("recipe") != recipe.hash():
        raise TrainingError(
            f"{folder} holds a finished run of another recipe ({meta.get('recipe')}, this one is {recipe.hash()}); name another folder"
        )
    say(f"{recipe.name}: this run is done already ({meta['steps']} steps, {meta['seconds']:.0f} s); its weights are loaded")
    ckpt.load_weights(final, model)
    return Result(model.to(device).eval(), folder / "log.csv", final, meta["steps"], meta["seconds"], resumed=True)


def _progress(recipe: Recipe, step: int, show: bool):
    from tqdm import tqdm

    return tqdm(
        total=recipe.steps, initial=step, desc=recipe.name, unit="step", disable=not show,
        file=sys.stdout, mininterval=2.0, dynamic_ncols=False, ncols=100,
    )  # fmt: skip
