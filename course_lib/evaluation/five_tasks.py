"""The course's own small test: five tasks on the test photographs, with every strength and seed fixed in `data/protocol/five_tasks.json`.

Every results table of the course uses these pictures, so that its numbers can be compared. The file is the authority: it holds the
parameters, not a recipe for drawing them. `python -m course_lib.evaluation.five_tasks` measures it afresh and says what differs.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from course_lib.evaluation.protocol import centre_crop
from course_lib.metrics import psnr, ssim
from course_lib.paths import data_root, write_atomic

TASKS = ("noise", "blur", "rain", "haze", "low_light")
CROP = 320  # centre crop, so that a table is had on a CPU in minutes; a multiple of 16, as the papers crop
# values that are the same for every photograph; the others are drawn once, from the seeds in the file
KINDS = {
    "noise": ("gaussian_noise", {"sigma": 25.0}),
    "blur": ("motion_blur", {"length": 11.0}),
    "rain": ("rain", {}),
    "haze": ("haze", {}),
    "low_light": ("low_light", {}),
}


def protocol_file() -> Path:
    """`data/protocol/five_tasks.json`."""
    return data_root() / "protocol" / "five_tasks.json"


def load_protocol() -> dict:
    """The protocol as it is written. Raises ValueError naming the file when it is missing or broken."""
    path = protocol_file()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); it belongs to the course, fetch it again") from None


def task_pairs(task: str, protocol: dict | None = None) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(photograph, degraded, clean), each (1, 3, h, w), of one of `TASKS`. Raises ValueError for another name."""
    from course_lib.datasets.photos import load_photos
    from course_lib.degradations.composite import DEGRADATIONS

    protocol = protocol or load_protocol()
    if task not in protocol["tasks"]:
        raise ValueError(f"unknown task {task!r}; the protocol has {', '.join(protocol['tasks'])}")
    entry = protocol["tasks"][task]
    photos = load_photos("test")
    for name, one in entry["photographs"].items():
        clean = centre_crop(photos[name][None], side=protocol["crop"])
        parameters = DEGRADATIONS[entry["kind"]].from_dict(one["parameters"])
        yield name, parameters.apply(clean, [one["seed"]], clip=entry["clip"]), clean


def draw_protocol() -> dict:
    """The protocol drawn afresh: what the shipped file was made by, without its measurements."""
    from course_lib.datasets.photos import photo_files
    from course_lib.degradations.composite import DEGRADATIONS

    tasks = {}
    for number, task in enumerate(TASKS):
        kind, fixed = KINDS[task]
        photographs = {}
        for index, path in enumerate(photo_files("test")):
            seed = 1000 * (number + 1) + index
            parameters = DEGRADATIONS[kind].sample(seed, **fixed)
            rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in parameters.to_dict().items()}
            photographs[path.stem] = {"seed": seed, "parameters": rounded}
        # denoisers are tested on noise that is not clipped (Restormer's protocol); every other camera saves what fits its range
        tasks[task] = {"kind": kind, "clip": task != "noise", "photographs": photographs}
    return {
        "about": "Five tasks on the test photographs; python -m course_lib.evaluation.five_tasks measures them.",
        "crop": CROP,
        "tasks": tasks,
    }


def classical_method(task: str) -> tuple[str, Callable[[Tensor, dict], Tensor]]:
    """(name, restore(degraded, parameters)) of the classical row of one of `TASKS`; noise and blur are told their parameters."""
    from course_lib.degradations.blur import motion_kernel
    from course_lib.evaluation import classical

    methods = {
        "noise": ("non-local means, told sigma", lambda image, own: classical.non_local_means(image, own["sigma"])),
        "blur": (
            "Richardson-Lucy, told the kernel",
            lambda image, own: classical.richardson_lucy(image, motion_kernel(own["length"], own["angle"])),
        ),
        "rain": ("rank filter", lambda image, own: classical.rank_filter(image)),
        "haze": ("dark channel prior", lambda image, own: classical.dehaze_dark_channel(image)),
        "low_light": ("gamma curve", lambda image, own: classical.gamma_curve(image)),
    }
    return methods[task]


def measure(protocol: dict) -> dict:
    """`protocol` with `input_psnr` (dB) and `input_ssim` of each photograph and task, and the `classical` row of each task."""
    for task, entry in protocol["tasks"].items():
        method, restore = classical_method(task)
        table: dict[str, list[float]] = {"input_psnr": [], "input_ssim": [], "psnr": [], "ssim": []}
        for name, degraded, clean in task_pairs(task, protocol):
            one = entry["photographs"][name]
            restored = restore(degraded, one["parameters"]).clamp(0, 1)
            numbers = [metric(image, clean).item() for image in (degraded, restored) for metric in (psnr, ssim)]
            one["input_psnr"], one["input_ssim"] = (round(number, 4) for number in numbers[:2])
            for column, number in zip(table.values(), numbers, strict=True):
                column.append(number)
        means = {key: round(sum(column) / len(column), 4) for key, column in table.items()}
        entry["input_psnr"], entry["input_ssim"] = means["input_psnr"], means["input_ssim"]
        entry["classical"] = {"method": method, "psnr": means["psnr"], "ssim": means["ssim"]}
    return protocol


def differences(old: dict, new: dict, tolerance: float = 0.01) -> list[str]:
    """What two measured protocols differ in, as lines; figures count from `tolerance` (dB, SSIM) on."""
    lines = []
    for task in new["tasks"]:
        for key in ("input_psnr", "input_ssim"):
            before, after = old["tasks"].get(task, {}).get(key, float("nan")), new["tasks"][task][key]
            if not abs(before - after) <= tolerance:
                lines.append(f"{task}: {key} {before} in the file, {after} measured")
        before, after = (p["tasks"].get(task, {}).get("classical", {}).get("psnr", float("nan")) for p in (old, new))
        if not abs(before - after) <= tolerance:
            lines.append(f"{task}: classical PSNR {before} in the file, {after} measured")
    return lines


def table_text(protocol: dict) -> str:
    """The input and the classical row of every task, to print."""
    lines = [f"{'task':10} {'kind':15} {'input PSNR':>10} {'SSIM':>6}   classical method"]
    for task, entry in protocol["tasks"].items():
        classical = entry["classical"]
        lines.append(
            f"{task:10} {entry['kind']:15} {entry['input_psnr']:10.2f} {entry['input_ssim']:6.3f}   "
            f"{classical['method']} {classical['psnr']:.2f} / {classical['ssim']:.3f}"
        )
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Measure the file and say what differs; `--draw` makes it afresh. Exit status 1 when something differs."""
    torch.manual_seed(0)
    if "--draw" in words:
        protocol = measure(draw_protocol())
        print(table_text(protocol))
        print("written:", write_atomic(protocol_file(), json.dumps(protocol, indent=1) + "\n"))
        return 0
    old = load_protocol()
    new = measure(json.loads(json.dumps(old)))
    print(table_text(new))
    lines = differences(old, new)
    print("\n".join(lines) if lines else "as in the file")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
