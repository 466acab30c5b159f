import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import types
import zipfile
from pathlib import Path

import pytest

from course_lib.workbook.colab import setup_cell

ROOT = Path(__file__).resolve().parents[2]
CELL = setup_cell("https://github.com/OWNER/tiny", "main")


def functions():
    """The names that the cell defines; here course_lib is installed, so running it prints at most advice."""
    names: dict = {}
    exec(CELL, names)
    return names


def module(version):
    return types.SimpleNamespace(__version__=version)


def test_the_cell_is_short_and_names_the_address_once():
    assert len([line for line in CELL.split("\n") if line.strip()]) <= 40
    assert CELL.count("https://github.com/OWNER/tiny/archive/main.zip") == 1 and "{{" not in CELL


def test_silent_where_the_course_is_importable(capsys, monkeypatch):
    def no_pip(*args, **kwargs):
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", no_pip)
    functions()
    assert capsys.readouterr().out == ""


def test_advice():
    advice = functions()["advice"]
    assert advice({"torch": module("2.6.0+cu124")}, {"torch": "2.6.0"}) == ""
    assert advice({}, {"numpy": "2.0"}) == ""
    said = advice({"numpy": module("1.26.4"), "IPython": module("9")}, {"numpy": "2.1.0", "ipython": "9"})
    assert said == "Restart the runtime, then run all cells: numpy 1.26.4 is loaded, 2.1.0 is installed."
    assert advice({}, {}, ["pandas"]) == "Missing here: pandas. Run: pip install pandas"


def fresh(monkeypatch, names, found=("torch",)):
    """Make the cell believe that course_lib is not importable and only `found` is."""
    monkeypatch.setattr(names["importlib"].util, "find_spec", lambda name: name in found or None)


def test_no_torch_installs_nothing(monkeypatch):
    names = functions()
    fresh(monkeypatch, names, found=())
    names["pip"] = lambda *what: pytest.fail("pip was called")
    assert "Missing here: torch" in names["set_up_course"]("x")


def test_network_trouble_is_one_line(monkeypatch):
    names = functions()
    fresh(monkeypatch, names)
    error = "WARNING: Retrying\nERROR: Could not install packages due to an OSError: Max retries exceeded\n"
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: types.SimpleNamespace(returncode=1, stderr=error))
    said = names["set_up_course"]("https://example.invalid/x.zip")
    assert said.startswith("The set-up is not finished. No network?") and said.endswith("Max retries exceeded") and "\n" not in said


def test_only_missing_light_packages_are_asked_for(monkeypatch):
    names, calls = functions(), []
    fresh(monkeypatch, names)
    monkeypatch.setenv("COURSE_INSTALL_FROM", "/some/wheel.whl")
    have = {"course-lib": "0.1.0", "torch": "2.9+cu128", "numpy": "1.26.4", "pillow": "10.0"}
    needs = ["torch>=2.6", "numpy>=1.26", "pandas>=2", "pillow>=10", "einops>=0.7", "scikit_image>=0.22", 'jupytext; extra == "workbook"']
    names["installed"] = lambda: have
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)

    def pip(*what):
        calls.append(what)
        if what[0] == "--constraint":
            assert Path(what[1]).read_text().split() == [f"{name}=={version}" for name, version in have.items()]
            have.update({"einops": "0.8", "scikit-image": "0.26"})

    names["pip"], names["sys"] = pip, types.SimpleNamespace(modules={})  # whatever other tests have imported
    assert names["set_up_course"]("x") == "Missing here: pandas. Run: pip install pandas"
    assert calls[0] == ("--no-deps", "/some/wheel.whl") and calls[1][2:] == ("einops>=0.7", "scikit_image>=0.22") and len(calls) == 2


def fake_torch(folder: Path, version: str) -> Path:
    """A wheel of a distribution named torch that holds nothing but its version."""
    wheel, info = folder / f"torch-{version}-py3-none-any.whl", f"torch-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("torch/__init__.py", f"__version__ = '{version}+cu999'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"torch/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return wheel


@pytest.mark.slow
def test_a_fresh_environment_keeps_torch_and_numpy(tmp_path):
    """The cell in a new environment with torch and an older numpy: both stay, and what is loaded is what is installed."""
    uv = shutil.which("uv") or str(Path(sysconfig.get_path("scripts")) / "uv")
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([uv, "venv", "--seed", "-q", "--python", sys.executable, tmp_path / "env"], check=True, env=clean)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    wheel = fake_torch(tmp_path, "2.99.0")
    subprocess.run([uv, "pip", "install", "-q", "--python", python, wheel, "numpy<2.3", "ipython"], check=True, env=clean)
    source = tmp_path / "source"
    source.mkdir()
    for name in ("course_lib", "data", "pyproject.toml", "README.md", "LICENSE"):  # a copy: building leaves nothing in the checkout
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    script = tmp_path / "cell.py"
    script.write_text(
        "import sys, torch, numpy\nbefore = (torch.__version__, numpy.__version__)\n"
        + CELL
        + "\nimport importlib.metadata as m, importlib.util\nprint('AFTER', before[0], m.version('torch'), before[1], m.version('numpy'))\n"
        "print('FOUND', [n for n in ('course_lib', 'einops', 'skimage', 'safetensors') if importlib.util.find_spec(n)])\n"
    )
    environment = clean | {"COURSE_INSTALL_FROM": str(source)}
    done = [subprocess.run([python, script], cwd=tmp_path, env=environment, capture_output=True, text=True) for _ in range(2)]
    assert done[0].returncode == 0, done[0].stderr
    after = next(line for line in done[0].stdout.split("\n") if line.startswith("AFTER")).split()[1:]
    assert after[:2] == ["2.99.0+cu999", "2.99.0"] and after[2] == after[3] < "2.3"
    assert "FOUND ['course_lib', 'einops', 'skimage', 'safetensors']" in done[0].stdout, done[0].stdout
    assert "Restart" not in done[0].stdout and "not finished" not in done[0].stdout
    assert done[1].stdout.split("\n")[0].startswith(("AFTER", "Missing here")), "the second run installs nothing"
