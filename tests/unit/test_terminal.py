"""When a page would open before the reader's eyes."""

from __future__ import annotations

import pytest

from harness.terminal import has_display


@pytest.mark.parametrize(
    ("environment", "platform", "opens"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "1 2 3 4"}, "darwin", False),
    ],
)
def test_a_browser_opens_only_where_whoever_reads_has_the_display(environment: dict[str, str], platform: str, opens: bool) -> None:
    assert has_display(environment, platform) is opens
