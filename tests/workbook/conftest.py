"""A tiny course in a temporary folder: one lesson with twins, an exercise, hidden text and records."""

import hashlib

import pytest

PYPROJECT = '[tool.course]\nrepository = "https://github.com/OWNER/tiny"\nbranch = "main"\n'
TINY = """# ---
# jupyter:
#   kernelspec:
#     name: python3
# ---

# %% [markdown] lang="en"
# # Tiny
#
# {{colab_badge}} and $x^2$

# %% [markdown] lang="zh" of="HASH"
# # 小课
#
# {{colab_badge}}

# %% tags=["setup"]
# {{setup_cell}}

# %% tags=["parameters"]
PROFILE = "quick"
SEED = 0
DEVICE = "auto"
DATA_DIR = ""
OUT_DIR = ""

# %% [markdown] lang="en"
# Double it.

# %%
# exercise 01-a · 2 points · Doubling
def double(x):
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION

### BEGIN HIDDEN
assert double(2) == 4
### END HIDDEN

# %%
import json
from pathlib import Path

value = double(3) or 0
Path(OUT_DIR).mkdir(parents=True, exist_ok=True)
records = [{"name": "degraded_psnr", "kind": "number", "value": 20.123}, {"name": "restored_psnr", "kind": "number", "value": 20 + value}]
Path(OUT_DIR, "records.json").write_text(json.dumps({"records": records, "checks": []}))
print(PROFILE, value, OUT_DIR)
"""


def _make_course(root, **lessons):
    """Write pyproject.toml and solutions/ with the given sources (default: the tiny lesson) under `root`."""
    english = "# Tiny\n\n{{colab_badge}} and $x^2$"
    tiny = TINY.replace("HASH", hashlib.sha256(english.encode()).hexdigest()[:12])
    (root / "solutions").mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text(PYPROJECT)
    for name, text in (lessons or {"01_tiny": tiny}).items():
        (root / "solutions" / f"{name.lstrip('_')}.py").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def make_course():
    """Function (root, **sources) that writes a course; a source's name may start with _ to be a Python name."""
    return _make_course


@pytest.fixture
def course(tmp_path):
    """Root of a course with the lesson 01_tiny."""
    return _make_course(tmp_path / "course")
