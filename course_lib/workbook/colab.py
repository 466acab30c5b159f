"""The set-up cell of every lesson: makes course_lib importable on Colab, Kaggle or any fresh environment, and changes nothing else."""

from __future__ import annotations

# The cell cannot import course_lib before it is installed, so its logic is text. Three rules, each from a course that broke:
# what the platform owns is never asked for; pip may not change a version of anything present (constraints); and a module that was
# loaded before the installation is compared with what lies on disk afterwards. PyPI's torch says 2.6.0+cu124 when loaded and 2.6.0
# on disk, hence the cut at "+". Without torch nothing is installed: accelerate would pull in a torch of its own choice.
_CELL = """\
# Set-up for Colab, Kaggle or any fresh environment. Where course_lib is installed already it does nothing.
import importlib, importlib.metadata, importlib.util, os, re, subprocess, sys, tempfile

PLATFORM = {"torch", "torchvision", "numpy", "pandas", "matplotlib", "ipython", "scipy"}  # never installed from here
COMMAND = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2"]

def pip(*what):
    done = subprocess.run([*COMMAND, *what], capture_output=True, text=True)
    importlib.invalidate_caches()
    if done.returncode:
        raise OSError(([line for line in done.stderr.splitlines() if "rror" in line or "No mod" in line] or ["pip failed"])[-1][:300])

def installed():  # the first on the path is the one that gets imported
    found = [(re.sub(r"[-_.]+", "-", d.metadata["Name"] or "").lower(), d.version) for d in importlib.metadata.distributions()]
    return {name: version for name, version in reversed(found) if name and re.match(r"\\d", version or "")}

def advice(modules, have, absent=()):
    loaded = {n: str(getattr(modules.get({"ipython": "IPython"}.get(n, n)), "__version__", "")) for n in sorted(PLATFORM & set(have))}
    changed = [f"{n} {v} is loaded, {have[n]} is installed" for n, v in loaded.items() if v and v.split("+")[0] != have[n].split("+")[0]]
    if changed:
        return f"Restart the runtime, then run all cells: {'; '.join(changed)}."
    return f"Missing here: {', '.join(absent)}. Run: pip install {' '.join(absent)}" if absent else ""

def set_up_course(source):
    new = importlib.util.find_spec("course_lib") is None
    if new and not importlib.util.find_spec("torch"):
        return "Missing here: torch. Install it first (pytorch.org), then run this cell again."
    try:
        if new:
            pip("--no-deps", os.environ.get("COURSE_INSTALL_FROM") or source)
        have = installed()  # a checkout on the path has no distribution, and asks for nothing
        needs = [need for need in ("course-lib" in have and importlib.metadata.requires("course-lib")) or [] if "extra ==" not in need]
        names = {re.sub(r"[-_.]+", "-", re.match(r"[\\w.-]+", need)[0]).lower(): need for need in needs}
        light = [need for name, need in names.items() if name not in PLATFORM | set(have)]
        held = os.path.join(tempfile.mkdtemp(), "held.txt")  # the versions that pip may not change
        with open(held, "w") as file:
            file.writelines(f"{name}=={version}\\n" for name, version in have.items())
        light and pip("--constraint", held, *light)
    except OSError as error:
        return f"The set-up is not finished. No network? (Kaggle: Settings, Internet on.) Then run this cell again. {error}"
    have = installed()
    return advice(sys.modules, have, sorted(set(names) - set(have))) or (f"course_lib {have['course-lib']} is ready." if new else "")

if message := set_up_course("SOURCE"):
    print(message)
"""


def setup_cell(repository: str, branch: str) -> str:
    """Source of the first code cell; installs from the archive of `branch` unless COURSE_INSTALL_FROM names a folder or a wheel."""
    # The archive needs no git on the platform, and the address works for a branch and for a tag alike.
    return _CELL.replace("SOURCE", f"{repository}/archive/{branch}.zip").rstrip("\n")
