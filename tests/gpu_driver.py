"""A double of NVIDIA's driver: its tool `nvidia-smi`, for GPUs whose use of memory stands in files. No GPU is needed."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

TOTAL_MIB = 81_559
MODEL = "NVIDIA H100 80GB HBM3"
BANNER = "| NVIDIA-SMI 580.159.04             Driver Version: 580.159.04     CUDA Version: 13.0     |"
PROGRAM = """#!{python}
import pathlib, sys
folder = pathlib.Path({folder!r})
known = sorted(path.name for path in folder.iterdir() if path.name.isdigit())
asked = [word.split("=")[1].split(",") for word in sys.argv if word.startswith("--id=")]
if len(sys.argv) == 1:
    print({banner!r})
else:
    for gpu in asked[0] if asked else known:
        answers = {{
            "index": gpu,
            "name": {model!r},
            "memory.used,memory.total": (folder / gpu).read_text() + ", {total}",
            "pci.bus_id": f"00000000:{{int(gpu):02X}}:00.0",
        }}
        print(answers[sys.argv[1].removeprefix("--query-gpu=")])
"""


class Driver:
    """Lies in `folder`, which is to be first in PATH; each GPU's use stands in a file there. GPU n is on bus n."""

    def __init__(self, folder: Path, gpus: int = 2) -> None:
        self.folder = folder
        tool = folder / "nvidia-smi"
        tool.write_text(PROGRAM.format(python=sys.executable, folder=str(folder), total=TOTAL_MIB, model=MODEL, banner=BANNER))
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        for gpu in range(gpus):
            self.uses(str(gpu), 4)

    def uses(self, gpu: str, mib: int) -> None:
        beside = self.folder / f".{gpu}"
        beside.write_text(str(mib))
        beside.replace(self.folder / gpu)
