"""`course bench data`: what degrading a batch costs beside a training step of the small Restormer, on the same device in one run."""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

BATCH, SIDE = 8, 128
ASKED = 0.1  # a batch must cost less than this share of a training step, so that the synthesis never starves the training


def _timed(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _training_step(device: torch.device, clean: torch.Tensor) -> Callable[[], object]:
    """A step of the shipped denoiser's recipe (its model and precision) on a batch of `clean`'s shape."""
    from course_lib.models import create_model
    from course_lib.training import load_recipe
    from course_lib.training.device import fast_bf16

    recipe = load_recipe("restormer_small_denoise")
    model = create_model(recipe.model, **recipe.config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    bf16 = fast_bf16(device)

    def step() -> float:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            restored = model(clean)
        loss = F.l1_loss(restored.float(), clean)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def bench_data(pairs: int = 9, progress: bool = True, device: str = "auto") -> list[dict]:
    """One row a degradation and a CDD-11 task: median seconds of a batch (8, 3, 128, 128), of a step beside it, and their ratio.

    Parameters are drawn afresh in every repeat, as in training. Step and degradation are measured in turns.
    """
    from tqdm import tqdm

    from course_lib.datasets.photos import load_photos
    from course_lib.degradations.composite import CDD11_TASKS, DEGRADATIONS, composite
    from course_lib.doctor import usable_device

    if pairs < 1:
        raise ValueError(f"bench: pairs must be at least 1, got {pairs}")
    place = torch.device(usable_device(device))
    photos = list(load_photos("test").values())
    clean = torch.stack([photos[i % len(photos)][:, 40 * i // 5 :, 40:][:, :SIDE, :SIDE] for i in range(BATCH)]).to(place)
    step = _training_step(place, clean)
    works = {kind: [kind] for kind in DEGRADATIONS} | {f"CDD-11 {task}": task for task in CDD11_TASKS}
    for _ in range(2):
        step()
    for what in works.values():
        composite(clean, what, 0)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    steps: list[float] = []
    for repeat in tqdm(range(pairs), desc="bench data", unit="round", disable=not progress):
        steps.append(_timed(step, place))
        for name, what in works.items():
            seconds[name].append(_timed(lambda what=what, repeat=repeat: composite(clean, what, 1000 * repeat + 1), place))
    rows = []
    for name in works:
        ratios = [own / one_step for own, one_step in zip(seconds[name], steps, strict=True)]
        rows.append(
            {
                "degradation": name,
                "seconds": statistics.median(seconds[name]),
                "step_seconds": statistics.median(steps),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "asked": ASKED,
                "device": str(place),
            }
        )
    return rows


def text_of(rows: list[dict]) -> str:
    """The rows as a table to print."""
    lines = [f"{'degradation':22} {'batch ms':>9} {'step ms':>8} {'ratio':>7} {'(range)':>15} {'asked':>6}"]
    for r in rows:
        low, high = r["ratio_range"]
        lines.append(
            f"{r['degradation']:22} {1e3 * r['seconds']:9.1f} {1e3 * r['step_seconds']:8.0f} {r['ratio']:7.4f} "
            f"({low:6.4f}-{high:6.4f}) {r['asked']:6.2f}"
        )
    lines.append(f"batches of {BATCH}x3x{SIDE}x{SIDE} on {rows[0]['device']}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    return "\n".join(lines)
