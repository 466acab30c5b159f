"""The `course` command: thin verbs over the library; each imports what it needs when it is called."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from course_lib.datasets.command import data_app

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="The All-in-One Restoration Workbook.")
app.add_typer(data_app, name="data")
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def _print(data, text: str, as_json: bool) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str) if as_json else text)


def _parameters(pairs: list[tuple[str, str]]) -> dict:
    """-p NAME VALUE pairs, values read as JSON where they are (papermill's rule), else as text."""
    values = {}
    for name, value in pairs:
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values


@app.command()
def doctor(device: Device = "auto", json_: Json = False):
    """A real operation on the device, versions, memory, fonts and data, and what to do about each trouble."""
    from course_lib.doctor import as_dicts, examine, failed, report

    findings = examine(device)
    _print(as_dicts(findings), report(findings), json_)
    raise typer.Exit(failed(findings))


@app.command()
def run(
    lessons: Annotated[list[str] | None, typer.Argument(help="Lesson names; all when none is given.")] = None,
    profile: Annotated[str, typer.Option(help="smoke, quick, gpu or paper.")] = "quick",
    edition: Annotated[str, typer.Option(help="solutions or notebooks (the student edition).")] = "solutions",
    lang: Annotated[str, typer.Option(help="en or zh.")] = "en",
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default runs/<time>.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", help="A parameter of the notebook: -p NAME VALUE or -p NAME=VALUE; repeatable.")
    ] = None,
    json_: Json = False,
):
    """Execute lessons with papermill; notebooks, PDFs, metrics and a summary in one folder."""
    from course_lib.workbook.run import exit_status, run_lessons

    pairs = [tuple(item.split("=", 1)) for item in parameter or []]
    if bad := [item for item in parameter or [] if "=" not in item]:
        raise ValueError(f"-p wants NAME=VALUE, got {bad[0]!r}")
    say = (lambda line: print(line, file=sys.stderr)) if json_ else print
    rows = run_lessons(lessons or None, profile, edition=edition, lang=lang, out=out, parameters=_parameters(pairs), say=say)
    if json_:
        print(json.dumps(rows, indent=2, default=str))
    raise typer.Exit(exit_status(rows))


@app.command()
def build(
    lessons: Annotated[list[str] | None, typer.Argument()] = None,
    check: Annotated[bool, typer.Option(help="Only say which generated notebooks are stale.")] = False,
    execute: Annotated[bool, typer.Option(help="Also execute the solved edition.")] = False,
    force: Annotated[bool, typer.Option(help="Execute even what is fresh.")] = False,
    stamp: Annotated[bool, typer.Option(help="Accept the Chinese twins as translations of the present English text.")] = False,
    json_: Json = False,
):
    """solutions/NN.py -> notebooks/NN.ipynb, notebooks/zh/NN.ipynb, solutions/NN.ipynb."""
    from course_lib.workbook import build as builder

    say = (lambda line: print(line, file=sys.stderr)) if json_ else print
    if stamp:
        builder.stamp_lessons(lessons or None, say=say)
    paths = builder.build(lessons or None, check=check, execute=execute, force=force, say=say)
    if json_:
        print(json.dumps({"stale" if check else "written": [str(path) for path in paths]}, indent=2))
    raise typer.Exit(bool(check and paths))


@app.command()
def report(
    notebook: Path,
    output: Annotated[Path | None, typer.Option("-o", "--output")] = None,
    html: Annotated[bool, typer.Option(help="Also write HTML.")] = False,
    author: str = "",
    student_id: str = "",
    json_: Json = False,
):
    """A PDF of an executed notebook, checked against it."""
    from course_lib.workbook.report import make_report

    result = make_report(notebook, output, html=html, author=author, student_id=student_id)
    lines = [
        f"{result['pdf'] or result['html']}: {result['headings']} headings, {result['figures']} figures, {result['exercises']} exercises"
    ]
    lines += [f"missing: {item}" for item in result["missing"]] + [f"note: {item}" for item in result["warnings"]]
    _print(result, "\n".join(lines), json_)
    raise typer.Exit(bool(result["missing"]) or not result["pdf"])


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name or a .toml file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/train/<recipe>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Insist on going on with an earlier run.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Repeat the first 20 rows of the committed log.")] = False,
    device: Device = "auto",
    json_: Json = False,
):
    """Train by a recipe. Killed or stopped, the same command goes on where it was."""
    from course_lib.training import TrainingError, load_recipe
    from course_lib.training import run as training

    plan = load_recipe(recipe)
    say = (lambda *_: None) if json_ else print
    if verify:
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            result = training.verify(plan, scratch, device=device, progress=not json_, say=say)
        text = f"{result['rows']} log rows repeated; largest relative difference {result['largest_relative_difference']:.2g}: "
        _print(result, text + ("same" if result["same"] else "NOT the same"), json_)
        raise typer.Exit(not result["same"])
    folder = out or training.run_folder(plan.name)
    if resume and not (folder.is_dir() and any(folder.glob("*.safetensors"))):
        raise TrainingError(f"--resume: there is no run to go on with in {folder}")
    result = training.train(plan, folder, device=device, progress=not json_, say=say)
    data = {"recipe": plan.name, "steps": result.steps, "seconds": result.seconds, "weights": str(result.weights), "log": str(result.log)}
    _print(data, f"{plan.name}: {result.steps} steps in {result.seconds:.0f} s; weights in {result.weights}, log in {result.log}", json_)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A shipped name, a weights file, identity, or classical:NAME.")],
    data: Annotated[str, typer.Option(help="A benchmark set (CBSD68, Rain100L, ...), photos, or a folder of clean images.")] = "CBSD68",
    sigma: Annotated[list[float] | None, typer.Option(help="Noise levels (0-255), for sets of clean images; repeatable.")] = None,
    protocol: Annotated[str | None, typer.Option(help="promptir, restormer or onerestore; all that suit the set when not given.")] = None,
    clip: Annotated[bool, typer.Option(help="Clip the result to [0, 1] before measuring.")] = True,
    device: Device = "auto",
    json_: Json = False,
):
    """PSNR and SSIM by the papers' protocols, and under a heading of their own the published figures."""
    from course_lib.evaluation.command import measure, report, report_text

    rows, stopped = [], False
    try:
        for row in measure(model, data, sigma, protocol, clip=clip, device=device, progress=not json_):
            rows.append(row)
    except KeyboardInterrupt:
        stopped = True
    _print(report(rows, data, sigma), report_text(rows, data, sigma), json_)
    if stopped:
        print("course: stopped; the measured rows are those that were finished", file=sys.stderr)
        raise typer.Exit(130)


