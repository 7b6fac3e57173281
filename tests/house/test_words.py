"""What is tracked names no machine of ours."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Spelled in pieces, for this file is tracked too.
ABSOLUTE = re.compile(r"(?<![\w.$}~-])/(?:" + "|".join(("work", "root", "home")) + r")/[\w.]")
REGISTRY = re.compile("|".join((r"pypi\." + "org", r"files\.python" + r"hosted\.org", r"registry\." + r"npmjs", r"conda\." + "anaconda")))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    return found


def test_no_absolute_path_of_a_machine() -> None:
    assert lines_with(ABSOLUTE) == []


def test_no_host_of_a_package_registry() -> None:
    assert lines_with(REGISTRY) == []
