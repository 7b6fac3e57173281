"""What a bundle says of itself, `manifest.json` beside its parts; standard library only, for it is read on a host that has nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from gpu_bundle.parts import BrokenBundle, Part

NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    python: str  # 3.12, of the compiled packages
    capability: int  # of the GPUs whose code was kept: 90 is 9.0
    carried: tuple[str, ...]  # name==version
    archives: dict[str, tuple[Part, ...]]  # tar.xz streams, to be unpacked into one folder

    @property
    def identity(self) -> str:
        """Equal for equal contents."""
        return hashlib.sha256("".join(part.sha256 for parts in self.archives.values() for part in parts).encode()).hexdigest()


def write(folder: Path, manifest: Manifest) -> None:
    (folder / NAME).write_text(json.dumps(dataclasses.asdict(manifest), indent=1) + "\n")


def read(folder: Path) -> Manifest:
    """Raises BrokenBundle where there is none."""
    try:
        found = json.loads((folder / NAME).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise BrokenBundle(f"{folder} holds no bundle: make gpu-bundle, where there is a network, and copy that folder here") from error
    archives = {name: tuple(Part(**part) for part in parts) for name, parts in found["archives"].items()}
    return Manifest(python=found["python"], capability=found["capability"], carried=tuple(found["carried"]), archives=archives)
