"""The command `verl-study`: looks at studies and asks them to stop; refuses in one sentence, with exit status 2.

Nothing but the parser is imported before a command is known, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from analysis.arguments import parser

EXIT_PIPE, EXIT_INTERRUPTED = 128 + 13, 128 + 2  # as a shell reports SIGPIPE and SIGINT


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Exits with 0, with 2 where what was asked for is not there, or with 1 where it did not come about."""
    try:
        status = run(parser().parse_args(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough. The interpreter would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_PIPE
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    sys.exit(status)


def run(options: argparse.Namespace) -> int:
    from analysis import commands, outcomes
    from harness.errors import EXIT_BAD_INPUT, HarnessError, TrackerError

    outputs = getattr(options, "outputs", None) or Path(os.environ.get("VERL_SWEEP_OUTPUTS") or "outputs")
    try:
        match options.command:
            case "list":
                commands.list_studies(outputs, as_json=options.json)
            case "show":
                commands.show(outputs, options.study, options.trial, as_json=options.json)
            case "watch":
                if options.leet:
                    commands.leet(outputs, options.study)
                commands.watch(outputs, options.study, interval_s=options.interval)
            case "logs":
                commands.logs(outputs, options.study, options.trial, follow=options.follow, metrics=options.metrics)
            case "stop":
                commands.stop(outputs, options.study, options.trial)
            case "resume":
                commands.resume(outputs, options.study)
            case "repro":
                outcomes.repro(outputs, options.study, options.trial)
            case "export":
                outcomes.export(outputs, options.recipe, options.trial, form=options.format, output=options.output)
            case "import":
                outcomes.take_in(outputs, options)
            case "compare":
                outcomes.compare(outputs, options.first, options.second, as_json=options.json)
            case "sync":
                return outcomes.sync(outputs, options.study)
            case "report":
                outcomes.report(
                    outputs,
                    options.study,
                    figures=options.figures,
                    tables=options.tables,
                    pdf=options.pdf,
                    browse=not options.no_browser,
                )
            case "replay":
                outcomes.replay(outputs, options)
            case "wandb":
                outcomes.publish(outputs, options.study, entity=options.entity, dry_run=options.dry_run)
            case "doctor":
                outcomes.doctor(getattr(options, "outputs", None), options.overrides, as_json=options.json)
    except TrackerError as error:  # all is on disk, and another time may do
        print(f"verl-study: {error}", file=sys.stderr)
        return 1
    except HarnessError as error:
        print(f"verl-study: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"verl-study: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    main()
