"""Where things lie, and writing a file so that a crash never leaves half of one."""

import os
import subprocess
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def repo_root() -> Path:
    """The checkout that holds `solutions/` and `pyproject.toml`; the current folder when the library came as a wheel."""
    checkout = _PACKAGE.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def repo_commit() -> str:
    """Short hash of the checkout's commit, with "+" when files were changed since; "" where there is no git or no checkout."""
    git = ["git", "-C", str(repo_root())]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed.strip() else "")


def data_root() -> Path:
    """The shipped `data/` folder: beside the package in a checkout, inside it in a wheel. Raises FileNotFoundError."""
    for candidate in (_PACKAGE.parent / "data", _PACKAGE / "data"):
        if (candidate / "photos").is_dir():
            return candidate
    raise FileNotFoundError(f"course_lib: no data/photos beside or inside {_PACKAGE}; install the course again (README, set-up)")


def shipped_weights(name: str) -> Path:
    """Where the weights of that name lie in `data/checkpoints` if the course ships them."""
    return data_root() / "checkpoints" / f"{name}.safetensors"


def benchmark_root() -> Path:
    """Folder of the benchmark sets: `COURSE_DATA_DIR`, else `course-data` in the user's cache folder."""
    if os.environ.get("COURSE_DATA_DIR"):
        return Path(os.environ["COURSE_DATA_DIR"]).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "course-data"


def ensure_folder(folder: str | Path) -> Path:
    """Make `folder` (with parents) and return it. Raises NotADirectoryError naming the file that is in the way."""
    folder = Path(folder)
    for part in [folder, *folder.parents]:
        if part.exists() and not part.is_dir():
            raise NotADirectoryError(f"{part} is a file, but a folder is needed there; move it away or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomic(path: str | Path, content: bytes | str) -> Path:
    """Write `content` to `path` through a temporary file in the same folder. Raises OSError; the old file then stays whole."""
    path = Path(path)
    ensure_folder(path.parent)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes 0600; what the course writes is for anybody to read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
