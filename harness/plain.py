"""Text that others wrote, fit to be shown: no terminal codes, no control characters, and no longer than anybody reads."""

from __future__ import annotations

import re

CHARACTERS = 4000
# Terminal codes (colours and cursor; titles and links), then what is left of the control characters; lines and tabs stay.
_UNSEEN = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(text: str) -> str:
    """Cut in the middle where it is too long: the end of an error's message says as much as its beginning."""
    if len(text) > CHARACTERS:
        text = f"{text[: CHARACTERS // 2]} […] {text[-CHARACTERS // 2 :]}"
    return _UNSEEN.sub("", text)
