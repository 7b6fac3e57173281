"""The words of `verl-study` that make something of studies, or of what was recorded elsewhere; print, or become another program."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from analysis.find import find_study, find_trial, launched_record
from analysis.programs import become
from harness import records
from harness.errors import ConfigError
from harness.status import load_study
from harness.types import StudyRecord, TrialSpec


def repro(outputs: Path, name: str | None, number: int) -> None:
    from analysis.repro import repro_command

    study = find_study(outputs, name)
    record, trial = launched_record(study), find_trial(study, number)
    print(repro_command(record, records.read(trial.spec, TrialSpec)))


def export(outputs: Path, words: list[str], number: int | None, *, form: str, output: Path | None) -> NoReturn:
    """Becomes the program that composes configurations: this side of the project does without Hydra. Words behind a study's are added."""
    options = [f"--format={form}"] if output is None else [f"--output={output}"]
    if "=" in words[0]:
        if number is not None:
            raise ConfigError("--trial belongs to a study: verl-study export <study> --trial N")
        become("sweeps.export", *options, *words)
    from analysis.repro import overrides_of

    study = find_study(outputs, words[0])
    record = launched_record(study)
    if number is None:
        best = load_study(study, details=False).best
        if best is None:
            raise ConfigError(f"no trial of {study.name} is COMPLETE, so there is no best one; --trial N names another")
        number = best.number
    trial = find_trial(study, number)
    become("sweeps.export", *options, *overrides_of(record, records.read(trial.spec, TrialSpec)), *words[1:])


def take_in(outputs: Path, options: argparse.Namespace) -> None:
    from rich.console import Console

    from analysis.runs import take_in as taken
    from harness.runs.nouns import Wishes
    from harness.types import Direction, Reduction

    wishes = Wishes(
        metric=options.metric,
        direction=Direction(options.direction) if options.direction else None,
        reduction=Reduction(options.reduction) if options.reduction else None,
        group=options.group,
        tag=options.tag,
    )
    with Console(stderr=True).status(f"reading {options.source}"):  # W&B's runs take a second each
        study, found = taken(options.source, outputs, options.name, wishes)
    count, knobs = len(found.runs), records.read(study.record, StudyRecord).knobs
    print(f"study {study.name}: {count} run{'s' * (count != 1)}; verl-study report {study.name} reports it")
    print(f"knobs: {', '.join(knobs) or 'none, for all of them have one configuration'}")
    if found.left_out:
        print(f"left out: {found.left_out} without {found.objective.metric}")
    if found.unreadable:
        print(f"left out: {found.unreadable} whose log is none of W&B's")


def compare(outputs: Path, first: str, second: str, *, as_json: bool) -> None:
    from analysis.compare import compare as compared
    from analysis.compare import lines

    found = compared(*(load_study(find_study(outputs, name), details=False) for name in (first, second)))
    if as_json:
        from dataclasses import asdict

        from analysis.export import to_json

        print(to_json(asdict(found)))
        return
    print("\n".join(lines(found)))


def sync(outputs: Path, name: str | None) -> int:
    from analysis import sync as syncing

    study = find_study(outputs, name)
    return max(syncing.sync(study), syncing.sync_study_run(study))


def report(outputs: Path, name: str | None, *, figures: str, tables: str, pdf: bool, browse: bool) -> None:
    from analysis.report.write import EXTRA, Wishes, lacks, write_report
    from harness.terminal import show_page

    first, *others = write_report(load_study(find_study(outputs, name)), Wishes(figures=figures, tables=tables, pdf=pdf))
    if lacks():
        print(f"verl-study: Markdown only, for the page lacks {', '.join(lacks())}: {EXTRA}", file=sys.stderr)
    show_page(first, browse=browse and not lacks())
    for path in others if figures or tables or pdf else ():
        print(path)


def publish(outputs: Path, name: str | None, *, entity: str | None, dry_run: bool) -> None:
    from analysis.dashboards.facts import facts_of

    study = find_study(outputs, name)
    facts = facts_of(load_study(study), entity=entity)
    if dry_run:
        from analysis.dashboards.pages import as_spec

        study.report.mkdir(exist_ok=True)
        records.write_text(study.dashboards, json.dumps(as_spec(facts), indent=1, ensure_ascii=False) + "\n")
        print(study.dashboards)
        return
    from analysis.dashboards.publish import publish

    published = publish(facts)
    print(f"workspace  {published.workspace}\nreport     {published.report}")


def replay(outputs: Path, options: argparse.Namespace) -> NoReturn:
    """Becomes the program that plays studies on what was recorded."""
    source = options.recorded
    if "://" not in source and not Path(source).is_dir():
        source = str(find_study(outputs, source).root)
    names = ("policy", "runs", "repeat", "seed", "slots", "direction", "json")
    wishes = {name: getattr(options, name) for name in ("metric", "reduction", "group", "tag")}
    become("sweeps.replay", json.dumps({"source": source, "wishes": wishes, **{name: getattr(options, name) for name in names}}))


def doctor(outputs: Path | None, overrides: Sequence[str], *, as_json: bool) -> NoReturn:
    """Becomes the program that composes the experiment and looks at this host."""
    where = [] if outputs is None else [f"paths.outputs={outputs}"]
    become("sweeps.doctor", *(["--json"] if as_json else []), *overrides, *where)
