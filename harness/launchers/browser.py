"""A browser without a screen: prints a page to PDF. Refuses in one sentence where the host has none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.errors import ConfigError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
TIMEOUT_S = 120.0
_DRAWN_MS = 20_000  # of the page's own clock, which runs as fast as it can


def find() -> str:
    """The program; BROWSER_PATH says which, where it is set. Raises ConfigError."""
    named = os.environ.get("BROWSER_PATH")
    found = named if named and Path(named).is_file() else next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise ConfigError(f"there is no browser on this host (looked for {', '.join(NAMES)}): install chromium, or set BROWSER_PATH")
    return found


def print_pdf(page: Path, pdf: Path) -> Path:
    """Raises ConfigError where there is no browser, or it does not print."""
    program = find()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program,
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--enable-unsafe-swiftshader",  # draws WebGL without a GPU
            "--no-first-run",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # which it refuses to have for root
            f"--user-data-dir={profile}",
            f"--virtual-time-budget={_DRAWN_MS}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={pdf.absolute()}",
            page.absolute().as_uri(),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"--pdf: {program} did not print {page} within {TIMEOUT_S:g} s") from error
    if done.returncode != 0 or not pdf.exists():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise ConfigError(f"--pdf: {program}: {said[-1] if said else f'exit status {done.returncode}'}")
    return pdf
