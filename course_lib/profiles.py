"""The four sizes a lesson runs at. Every number that depends on the profile stands in `data/profiles/NN_name.toml`."""

import tomllib
from types import SimpleNamespace

from course_lib.paths import data_root

PROFILES = {
    "smoke": "seconds; for tests: proves that everything runs, restores nothing",
    "quick": "minutes on a laptop or a free CPU runtime (the default)",
    "gpu": "one 16 GB card, under an hour a lesson",
    "paper": "the published settings",
}


def get_profile(name: str, lesson: str) -> SimpleNamespace:
    """Numbers of one lesson at one size, e.g. `get_profile("quick", "02_restormer").steps`.

    Values of the `[common]` table hold for all four; a profile's own table overrides them. Raises ValueError for an unknown
    profile or lesson, saying which exist.
    """
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}")
    folder = data_root() / "profiles"
    path = folder / f"{lesson}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
        raise ValueError(f"no profile numbers for lesson {lesson!r}; there are {known}")
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    if name not in tables:
        raise ValueError(f"{path} has no numbers for the profile {name!r}; add a [{name}] table")
    numbers = {**tables.get("common", {}), **tables[name]}
    return SimpleNamespace(name=name, lesson=lesson, **numbers)
