"""Runs a module of this project to its end in a process of its own: for what needs heavy imports that the controller does without."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.errors import ConfigError


def run_program(module: str, *arguments: str, timeout_s: float | None = None) -> str:
    """What it printed. Raises ConfigError with the last line that the program said where it fails or takes too long."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # else torch is compiled anew by the next process that imports it
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{' '.join((module, *arguments))}: no answer within {timeout_s:g} s") from error
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ConfigError(f"{' '.join((module, *arguments))}: {said[-1] if said else f'exit status {done.returncode}'}")
    return done.stdout
