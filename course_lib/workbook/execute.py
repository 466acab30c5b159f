"""Executing one notebook with papermill in this very Python, with one progress output."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from course_lib.workbook.source import LessonError


@dataclass
class Outcome:
    """How an execution ended: status `ok`, `failed` or `interrupted`, seconds, and for a failure which cell and the error's last line."""

    status: str
    seconds: float
    error: str = ""
    cell: str = ""


def parameter_names(notebook) -> set[str]:
    """Names assigned in the cell tagged `parameters`; empty if there is none."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            targets = [node.targets for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
            return {name.id for group in targets for name in group if isinstance(name, ast.Name)}
    return set()


def check_parameters(notebook, parameters: dict, name: str) -> None:
    """LessonError if a parameter is not one that the notebook's parameter cell sets."""
    known = parameter_names(notebook)
    unknown = sorted(set(parameters) - known)
    if unknown:
        there = f"it sets {', '.join(sorted(known))}" if known else 'it has no cell tagged "parameters"'
        raise LessonError(f"{name}: no parameter {', '.join(unknown)} in the notebook; {there}")


def execute_notebook(notebook, path: Path, parameters: dict, cwd: Path, label: str) -> Outcome:
    """Execute `notebook` with `parameters` in folder `cwd`; the result, also a partly executed one, is written to `path`.

    Never raises for what the notebook does: a failing cell, a dead kernel or Ctrl-C come back in the Outcome.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    path, started, log = Path(path).absolute(), time.monotonic(), tempfile.TemporaryFile()
    progress = Progress(label, sum(1 for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()) + bool(parameters))
    try:
        papermill.execute_notebook(
            notebook,
            str(path).replace("{", "{{").replace("}", "}}"),  # papermill formats paths with the parameters
            parameters=parameters,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(cwd),
            start_timeout=180,
            kernel_manager_class=_kernel_manager_class(log),
            on_cell_start=progress.start,
            on_cell_executed=progress.complete,  # nbclient's on_cell_complete comes as soon as a cell is sent, not when it ends
        )
        outcome = Outcome("ok", 0.0)
    except PapermillExecutionError as error:
        last = f"{error.ename}: {error.evalue}".strip().splitlines()[-1] if error.ename else "error"
        outcome = Outcome("failed", 0.0, last, f"In [{error.exec_count}] ({_headline(error.source)})")
    except KeyboardInterrupt:
        outcome = Outcome("interrupted", 0.0, "stopped by Ctrl-C", progress.where)
    except Exception as error:  # a dead kernel, a full disk: whatever it is, the other lessons go on
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        outcome = Outcome("failed", 0.0, f"{type(error).__name__}: {reason}{_last_words(log, error)}", progress.where)
    finally:
        progress.close()
        log.close()
    outcome.seconds = time.monotonic() - started
    return outcome


def _last_words(log, error: Exception) -> str:
    """What a kernel wrote before it died (a segmentation fault, a library's abort), for the error message."""
    if type(error).__name__ != "DeadKernelError":
        return ""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f" (out of memory? its last words: {lines[-1][:200]})" if lines else " (out of memory?)"


def _kernel_manager_class(log):
    """A kernel manager for this interpreter, whatever kernelspecs are installed and whether or not the environment is activated."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
        env=_kernel_environment(),
    )

    class ThisPython(AsyncKernelManager):
        kernel_spec = property(lambda self: spec)

        async def start_kernel(self, **options):
            # What cells print comes through messages; the process's own streams would tear the progress bar.
            return await super().start_kernel(stdout=log, stderr=log, **options)

    return ThisPython


def _kernel_environment() -> dict[str, str]:
    import course_lib

    environment = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # else the kernel warns about frozen modules in every notebook
    home = Path(course_lib.__file__).resolve().parents[1]
    if "site-packages" not in home.parts:  # a checkout: the kernel's folder is elsewhere, so the path is handed over
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH", "")]))
    scripts = str(Path(sys.executable).parent)  # `!course doctor` in a cell finds this environment's command
    environment["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    return environment


class Progress:
    """One progress output: a bar that counts seconds on a terminal, one line per cell elsewhere (a log, make in CI)."""

    def __init__(self, label: str, total: int):
        self.label, self.total, self.done = label, total, 0
        self.where = "the start of the kernel"
        self._started = time.monotonic()
        self._bar = self._clock = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            layout = "{desc} |{bar:20}| cell {n_fmt}/{total_fmt}  {elapsed}{postfix}"
            columns, lines = shutil.get_terminal_size()  # 80x24 where a terminal says 0x0, in which tqdm would show nothing
            self._bar = tqdm(total=total, desc=label, bar_format=layout, ncols=columns, nrows=lines, mininterval=0)
            self._stop = threading.Event()
            self._clock = threading.Thread(target=self._tick, daemon=True)
            self._clock.start()

    def _tick(self) -> None:
        # A training cell takes minutes: without this the seconds would stand still.
        while not self._stop.wait(1.0):
            self._bar.refresh()

    def start(self, cell, cell_index, **_) -> None:
        """Hook: a code cell begins."""
        self.where, self._started = f"code cell {self.done + 1} ({_headline(cell.source)})", time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(_headline(cell.source), refresh=True)

    def complete(self, cell, cell_index, **_) -> None:
        """Hook: a code cell ended, well or not."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(1)
        else:
            seconds = time.monotonic() - self._started
            line = f"{self.label}  cell {self.done:>2}/{self.total}  {seconds:6.1f} s  {_headline(cell.source)}"
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar; safe to call twice."""
        if self._bar is not None:
            self._stop.set()
            self._clock.join()
            self._bar.close()
            self._bar = None


def _headline(source: str) -> str:
    line = next((line.strip() for line in source.splitlines() if line.strip()), "")
    line = re.sub(r"^#\s*", "", line)
    return line if len(line) <= 48 else line[:47] + "…"
