"""A CDD-11-like set from any clean images: `clear` and the eleven task folders, the same file name in each, every parameter recorded.

What was done to NAME stands in `parameters/NAME.json`; with `clear/NAME.png` it makes the same pixels again (`replay`).
An image's seed depends on the set's seed and its own name only, so more images, fewer processes or another order change nothing.
"""

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from course_lib.images import list_images, load_image, save_image, to_uint8
from course_lib.paths import ensure_folder, write_atomic

SETTINGS = "settings.json"
FORM = 1  # grows when the same seed would make other pixels


@dataclass(frozen=True)
class Maps:
    """Folders of maps to use instead of made ones: `depth` by the clean image's name, masks drawn from their folder by the seed."""

    depth: Path | None = None
    rain: Path | None = None
    snow: Path | None = None

    def to_dict(self) -> dict[str, str | None]:
        return {name: str(folder.resolve()) if folder else None for name, folder in vars(self).items()}


def image_seed(seed: int, name: str, task: str) -> int:
    """Seed of one picture of the set, from the set's seed, the file's stem and the task."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}/{task}".encode()).digest()[:6], "big")


def make_cdd11(
    clean_dir: str | Path,
    out: str | Path,
    processes: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    maps: Maps = Maps(),
    progress: bool = True,
    say: Callable[[str], object] = print,
) -> dict:
    """Compose the eleven tasks from every image of `clean_dir` into `out`; what is there already is kept. Ctrl-C and again goes on.

    Returns {"images", "made", "kept", "failed": {file: reason}, "out"}. An unreadable image is named, and the others are made.
    Raises ValueError when two images share a stem, or when `out` was made with other settings or holds something else.
    """
    from tqdm import tqdm

    files = list_images(clean_dir)[:limit]
    stems: dict[str, Path] = {}
    for path in files:
        if path.stem in stems:
            raise ValueError(f"{stems[path.stem].name} and {path.name} in {clean_dir} would both become {path.stem}.png; rename one")
        stems[path.stem] = path
    out = _claim(Path(out), {"form": FORM, "seed": seed, "maps": maps.to_dict()})
    todo = [path for path in files if not _is_done(out, path)]
    result = {"images": len(files), "made": 0, "kept": len(files) - len(todo), "failed": {}, "out": str(out)}
    processes = max(1, min(processes or os.cpu_count() or 1, len(todo)))
    # spawn, not fork: torch's threads do not survive a fork
    with tqdm(total=len(files), initial=result["kept"], desc="cdd11", unit="image", disable=not progress) as bar:
        for path, error in _run(todo, out, seed, maps, processes):
            bar.update()
            if error is None:
                result["made"] += 1
            else:
                result["failed"][path.name] = error
                say(f"{path}: {error}")
    if not result["failed"]:
        records = [json.loads((out / "parameters" / f"{path.stem}.json").read_text(encoding="utf-8")) for path in files]
        write_atomic(out / "parameters.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    return result


def _run(todo: list[Path], out: Path, seed: int, maps: Maps, processes: int):
    """Yields (file, None or what went wrong) as the images are done, in this process or in several."""
    if processes == 1:
        for path in todo:
            yield path, compose_one(path, out, seed, maps)
        return
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet_worker)
    try:
        waiting = {pool.submit(compose_one, path, out, seed, maps): path for path in todo}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
        pool.shutdown()
    except BaseException:  # Ctrl-C too: drop what has not begun, let what runs end its file
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _quiet_worker() -> None:
    torch.set_num_threads(1)  # the processes share the cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one decides


def compose_one(path: Path, out: Path, seed: int, maps: Maps = Maps()) -> str | None:
    """All eleven pictures of one clean image, and last of all its record; None, or what went wrong."""
    from course_lib.degradations.composite import CDD11_TASKS, draw_composite
    from course_lib.degradations.lime import illumination_map

    try:
        clean = to_uint8(load_image(path)[None]).float() / 255  # what `clear` will hold, so that a replay starts from the same
        record = {"clean": path.name, "sha256": _digest(path), "height": clean.shape[2], "width": clean.shape[3], "tasks": {}}
        light = illumination_map(clean)  # the same for every task of this picture: estimated once
        for task in CDD11_TASKS:
            own_seed = image_seed(seed, path.stem, task)
            given, sources = _maps_for(maps, path, task, own_seed, clean.shape[-2:])
            what = draw_composite(task, own_seed, given=tuple(given))
            save_image(what.apply(clean, light=light, **given), out / task / f"{path.stem}.png")
            record["tasks"][task] = {**what.to_dict(), "maps": sources}
        save_image(clean, out / "clear" / f"{path.stem}.png")
        write_atomic(out / "parameters" / f"{path.stem}.json", json.dumps(record, indent=1))
    except (OSError, ValueError) as error:
        return str(error)
    return None


def replay(out: str | Path, name: str, task: str) -> Tensor:
    """The picture (1, 3, H, W) of `out/task/name.png` made again from `clear` and the record, before rounding to 8 bit."""
    from course_lib.degradations.composite import Composite

    out = Path(out)
    record = json.loads((out / "parameters" / f"{name}.json").read_text(encoding="utf-8"))["tasks"][task]
    clean = load_image(out / "clear" / f"{name}.png")[None]
    given = {kind: _load_map(Path(file), kind, clean.shape[-2:]) for kind, file in record["maps"].items()}
    return Composite.from_dict(record).apply(clean, **given)


def _maps_for(maps: Maps, path: Path, task: str, seed: int, size) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The maps from outside that this picture uses, and the files that they came from."""
    sources: dict[str, Path] = {}
    steps = task.split("_")
    if maps.depth and "haze" in steps:
        found = [file for file in list_images(maps.depth) if file.stem == path.stem]
        if not found:
            raise ValueError(f"no depth map named {path.stem}.* in {maps.depth}; add it, or leave --depth out for a made one")
        sources["depth"] = found[0]
    for step, folder in (("rain", maps.rain), ("snow", maps.snow)):
        if folder and step in steps:
            files = list_images(folder)
            sources[f"{step}_mask"] = files[seed % len(files)]
    return {kind: _load_map(file, kind, size) for kind, file in sources.items()}, {kind: str(file) for kind, file in sources.items()}


def _load_map(file: Path, kind: str, size) -> Tensor:
    """A map file as (1, 1 or 3, H, W) of the picture's size; depth is one channel."""
    image = load_image(file)[None]
    if tuple(image.shape[-2:]) != tuple(size):
        image = torch.nn.functional.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
    return image.mean(1, keepdim=True) if kind == "depth" else image


def _claim(out: Path, settings: dict) -> Path:
    """`out`, new or ours with the same settings. Raises ValueError."""
    mark = out / SETTINGS
    if mark.is_file():
        before = json.loads(mark.read_text(encoding="utf-8"))
        if changed := [key for key in settings if before.get(key) != settings[key]]:
            key = changed[0]
            raise ValueError(f"{out} was made with {key} {before.get(key)}, not {settings[key]}; name another folder, or delete this one")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} holds something else; name a new folder for the set")
    ensure_folder(out)
    write_atomic(mark, json.dumps(settings, indent=1))
    return out


def _is_done(out: Path, path: Path) -> bool:
    """Whether the record of this very file and all its pictures are there."""
    from course_lib.degradations.composite import CDD11_TASKS

    record = out / "parameters" / f"{path.stem}.json"
    if not record.is_file() or not all((out / folder / f"{path.stem}.png").is_file() for folder in ("clear", *CDD11_TASKS)):
        return False
    return json.loads(record.read_text(encoding="utf-8")).get("sha256") == _digest(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
