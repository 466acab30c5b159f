"""`course bench restormer`, `promptir`, `dfpir`: our model beside its plain form, as ratios of interleaved pairs, with peak memory.

Seconds depend on the machine and on what else runs on it; the ratio of two programs measured in turns in one process does not, much.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F

from course_lib.models import create_model
from course_lib.models.plain import PlainPromptIR, PlainRestormer
from course_lib.models.plain_dfpir import PlainDFPIR

PLAIN = {"restormer": PlainRestormer, "promptir": PlainPromptIR, "dfpir": PlainDFPIR}

# model -> work, image side, bf16 for ours (the plain form stays fp32: bf16 autocast alone gains it nothing on a CPU), least ratio asked for
CASES = {
    "restormer": (
        ("forward", 128, False, 1.5),
        ("forward", 256, False, 1.8),
        ("training step", 128, False, 1.5),
        ("forward", 128, True, 2.2),
        ("forward", 256, True, 2.8),
        ("training step", 128, True, 1.8),
    ),
    "promptir": (
        ("forward", 128, False, 1.5),
        ("forward", 256, False, 1.5),
        ("training step", 128, False, 1.4),
        ("training step", 256, False, 1.4),
    ),
    "dfpir": (
        ("forward", 128, False, 1.5),
        ("forward", 256, False, 1.5),
        ("training step", 128, False, 1.4),
    ),
}
# GiB that the plain training step needs at a side (four times the 3.9 of side 128, and weights); what does not fit is left out, aloud.
TRAINING_GIB = {256: 17}


def _models(what: str, training: bool) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(plain, ours) with the same random weights, everything that starts at one or zero shaken so that equality means something."""
    torch.manual_seed(0)
    ours, plain = create_model(what), PLAIN[what]()
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if parameter.ndim == 1 or "temperature" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    plain.load_state_dict(ours.state_dict())
    return plain.train(training), ours.train(training)


def _autocast(bf16: bool):
    return torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()


def _inputs(what: str, side: int) -> tuple[torch.Tensor, ...]:
    """A picture, and for a model that is told the degradation the vector of a text."""
    return torch.rand(1, 3, side, side), *([torch.randn(1, 512)] if what == "dfpir" else [])


def _forward(model, inputs, bf16: bool) -> Callable[[], torch.Tensor]:
    def work():
        with torch.no_grad(), _autocast(bf16):
            return model(*inputs)

    return work


def _step(model, inputs, bf16: bool, fused: bool) -> Callable[[], torch.Tensor]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-6, fused=fused)

    def work():
        with _autocast(bf16):
            restored = model(*inputs)
        loss = F.l1_loss(restored.float(), inputs[0])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return work


def _works(what: str, work: str, side: int, bf16: bool) -> dict[str, Callable]:
    plain, ours = _models(what, work != "forward")
    inputs = _inputs(what, side)
    if work == "forward":
        return {"plain": _forward(plain, inputs, False), "ours": _forward(ours, inputs, bf16)}
    return {"plain": _step(plain, inputs, False, fused=False), "ours": _step(ours, inputs, bf16, fused=True)}


def _difference(what: str, side: int, bf16: bool) -> float:
    """Largest difference of the two outputs, relative to the range of the plain one."""
    plain, ours = _models(what, False)
    inputs = _inputs(what, side)
    want, got = _forward(plain, inputs, False)(), _forward(ours, inputs, bf16)().float()
    return ((got - want).abs().max() / (want.max() - want.min())).item()


_CASE = "import sys; from course_lib import bench; bench._case(sys.argv[1])"
_PEAK = "import sys; from course_lib import bench; bench._peak(sys.argv[1])"


