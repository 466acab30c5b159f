"""The field as data: what lesson 00 reads from data/field is whole, and says what it must."""

import csv
from collections import Counter

import pytest

from course_lib.paths import data_root


def rows(name):
    with (data_root() / "field" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = list(reader)
    assert found and all(None not in row and None not in row.values() for row in found), name  # no ragged line
    return found


def test_the_papers_are_all_there():
    papers = rows("papers")
    assert list(papers[0]) == ["year", "title", "venue", "paper", "code"] and len(papers) == 228
    assert Counter(row["year"] for row in papers) == {"2026": 56, "2025": 83, "2024": 52, "2023": 28, "2022": 5, "2021": 2, "2020": 2}
    assert len({row["title"] for row in papers}) == 228 and sum(bool(row["code"]) for row in papers) == 148
    for title in ("PromptIR", "All-In-One Image Restoration for Unknown Corruption"):
        assert any(title.lower() in row["title"].lower() for row in papers), title


@pytest.mark.parametrize(("name", "count"), [("challenges", 4), ("families", 11), ("settings", 9)])
def test_tables_have_no_empty_cell_but_the_lesson(name, count):
    table = rows(name)
    assert len(table) == count
    assert all(value for row in table for key, value in row.items() if key != "lesson")


def test_the_settings_name_their_test_sets():
    tests = {(row["setting"], row["task"]): (row["test data"], row["test size"]) for row in rows("settings")}
    assert tests["three-task", "deraining"] == ("Rain100L", "100 pairs") and tests["five-task", "low light"] == ("LOL-v1", "15 pairs")
    assert tests["five-task", "deblurring"] == ("GoPro", "1111 pairs") and tests["three-task", "dehazing"] == ("SOTS outdoor", "500 pairs")
