"""The project as a whole: requirements that agree, nothing that belongs to one machine, a quick import, small files."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEXT = {".py", ".toml", ".md", ".yml", ".yaml", ".lock", ".txt", ".sh", ".cff", ".ipynb", ".json", ".csv", ".typ", ".ini", ".cfg", ""}


def project_files():
    """Every file that is, or would be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_files():
    return [path for path in project_files() if path.suffix.lower() in TEXT and path != Path(__file__)]


def requirement(text):
    """Name, spelt one way, and the set of its limits."""
    name, limits = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;#]*)", text).groups()
    return re.sub(r"[-_.]+", "-", name).lower(), frozenset(part.strip() for part in limits.split(",") if part.strip())


def test_environment_yml_equals_pyproject():
    yaml = pytest.importorskip("yaml")
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    wanted = dict(map(requirement, PYPROJECT["project"]["dependencies"]))
    for extra in PYPROJECT["project"]["optional-dependencies"].values():
        wanted |= dict(map(requirement, extra))
    entries = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            entries += entry["pip"]
    found = dict(requirement(entry) for entry in entries if not entry.startswith(("-e", ".")))
    python = found.pop("python")
    found.pop("pip", None)
    found.pop("uv", None)
    conda_names = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    assert {conda_names.get(name, name): limits for name, limits in found.items()} == wanted
    assert requirement("python" + PYPROJECT["project"]["requires-python"])[1] <= python


def test_the_lock_pins_versions_and_names_no_address():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.strip() and not line.startswith("#")]
    for line in lines:
        assert re.match(r"^[A-Za-z0-9._-]+==[^ ]+( ; .+)?$", line), line
    names = {requirement(line)[0] for line in lines}
    wanted = PYPROJECT["project"]["dependencies"] + sum(PYPROJECT["project"]["optional-dependencies"].values(), [])
    assert {requirement(line)[0] for line in wanted} <= names


def test_no_registry_host_and_no_machine_path():
    words = ["files." + "pythonhosted", "pypi.org/" + "simple", "index" + "-url", "/wo" + "rk/", "/ro" + "ot/", "mirrors" + "."]
    # a home or temporary folder of whoever ran a notebook
    pattern = re.compile("|".join(map(re.escape, words)) + r"|/home/[a-z]|/tmp/|C:\\\\Users")
    bad = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line) and not ("/root/" in line and "data" in path.parts):
                bad.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not bad, "\n".join(bad)


def test_no_large_file():
    for path in project_files():
        assert path.stat().st_size < 25e6, f"{path.name} is {path.stat().st_size / 1e6:.0f} MB"
        if path.suffix == ".ipynb":
            assert path.stat().st_size < 3e6, f"{path.name}: an executed notebook is at most 3 MB"


def test_import_is_light():
    """What makes an import quick, without a clock: none of the heavy packages, and few modules besides torch's."""
    code = (
        "import sys, json, torch, numpy; before = set(sys.modules); "
        "import course_lib, course_lib.models, course_lib.training, course_lib.evaluation; "
        "names = 'open_clip torchvision transformers sklearn skimage matplotlib pandas IPython accelerate PIL scipy torch._dynamo'; "
        "print(json.dumps([len(set(sys.modules) - before), [name for name in names.split() if name in set(sys.modules) - before]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, heavy = json.loads(done.stdout)
    assert heavy == []
    assert count < 100


def test_make_has_its_targets_and_ci_calls_them():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("setup", "run", "test", "test-slow", "test-gpu", "lab", "build", "solutions", "bench", "clean"):
        assert re.search(rf"^{target}:", makefile, re.M), target
    if sys.platform != "win32":
        ci = ROOT / ".ci" / "run"
        assert os.access(ci, os.X_OK)
        text = ci.read_text()
        assert 0 <= text.index("make test") < text.index("make test-slow")


def test_what_a_project_must_carry_is_there():
    for name in ("README.md", "LICENSE", "CITATION.cff", ".gitignore", "environment.yml"):
        assert (ROOT / name).stat().st_size > 0, name
    assert "MIT" in (ROOT / "LICENSE").read_text()
    assert PYPROJECT["project"]["scripts"] == {"course": "course_lib.cli:main"}


def test_python_files_are_read_in_one_sitting():
    for path in (ROOT / "course_lib").rglob("*.py"):
        if path.parent.name != "lessons":  # lists of exercises, not logic
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path.name


def test_ruff_is_content():
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    result = subprocess.run([str(ruff), "check", "course_lib", "tests"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
