"""A W&B server for tests, on loopback and of the standard library only: README.md says what it proves and what not."""

from wandb_server.faults import Drop, Fault
from wandb_server.server import KEY, WandbServer
from wandb_server.store import Run

__all__ = ["KEY", "Drop", "Fault", "Run", "WandbServer"]
