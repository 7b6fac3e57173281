"""`verl-sweep`: a Hydra application. Without -m it runs one trial in the foreground, with -m a study."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import passwords
from harness.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, ConfigError, HarnessError, StudyInterrupted

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def main() -> None:
    """Translates every error that a user can make into one sentence and exit status 2."""
    # Hydra prints errors and exits by itself unless it is asked for them in full; its sentences leave out the cure.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with one_sentence():
        _application()


@contextmanager
def one_sentence(program: str = "verl-sweep") -> Iterator[None]:
    """Ends the process with a sentence and a status for every error that was raised on purpose."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except ConfigError as error:
        _fail(program, str(error), EXIT_BAD_INPUT)
    except StudyInterrupted as error:
        _fail(program, str(error), EXIT_INTERRUPTED)
    except HarnessError as error:
        _fail(program, str(error), 1)
    except (HydraException, OmegaConfBaseException) as error:
        _fail(program, str(_explained(error)), EXIT_BAD_INPUT)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _fail(program, f"{error}; what runs goes on, and the same command takes it over once there is room", 1)
    except KeyboardInterrupt:
        _fail(program, "interrupted", EXIT_INTERRUPTED)


def _application() -> None:
    import hydra

    from sweeps.composed import CONF

    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_run_trial)()


def _run_trial(config: Any) -> float | None:
    """The task function; the sweeper recognises it by its mark and runs a study instead."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from sweeps.launch import launch_trial

    with one_sentence():  # here too, for Hydra adds a line of its own to an error that leaves a task function
        return launch_trial(GlobalHydra.instance().config_loader(), config, list(HydraConfig.get().overrides.task))


_run_trial.verl_sweep_study = True  # type: ignore[attr-defined] # sweeps.sweeper.STUDY_TASK


def _explained(error: Exception) -> ConfigError:
    from sweeps.compose import explain
    from sweeps.composed import base_keys

    return explain(error, base_keys())


def _fail(program: str, message: str, status: int) -> None:
    print(f"{program}: {passwords.without_passwords(message)}", file=sys.stderr)  # Hydra quotes what it cannot read
    sys.exit(status)


if __name__ == "__main__":
    main()
