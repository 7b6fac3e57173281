"""`python -m wandb_server [port]` from the folder `tests`: serves until it is interrupted, and prints what leads a client to it."""

from __future__ import annotations

import contextlib
import sys
import threading

from wandb_server.server import WandbServer

with WandbServer(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as server, contextlib.suppress(KeyboardInterrupt):
    print(*(f"export {name}={value}" for name, value in server.environment.items()), sep="\n", flush=True)
    threading.Event().wait()
