"""Profiles: numbers of a lesson at one of four sizes."""

import pytest

from course_lib import profiles


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    text = "[common]\nsigma = 25\nsteps = 1\n[smoke]\n[quick]\nsteps = 20\n[gpu]\nsteps = 300\n[paper]\nsteps = 4000\n"
    (tmp_path / "profiles" / "07_x.toml").write_text(text)
    monkeypatch.setattr(profiles, "data_root", lambda: tmp_path)
    return tmp_path / "profiles"


def test_a_profile_overrides_what_is_common(folder):
    steps = [profiles.get_profile(name, "07_x").steps for name in profiles.PROFILES]
    assert steps == [1, 20, 300, 4000]
    quick = profiles.get_profile("quick", "07_x")
    assert (quick.sigma, quick.name, quick.lesson) == (25, "quick", "07_x")


def test_unknown_names_say_what_exists(folder):
    with pytest.raises(ValueError, match="smoke, quick, gpu, paper"):
        profiles.get_profile("huge", "07_x")
    with pytest.raises(ValueError, match="07_x"):
        profiles.get_profile("quick", "99_none")
    (folder / "08_half.toml").write_text("[quick]\n")
    with pytest.raises(ValueError, match=r"08_half.*smoke"):
        profiles.get_profile("smoke", "08_half")


def test_every_shipped_lesson_has_all_four():
    for path in (profiles.data_root() / "profiles").glob("*.toml"):
        keys = {name: set(vars(profiles.get_profile(name, path.stem))) for name in profiles.PROFILES}
        assert len({frozenset(k) for k in keys.values()}) == 1, f"{path.name}: the profiles do not have the same fields"
