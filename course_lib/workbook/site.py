"""Where the course lives on the web: [tool.course] of pyproject.toml, the one place, read when notebooks are built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Site:
    """Repository address and branch; badges are made from them."""

    repository: str
    branch: str

    def colab_badge(self, path: str) -> str:
        """Markdown badge that opens the notebook at `path` (from the repository's root) in Colab."""
        target = f"https://colab.research.google.com/github/{self._owner_and_name}/blob/{self.branch}/{path}"
        return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({target})"

    def kaggle_badge(self, path: str) -> str:
        """Markdown badge that opens the notebook at `path` (from the repository's root) in Kaggle."""
        target = f"https://kaggle.com/kernels/welcome?src={self.repository}/blob/{self.branch}/{path}"
        return f"[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]({target})"

    @property
    def _owner_and_name(self) -> str:
        return self.repository.removeprefix("https://github.com/")


def read_site(root: Path | str | None = None) -> Site:
    """Site of the repository at `root`. LessonError if pyproject.toml has no usable [tool.course]."""
    import tomllib

    from course_lib.workbook.source import LessonError, find_root

    path = find_root(root) / "pyproject.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("course", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise LessonError(f"{path}: cannot be read: {error}") from error
    repository, branch = table.get("repository", ""), table.get("branch", "")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", repository) or not branch:
        raise LessonError(f'{path}: [tool.course] needs repository = "https://github.com/OWNER/NAME" and branch = "main"')
    return Site(repository.removesuffix(".git"), branch)
