"""The rules by which a degraded file finds its clean one: each gives both files a key, and equal keys are a pair."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

Key = Callable[[Path], Hashable]


def same_name(path: Path) -> str:
    """low/22.png, high/22.png: the same name; the suffix may differ."""
    return path.stem


def by_number(path: Path) -> Hashable:
    """rain-7.png, norain-7.png, norain-7x2.png, 007.png: the first number of the name, whatever stands around it."""
    found = re.search(r"\d+", path.stem)
    return int(found[0]) if found else path.stem


def haze_id(path: Path) -> str:
    """RESIDE names a hazy image ID_A_beta (0001_0.8_0.2.jpg) or ID_k_A (1400_1.png): the ID before the first underline."""
    return path.stem.split("_")[0]


# name -> (key of a degraded file, key of a clean one, whether several degraded files may share a clean one)
RULES: dict[str, tuple[Key, Key, bool]] = {
    "same_name": (same_name, same_name, False),
    "by_number": (by_number, by_number, False),
    "by_haze_id": (haze_id, haze_id, True),
    "clean_only": (same_name, same_name, False),
}


def match(
    rule: str, degraded: Iterable[tuple[str, Path]], clean: Iterable[tuple[str, Path]]
) -> tuple[list[tuple[str, Path, Path]], list[tuple[Path, str]]]:
    """Pairs (token, degraded, clean) in the order of the degraded files, and the files left over with what is wrong with each.

    Every file comes with a token (the sequence it lies in, or ""): files of different tokens are never a pair.
    """
    key_degraded, key_clean, shared = RULES[rule]
    partners: dict[tuple[str, Hashable], Path] = {}
    wrong: list[tuple[Path, str]] = []
    for token, path in clean:
        first = partners.setdefault((token, key_clean(path)), path)
        if first != path:
            wrong.append((path, f"the clean image {first.name} has the same key, so it is unclear which of the two makes the pair"))
    pairs, used = [], defaultdict(list)
    for token, path in degraded:
        key = (token, key_degraded(path))
        if key not in partners:
            wrong.append((path, f"its clean partner is missing (rule {rule}, key {key[1]!r})"))
        elif used[key] and not shared:
            wrong.append((path, f"{used[key][0].name} already makes the pair with {partners[key].name} (rule {rule})"))
        else:
            used[key].append(path)
            pairs.append((token, path, partners[key]))
    wrong += [(path, f"its degraded partner is missing (rule {rule}, key {key[1]!r})") for key, path in partners.items() if not used[key]]
    return pairs, wrong
