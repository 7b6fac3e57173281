"""`make gpu-test`, its first half: unpacks a bundle into a folder, whole or not at all, and only once. Standard library only."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

from gpu_bundle.manifest import Manifest, read
from gpu_bundle.parts import BrokenBundle, PartReader, verify

DONE = ".bundle"  # in the folder: the identity of the bundle that it was unpacked from


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m gpu_bundle.unpack BUNDLE FOLDER", file=sys.stderr)
        return 2
    bundle, site = map(Path, arguments)
    try:
        manifest = read(bundle)
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if here != manifest.python:
            raise BrokenBundle(
                f"the bundle is for Python {manifest.python}, and this is {here}: make PYTHON=python{manifest.python} gpu-test"
            )
        if unpack(bundle, manifest, site):
            print(f"unpacked {len(manifest.carried)} packages into {site}")
    except BrokenBundle as error:
        print(f"gpu-test: {error}", file=sys.stderr)
        return 2
    return 0


def unpack(bundle: Path, manifest: Manifest, site: Path) -> bool:
    """Whether it was unpacked now. Raises BrokenBundle, and then leaves what was there before."""
    done = site / DONE
    if done.is_file() and done.read_text() == manifest.identity:
        return False
    if site.exists() and not done.exists():
        raise BrokenBundle(f"{site} is there and was not unpacked from a bundle: name another folder with GPU_SITE=...")
    for parts in manifest.archives.values():
        verify(bundle, parts)
    beside = site.with_name(f"{site.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for parts in manifest.archives.values():
            with PartReader(bundle, parts) as stream, tarfile.open(fileobj=stream, mode="r|xz") as archive:
                archive.extractall(beside, filter="data")
        (beside / DONE).write_text(manifest.identity)
        shutil.rmtree(site, ignore_errors=True)
        beside.rename(site)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