def _fresh(code: str, arguments: list, tick: Callable[[], object] = lambda: None) -> dict:
    """What a fresh Python prints as its last line, as JSON; `tick` is called for every line before it. Raises RuntimeError.

    Every case gets a process of its own: what the allocator kept from the case before changes seconds by a factor of two.
    """
    command = [sys.executable, "-c", code, json.dumps(arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        last = ""
        for line in process.stdout:
            last = line
            if line.strip() == "pair":
                tick()
        errors = process.stderr.read()
    if process.returncode:
        raise RuntimeError(f"the measurement of {arguments} failed: {(errors.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(last)


def _peak_kib() -> int:
    """Peak resident memory of this process. VmHWM where there is one: ru_maxrss starts at the parent's."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)


def _peak(arguments: str) -> None:
    """In a fresh process: print what one model's work adds to the peak, in MiB."""
    *case, which = json.loads(arguments)
    run = _works(*case)[which]
    before = _peak_kib()
    run()
    run()
    print(json.dumps({"mib": (_peak_kib() - before) / 1024}))


def _case(arguments: str) -> None:
    """In a fresh process: time the pairs of one case in turns, either first; print `pair` after each, then the seconds."""
    what, work, side, bf16, pairs = json.loads(arguments)
    difference = _difference(what, side, bf16)
    works = _works(what, work, side, bf16)
    for run in works.values():
        run()  # allocations, packed weights
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for index in range(pairs):
        for name in list(works) if index % 2 == 0 else list(works)[::-1]:
            start = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - start)
        print("pair", flush=True)
    print(json.dumps({"seconds": seconds, "difference": difference}))


def _possible(work: str, side: int, bf16: bool) -> bool:
    """Whether this machine has what a case needs. A case left out for want of memory is named in a warning."""
    from course_lib.training.device import fast_bf16

    if bf16 and not fast_bf16(torch.device("cpu")):
        return False
    needed = TRAINING_GIB.get(side, 0) if work != "forward" else 0
    import psutil

    free = psutil.virtual_memory().available / 2**30
    if free < needed:
        warnings.warn(f"bench: {work} at {side} left out, it needs {needed} GiB of memory and {free:.0f} are free", stacklevel=3)
    return free >= needed


def bench_model(what: str, pairs: int = 9, progress: bool = True) -> list[dict]:
    """One row a case: median seconds of both, median ratio of the pairs with its range, peak MiB of both, largest relative difference."""
    from tqdm import tqdm

    if pairs < 1:
        raise ValueError(f"bench: pairs must be at least 1, got {pairs}")
    cases = [case for case in CASES[what] if _possible(*case[:3])]
    bar = tqdm(total=len(cases) * pairs, desc=f"bench {what}", unit="pair", disable=not progress)
    rows = []
    for work, side, bf16, least in cases:
        measured = _fresh(_CASE, [what, work, side, bf16, pairs], bar.update)
        seconds = measured["seconds"]
        ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"], strict=True)]
        peaks = {which: _fresh(_PEAK, [what, work, side, bf16, which])["mib"] for which in ("plain", "ours")}
        rows.append(
            {
                "work": work,
                "side": side,
                "ours": "bf16" if bf16 else "fp32",
                "plain_seconds": statistics.median(seconds["plain"]),
                "ours_seconds": statistics.median(seconds["ours"]),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "asked": least,
                "plain_peak_mib": peaks["plain"],
                "ours_peak_mib": peaks["ours"],
                "difference": measured["difference"],
            }
        )
    bar.close()
    return rows


def _text(rows: list[dict]) -> str:
    titles = ("work", "side", "ours", "plain s", "ours s", "ratio", "(range)", "asked", "MiB plain", "MiB ours", "difference")
    lines = ["{:14} {:>4} {:>5} {:>8} {:>8} {:>6} {:>13} {:>6} {:>10} {:>9} {:>10}".format(*titles)]
    for r in rows:
        low, high = r["ratio_range"]
        lines.append(
            f"{r['work']:14} {r['side']:4d} {r['ours']:>5} {r['plain_seconds']:8.3f} {r['ours_seconds']:8.3f} {r['ratio']:6.2f} "
            f"({low:5.2f}-{high:5.2f}) {r['asked']:6.1f} {r['plain_peak_mib']:10.0f} {r['ours_peak_mib']:9.0f} {r['difference']:10.1e}"
        )
    lines.append(f"{torch.get_num_threads()} threads, torch {torch.__version__}; the plain form is fp32, (B, C, H, W), AdamW not fused")
    return "\n".join(lines)


def run_bench(what: str, pairs: int = 9, progress: bool = True) -> tuple[list[dict], str]:
    """Rows and a printable table of a benchmark by name. Raises ValueError for an unknown one."""
    if what == "data":
        from course_lib.bench_data import bench_data, text_of

        rows = bench_data(pairs, progress)
        return rows, text_of(rows)
    if what not in CASES:
        raise ValueError(f"unknown benchmark {what!r}; there are: {', '.join([*CASES, 'data'])}")
    rows = bench_model(what, pairs, progress)
    return rows, _text(rows)
