"""The checks behind `course doctor`: each yields findings and changes nothing. `course_lib.doctor` runs and reports them."""

import importlib
import importlib.metadata as metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from course_lib.doctor import Finding, candidates, cuda_name, device_remedy, first_line, trouble_of

DISTRIBUTION = "course-lib"
OLDEST, NEWEST = (3, 11), (3, 13)
_MODULES = {
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "pypandoc-binary": "pypandoc",
    "noto-cjk-sans-otc": "noto_cjk_sans_otc",
}
_EXTRAS = "needed to build, run or print notebooks, not to follow a lesson"
_GIB = 1024**3


def check_python(_: str) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST:
        yield Finding("python", "fail", version, "install Python 3.11, 3.12 or 3.13 and set the course up again")
    elif sys.version_info[:2] > NEWEST:
        yield Finding("python", "warn", f"{version}; tested with 3.11 to 3.13", "if an import fails, use Python 3.13")
    else:
        yield Finding("python", "ok", f"{version} ({sys.executable})")


def _requirements() -> list:
    """[(Requirement, from the `workbook` extra?)] out of the installed metadata, else out of pyproject.toml in the checkout."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        import tomllib

        from course_lib.paths import repo_root

        project = tomllib.loads((repo_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = project["dependencies"] + [f"{line}; extra == 'workbook'" for line in project["optional-dependencies"]["workbook"]]
    found = []
    for requirement in map(Requirement, lines):
        core = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if core or requirement.marker.evaluate({"extra": "workbook"}):
            found.append((requirement, not core))
    return found


def check_packages(_: str) -> Iterator[Finding]:
    absent = []
    for requirement, extra in _requirements():
        name = requirement.name.lower().replace("_", "-")
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            if extra:
                absent.append(f"{requirement.name}{requirement.specifier}")
            else:
                yield Finding(name, "fail", "not installed", _install(requirement))
            continue
        yield _package(name, installed, requirement, extra)
    if absent:  # one line for all: a student who only follows lessons lacks most of them, and rightly
        remedy = "python -m pip install " + " ".join(f'"{line}"' for line in absent)
        yield Finding("notebook tools", "warn", f"{len(absent)} not installed; {_EXTRAS}", remedy)


def _install(requirement) -> str:
    return f'python -m pip install "{requirement.name}{requirement.specifier}"'


def _package(name: str, installed: str, requirement, extra: bool) -> Finding:
    if not requirement.specifier.contains(installed, prereleases=True):
        return Finding(name, "warn", f"{installed} is outside the supported range {requirement.specifier}", _install(requirement))
    try:
        loaded = str(getattr(importlib.import_module(_MODULES.get(name, name)), "__version__", installed))
    except Exception as error:
        words = f"{installed} is installed but its import fails: {first_line(error)}"
        return Finding(name, "warn" if extra else "fail", words, f"{_install(requirement)} --force-reinstall")
    if _public(loaded) != _public(installed):
        words = f"{loaded} is loaded but {installed} is installed"
        return Finding(name, "fail", words, "restart the runtime (kernel), then run on from the top")
    return Finding(name, "ok", loaded)


def _public(version: str) -> str:
    """Version without the local part: torch calls itself 2.6.0+cu124, its metadata may say 2.6.0."""
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(version).public)
    except InvalidVersion:
        return version


def check_machine(_: str) -> Iterator[Finding]:
    import psutil
    import torch

    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    try:  # a container's own limit, which psutil does not know
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
        free = min(free, total - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    text = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    low = free < 2 * _GIB
    yield Finding("memory", "warn" if low else "ok", text, "close other notebooks and programs; lessons want 2 GiB" if low else "")
    for name, folder in (("disk, working folder", Path.cwd()), ("disk, temporary files", Path(tempfile.gettempdir()))):
        if folder.is_dir():
            space = shutil.disk_usage(folder).free
            status = "fail" if space < 0.1 * _GIB else "warn" if space < 2 * _GIB else "ok"
            remedy = "" if status == "ok" else "delete what you no longer need there"
            yield Finding(name, status, f"{space / _GIB:.1f} GiB free in {folder}", remedy)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    over = threads > usable
    yield Finding(
        "cpu", "warn" if over else "ok", f"{usable} of {os.cpu_count()} cores usable, torch uses {threads} threads",
        f"set OMP_NUM_THREADS={usable}: more threads than cores slow torch down" if over else "",
    )  # fmt: skip


def check_device(preference: str) -> Iterator[Finding]:
    import torch

    chosen, tried = None, candidates(preference)
    if preference in ("", "auto") and tried[0].type == "cpu" and shutil.which("nvidia-smi"):
        trouble = "an NVIDIA driver is installed, but " + trouble_of(torch.device("cuda"))
        yield Finding("device cuda", "warn", trouble, device_remedy(trouble))
    for device in tried:
        trouble = trouble_of(device)
        if not trouble:
            chosen = chosen or device
            words = cuda_name(device) if device.type == "cuda" else "Apple GPU" if device.type == "mps" else "CPU"
            yield Finding(f"device {device}", "ok", f"{words}: a convolution and its backward pass work")
        else:
            # "auto" may fall back and still run everything; a device asked for by name, or the CPU, has to work.
            status = "warn" if preference in ("", "auto") and device.type != "cpu" else "fail"
            yield Finding(f"device {device}", status, trouble, device_remedy(trouble))
    if chosen is not None:
        words = "; no GPU, so profile quick" if chosen.type == "cpu" else ""
        yield Finding("lessons compute on", "ok", f"{chosen}{words}")


def check_bf16(_: str) -> Iterator[Finding]:
    import time

    import torch

    times = {torch.float32: [], torch.bfloat16: []}
    operands = {dtype: (torch.randn(1, 48, 96, 96).to(dtype), torch.randn(96, 48, 3, 3).to(dtype)) for dtype in times}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads on a busy core wait for each other, which would drown the difference
    try:
        for _ in range(8):  # in turns, and the best of each: the first calls set things up
            for dtype, (image, weight) in operands.items():
                start = time.perf_counter()
                result = torch.nn.functional.conv2d(image, weight)
                times[dtype].append(time.perf_counter() - start)
        if not bool(result.isfinite().all()):
            raise RuntimeError("a bf16 convolution gives values that are not finite")
    except RuntimeError as error:
        yield Finding("bf16 on the CPU", "warn", first_line(error), "leave the precision at fp32 (the default on a CPU)")
        return
    finally:
        torch.set_num_threads(threads)
    ratio = min(times[torch.float32]) / min(times[torch.bfloat16])
    advice = "" if ratio > 1.1 else ": fp32 is the better choice here"
    yield Finding("bf16 on the CPU", "ok", f"works; a convolution runs at {ratio:.1f} times the speed of fp32{advice}")


def check_printing(_: str) -> Iterator[Finding]:
    install = "python -m pip install {}; without it reports come out as HTML"
    try:
        import pypandoc

        yield Finding("pandoc", "ok", f"{pypandoc.get_pandoc_version()} ({pypandoc.get_pandoc_path()})")
    except (ImportError, OSError) as error:
        yield Finding("pandoc", "warn", first_line(error), install.format("pypandoc_binary"))
    try:
        import typst

        if not bytes(typst.compile(b"A page")).startswith(b"%PDF"):
            raise RuntimeError("typst made no PDF of a one-line page")
        yield Finding("typst", "ok", "makes a PDF")
    except (ImportError, RuntimeError) as error:
        yield Finding("typst", "warn", first_line(error), install.format('"typst>=0.14,<0.15"'))
    font = _cjk_font()
    wheel = "python -m pip install noto-cjk-sans-otc, else Chinese text is missing in the PDF"
    yield Finding("font, Chinese", "ok" if font else "warn", font or "the Noto CJK font wheel is not installed", "" if font else wheel)


def _cjk_font() -> str:
    """Path of the font file in the Noto CJK wheel, or "" when it is not there."""
    try:
        package = importlib.import_module("noto_cjk_sans_otc")
    except ImportError:
        return ""
    files = [f for pattern in ("*.ttc", "*.otc", "*.otf") for f in Path(package.__file__).parent.rglob(pattern) if f.stat().st_size > 1e6]
    return str(files[0]) if files else ""


def check_kernel(_: str) -> Iterator[Finding]:
    add = f"{sys.executable} -m ipykernel install --sys-prefix --name python3"
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as error:
        yield Finding("jupyter kernel", "warn", first_line(error), 'python -m pip install "course-lib[workbook]"')
        return
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
        if command in {"python", "python3", f"python3.{sys.version_info[1]}"}:
            command = sys.executable  # jupyter_client replaces a bare name by the Python that it runs in
    except NoSuchKernel:
        yield Finding("jupyter kernel", "warn", "no kernel named python3", add)
        return
    path = shutil.which(command)
    if path is None:
        yield Finding("jupyter kernel", "warn", f"the kernel python3 starts {command}, which does not exist", add)
    elif Path(command).is_absolute() and Path(path).parent != Path(sys.executable).parent:
        yield Finding("jupyter kernel", "warn", f"the kernel python3 starts {path}, not this Python ({sys.executable})", add)
    else:
        yield Finding("jupyter kernel", "ok", f"python3 starts {path}")


def check_data(_: str) -> Iterator[Finding]:
    from course_lib.paths import benchmark_root, data_root

    again = "get the course's folder data/ again (git checkout data, or install the wheel again)"
    try:
        root = data_root()
    except FileNotFoundError as error:
        yield Finding("photographs", "fail", str(error), again)
    else:
        photos = [p for p in (root / "photos").rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
        yield Finding("photographs", "ok" if photos else "fail", f"{len(photos)} in {root / 'photos'}", "" if photos else again)
        weights = list((root / "checkpoints").rglob("*.safetensors"))
        remedy = "" if weights else f"{again}; until then lessons show only what they train themselves"
        yield Finding("trained weights", "ok" if weights else "warn", f"{len(weights)} in {root / 'checkpoints'}", remedy)
    folder, chosen = benchmark_root(), bool(os.environ.get("COURSE_DATA_DIR"))
    if folder.exists() and not folder.is_dir():
        yield Finding("benchmark sets", "fail", f"{folder} is a file, but a folder is needed there", "name a folder in COURSE_DATA_DIR")
    elif folder.is_dir():
        sets = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        yield Finding("benchmark sets", "ok", f"{len(sets)} folders in {folder}" + (f": {', '.join(sets[:8])}" if sets else ""))
    elif chosen:
        words = f"COURSE_DATA_DIR names {folder}, which does not exist"
        yield Finding("benchmark sets", "warn", words, "make the folder or correct the variable")
    else:
        yield Finding("benchmark sets", "ok", f"none yet (they would lie in {folder}; no lesson needs them)")


def check_words(_: str) -> Iterator[Finding]:
    """The text encoders; open_clip itself is not imported, which takes ten seconds: what fails in it is torchvision."""
    from importlib.util import find_spec

    from course_lib.prompts import prompt_folder
    from course_lib.text_encoders import OPENAI

    own = "the course's own texts need no encoder"
    if find_spec("open_clip") is None:
        yield Finding("text encoder", "warn", f"open_clip is not installed; {own}", "python -m pip install open_clip_torch")
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        remedy = "install the torchvision that belongs to this torch (pytorch.org)"
        yield Finding("text encoder", "warn", f"open_clip cannot work without torchvision ({first_line(error)}); {own}", remedy)
        return
    file = prompt_folder() / OPENAI.file
    there = f"CLIP's weights are in {file}" if file.is_file() else f"CLIP's weights (354 MB) would be downloaded to {file} when first used"
    yield Finding("text encoder", "ok", f"open_clip {metadata.version('open_clip_torch')}; {there}")


def check_sandbox(_: str) -> Iterator[Finding]:
    import subprocess

    only = "only instructors need it, to grade foreign notebooks"
    tool = shutil.which("bwrap")
    if tool is None:
        remedy = "Linux: sudo apt install bubblewrap (or dnf install bubblewrap); elsewhere grade in a Linux machine"
        yield Finding("sandbox", "warn", f"bwrap not found; {only}", remedy)
        return
    trial = subprocess.run(
        [tool, "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"], capture_output=True, text=True, timeout=20
    )
    if trial.returncode:
        said = (trial.stderr.strip().splitlines() or ["no message"])[0]
        remedy = "allow unprivileged user namespaces, or grade outside this container"
        yield Finding("sandbox", "warn", f"bwrap is there but fails ({said}); {only}", remedy)
    else:
        yield Finding("sandbox", "ok", f"{tool} isolates a process")


def check_network(_: str) -> Iterator[Finding]:
    yield Finding("network", "ok", "not needed: photographs and trained weights come with the course")


CHECKS: tuple[Callable[[str], Iterator[Finding]], ...] = (
    check_python, check_packages, check_machine, check_device, check_bf16,
    check_printing, check_kernel, check_data, check_words, check_sandbox, check_network,
)  # fmt: skip
