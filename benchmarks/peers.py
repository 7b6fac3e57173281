"""The peers that the benchmarks compare with, each in a virtual environment of its own under `.bench/`: python -m benchmarks.peers"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".bench"  # git ignores it

# The official sweeper 1.3 is made for Optuna 2.10, which is made for SQLAlchemy 1.4 and NumPy 1.
PEERS = {
    "official": (
        "hydra-core==1.3.8",
        "omegaconf<2.4",
        "hydra-optuna-sweeper==1.3.0",
        "hydra-joblib-launcher==1.2.0",
        "optuna==2.10.1",
        "SQLAlchemy<2",
        "numpy<2",
        "setuptools<81",
    ),
    "tune": ("ray[tune]==2.60.0", "optuna==5.0.0"),
}


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing. Raises CalledProcessError."""
    folder = FOLDER / peer
    interpreter = folder / "bin" / "python"
    ready = folder / "requirements.txt"
    wanted = "\n".join(PEERS[peer]) + "\n"
    if not ready.exists() or ready.read_text() != wanted:
        print(f"making {FOLDER.name}/{peer}: {' '.join(PEERS[peer])}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        (FOLDER / ".gitignore").write_text("*\n")
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *PEERS[peer]], check=True)
        ready.write_text(wanted)  # last: an environment that has it is whole
    return interpreter


def main() -> None:
    for peer in PEERS:
        print(python(peer))


if __name__ == "__main__":
    main()
