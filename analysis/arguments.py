"""The words of `verl-study`: its commands and their options; imports nothing of ours, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn, Protocol


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"verl-study: {message}; see {self.prog} --help\n")


class _Command(Protocol):
    """Adds a command with its help and, beside the options of all, those of further parsers."""

    def __call__(self, name: str, words: str, *more: _Parser) -> argparse.ArgumentParser: ...


def parser() -> argparse.ArgumentParser:
    outputs = _Parser(add_help=False)
    outputs.add_argument(
        "--outputs", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="where studies are (VERL_SWEEP_OUTPUTS, else outputs)"
    )
    main = _Parser(prog="verl-study", description="Looks at the studies of verl-sweep, running or ended.", parents=[outputs])
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, words: str, *more: _Parser) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.", parents=[outputs, *more])

    _looking(command)
    _steering(command)
    _making(command)
    _judging(command, _elsewhere())
    return main


def _looking(command: _Command) -> None:
    listing = command("list", "every study, the newest first")
    listing.add_argument("--json", action="store_true")

    show = command("show", "a study's answer, ranking and cost, or one of its trials")
    _study(show)
    show.add_argument("trial", nargs="?", type=int)
    show.add_argument("--json", action="store_true")

    watch = command("watch", "a study live, until it ends or Ctrl-C; without a terminal one plain line a change")
    _study(watch)
    watch.add_argument("--interval", type=_positive, default=1.0, metavar="S", help="seconds between two looks (1)")
    watch.add_argument("--leet", action="store_true", help="W&B's own terminal dashboard instead, on the study's offline runs")

    logs = command("logs", "what the engine of a trial wrote during its last attempt")
    logs.add_argument("study")
    logs.add_argument("trial", type=int)
    logs.add_argument("-f", "--follow", action="store_true", help="until the attempt ends")
    logs.add_argument("--metrics", action="store_true", help="verl's metrics instead, one JSON object a step")


def _steering(command: _Command) -> None:
    stop = command("stop", "asks a running trial, or a whole study, to end at the next training step")
    stop.add_argument("study")
    stop.add_argument("trial", nargs="?", type=int)

    resume = command("resume", "goes on with a study, with the command that began it; trials that still run are taken over")
    resume.add_argument("study")


def _making(command: _Command) -> None:
    repro = command("repro", "prints the one command that runs a trial again, alone")
    repro.add_argument("trial", type=int)
    repro.add_argument("--study", help="its name or folder; the newest where there is none")

    export = command(
        "export", "what runs verl itself with a recipe, or with what a study found: a shell script, or verl's own kind of yaml"
    )
    export.add_argument(
        "recipe",
        nargs="+",
        metavar="STUDY | KEY=VALUE",
        help="a study and what is to be otherwise, or all that verl-sweep would be given: experiment=... lr=...",
    )
    export.add_argument("--trial", type=int, metavar="N", help="another trial of the study than the best")
    written = export.add_mutually_exclusive_group()
    written.add_argument("--format", choices=("sh", "yaml"), default="sh", help="which of them is printed (sh)")
    written.add_argument("-o", "--output", type=Path, metavar="PATH", help="a new file .sh or .yaml, or a folder that gets both, instead")

    sync = command("sync", "tells W&B what it lacks of the trials that have ended; to be repeated at will, whatever interrupted it")
    _study(sync)

    report = command(
        "report", "what to use, how sure that is, what it cost: writes report/report.html and report.md into the study's folder"
    )
    _study(report)
    report.add_argument("--figures", choices=("png", "svg"), default="", help="each figure as a file, too (needs a browser)")
    report.add_argument("--tables", choices=("csv",), default="", help="all trials and configurations, too")
    report.add_argument("--pdf", action="store_true", help="the page on paper, too (needs a browser)")
    report.add_argument("--no-browser", action="store_true", help="opens none; without a display, or over ssh, none is opened anyway")


def _judging(command: _Command, elsewhere: _Parser) -> None:
    replay = command("replay", "judges sampler, pruner and plan on recorded runs: how good what they pick is, at which cost", elsewhere)
    replay.add_argument("recorded", help="a folder of curves (*.npz), a past study by name or folder, or what import takes")
    replay.add_argument("--policy", default="default", metavar="NAMES", help="presets, .yaml files, experiment=NAME; with commas (default)")
    replay.add_argument("--runs", type=_positive, required=True, metavar="B", help="what a study may spend, in full trainings")
    replay.add_argument("--repeat", type=_count, default=20, metavar="N", help="studies of each task (20)")
    replay.add_argument("--seed", type=int, default=0, metavar="N", help="the same one gives the same studies (0)")
    replay.add_argument("--slots", type=_count, default=1, metavar="N", help="trials at the same time (1)")
    replay.add_argument("--json", action="store_true")

    pages = command("wandb", "creates or updates a study's workspace and report at W&B and prints where they are")
    _study(pages)
    pages.add_argument("--entity", help="whose they are, where it is not the one that the trials' runs went to")
    pages.add_argument("--dry-run", action="store_true", help="writes what would be sent into the study's folder; needs no key")

    runs = command("import", "makes a study of verl runs that this harness did not start", elsewhere)
    runs.add_argument("source", help="a folder of verl's metrics (*.jsonl), a folder of W&B's runs, or wandb://ENTITY/PROJECT")
    runs.add_argument("--name", help="of the study; the folder's or the project's own where there is none")

    both = command("compare", "two studies side by side: which is better, how surely, and what else was different")
    both.add_argument("first")
    both.add_argument("second")
    both.add_argument("--json", action="store_true")

    doctor = command("doctor", "whether this host can run an experiment, what it lacks and the cure; exit status 2 where it cannot")
    doctor.add_argument("--json", action="store_true")
    doctor.add_argument("-m", "--multirun", action="store_true", help="nothing: so that a launch's own words can be pasted")
    doctor.add_argument("overrides", nargs="*", help="as given to verl-sweep: experiment=demo lr=1e-5 resources.slots=2 ...")


def _elsewhere() -> _Parser:
    """Which trainings of other making, and what of them counts."""
    elsewhere = _Parser(add_help=False)
    elsewhere.add_argument(
        "--objective", dest="metric", metavar="METRIC", help="of runs of other making; a pattern may be (val-core/*/acc/mean@1)"
    )
    elsewhere.add_argument("--reduction", choices=("last", "best", "mean_last", "area"), help="how its curve becomes a number (last)")
    elsewhere.add_argument("--direction", choices=("maximize", "minimize"), help="another one than the objective has")
    elsewhere.add_argument("--group", default="", help="of W&B's runs only those of this group")
    elsewhere.add_argument("--tag", default="", help="of W&B's runs only those with this tag")
    return elsewhere


def _study(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", nargs="?", help="its name or folder; the newest where there is none")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return value