@app.command()
def leaderboard(
    models: Annotated[
        list[str] | None, typer.Argument(help="With --measure: which models; the shipped all-in-one models when none.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Measure afresh and put the rows into the table.")] = False,
    data: Annotated[list[str] | None, typer.Option(help="With --measure: five-tasks, CBSD68, ...; repeatable, all when not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="The table; default data/leaderboard.csv.")] = None,
    device: Device = "auto",
    json_: Json = False,
):
    """The shipped all-in-one models by task, beside the untouched input and a classical method."""
    from course_lib.evaluation import leaderboard as board
    from course_lib.paths import repo_commit

    if measure:
        say = (lambda line: print(line, file=sys.stderr)) if json_ else print
        names, sets = models or board.all_in_one_models(), tuple(data or board.SETS)
        for row in board.measured_rows(names, sets, commit=repo_commit(), device=device, progress=not json_, say=say):
            board.write_leaderboard([row], out)  # each as it is done: a stop loses nothing
    rows = board.read_leaderboard(out)
    _print(rows, board.leaderboard_text(rows), json_)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="restormer, promptir, dfpir, or data (the degradations).")] = "restormer",
    pairs: Annotated[int, typer.Option(help="Interleaved pairs behind each median.")] = 9,
    json_: Json = False,
):
    """Speed and memory beside a plain reference form, in one run, as ratios."""
    from course_lib.bench import run_bench

    rows, text = run_bench(what, pairs, progress=not json_)
    _print(rows, text, json_)


@app.command()
def lab(
    queue: Annotated[str, typer.Argument(help="A shipped queue's name or a .toml file.")] = "interference",
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/lab"),
    only: Annotated[list[str] | None, typer.Option(help="An experiment's name; repeatable.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Train nothing: only what the table says.")] = False,
    gather: Annotated[Path | None, typer.Option(help="Also put the tables of the finished runs together in this folder.")] = None,
    against: Annotated[str, typer.Option(help="The experiment that the others are compared with.")] = "both",
    device: Device = "auto",
    json_: Json = False,
):
    """The task-interference lab: train what is missing of a queue of experiments, and say what the table shows. Stopped, it goes on."""
    from course_lib.lab import command
    from course_lib.paths import repo_commit

    path = Path(queue) if queue.endswith(".toml") else command.queue_file(queue)
    if report:
        rows = command.finished_rows(path, out)
    else:
        say = (lambda line: print(line, file=sys.stderr)) if json_ else print
        rows = command.run_queue(path, out, only=only or (), commit=repo_commit(), device=device, progress=not json_, say=say)
    if gather:
        command.gather(path, out, gather)
    known = {row["experiment"] for row in rows}
    _print(command.summary(rows), command.report(rows, against if against in known else None), json_)


def _papermill_style(words: list[str]) -> list[str]:
    """`-p NAME VALUE`, as papermill writes it, into `-p NAME=VALUE`."""
    out = []
    while words:
        word = words.pop(0)
        if word == "-p" and len(words) >= 2 and "=" not in words[0]:
            out += ["-p", f"{words.pop(0)}={words.pop(0)}"]
        else:
            out.append(word)
    return out


def main() -> None:
    """Entry point: errors that the course raises on purpose are one line on stderr; exit status 2, or 130 after Ctrl-C."""
    try:
        # typer hands the code of typer.Exit back here instead of leaving
        status = app(_papermill_style(sys.argv[1:]), standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")):  # wrong words on the command line
            show = getattr(error, "show", None)
            show() if show else print(error, file=sys.stderr)
            sys.exit(getattr(error, "exit_code", 2))
        if isinstance(error, (ValueError, OSError, RuntimeError)) and type(error).__module__.startswith(("course_lib", "builtins")):
            print(f"course: {error}", file=sys.stderr)
            sys.exit(2)
        raise
    sys.exit(int(status or 0))


if __name__ == "__main__":
    main()
