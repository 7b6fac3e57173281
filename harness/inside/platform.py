"""Registers verl's `cpu` platform where VERL_PLATFORM=cpu asks for it; anywhere else it does nothing, a machine with GPUs included.

An entry point of the group `verl.plugins`: every process that imports verl imports this module.
"""

from __future__ import annotations

import os

if os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu":
    from harness.inside import cpu_device as cpu_device
