"""The offline package set for a GPU host: what is chosen, blanked, split and put together again."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from gpu_bundle import build, manifest
from gpu_bundle.build import HERE, pack
from gpu_bundle.choice import NEVER, REPLACED, carried, is_used, pins
from gpu_bundle.fatbin import CUBIN, MAGIC, PTX, blank_others, fat_binaries
from gpu_bundle.manifest import Manifest
from gpu_bundle.parts import BrokenBundle, PartReader, PartWriter
from gpu_bundle.unpack import main, unpack

ELF = b"\x7fELF the host's own code"


def entry(kind: int, capability: int, payload: bytes, header: int = 64) -> bytes:
    head = struct.pack("<HHIQ", kind, 0x101, header, len(payload)).ljust(28, b"\0") + struct.pack("<I", capability)
    return head.ljust(header, b"\0") + payload


def fat_binary(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<4sHHQ", MAGIC, 1, 16, len(body)) + body


def blanked(image: bytes, capability: int = 90) -> bytes:
    changed = bytearray(image)
    blank_others(changed, capability)
    return bytes(changed)


def test_other_chips_code_is_blanked_and_nothing_moves() -> None:
    image = (
        ELF
        + fat_binary(entry(CUBIN, 80, b"ampere"), entry(CUBIN, 90, b"hopper", header=80), entry(PTX, 120, b"ptx 12"))
        + b"more of the host's"
    )
    changed = bytearray(image)
    assert blank_others(changed, 90) == len(b"ampere") + len(b"ptx 12")
    assert len(changed) == len(image)
    assert changed == image.replace(b"ampere", bytes(6)).replace(b"ptx 12", bytes(6))


def test_every_fat_binary_of_a_library_is_looked_at() -> None:
    image = fat_binary(entry(CUBIN, 80, b"first")) + ELF + fat_binary(entry(CUBIN, 80, b"second"), entry(CUBIN, 90, b"hopper"))
    assert [[code.capability for code in codes] for codes in fat_binaries(image)] == [[80], [80, 90]]
    assert b"second" not in blanked(image)
    assert b"first" in blanked(image)  # there is nothing else that the chip could load


def test_without_code_of_its_own_a_chip_keeps_the_newest_code_that_can_be_compiled_for_it() -> None:
    image = fat_binary(entry(PTX, 75, b"old"), entry(PTX, 80, b"newer"), entry(PTX, 100, b"too new"), entry(CUBIN, 100, b"blackwell"))
    kept = blanked(image)
    assert [word in kept for word in (b"old", b"newer", b"too new", b"blackwell")] == [False, True, False, False]


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(MAGIC, id="a magic at the end"),
        pytest.param(struct.pack("<4sHHQ", MAGIC, 2, 16, 8) + bytes(8), id="another version"),
        pytest.param(struct.pack("<4sHHQ", MAGIC, 1, 16, 2**40) + bytes(64), id="longer than the file"),
        pytest.param(struct.pack("<4sHHQ", MAGIC, 1, 16, 64) + bytes(64), id="an entry without a header"),
        pytest.param(fat_binary(entry(CUBIN, 80, b"ampere"), entry(CUBIN, 90, b"hopper")[:-3]), id="an entry that is cut off"),
    ],
)
def test_what_does_not_look_like_a_fat_binary_is_left_as_it_is(image: bytes) -> None:
    assert blanked(ELF + image + ELF) == ELF + image + ELF


def test_random_bytes_are_left_as_they_are() -> None:
    draw = random.Random(0)
    for _ in range(200):
        image = b"".join(MAGIC if draw.random() < 0.1 else draw.randbytes(7) for _ in range(50))
        assert blanked(image) == image


def test_what_the_host_has_stays_there_but_for_what_is_too_new() -> None:
    resolved = ["numpy==2.3.5", "Ray==2.56.0", "transformers==5.9.0", "torch==2.11.0", "nvidia-nccl-cu13==2.28.9", "zipp_x==4.1"]
    assert carried(resolved, ["numpy", "transformers", "zipp-x"]) == ["Ray==2.56.0", "transformers==5.9.0"]
    assert carried(resolved, []) == ["Ray==2.56.0", "numpy==2.3.5", "transformers==5.9.0", "zipp_x==4.1"]
    assert not NEVER & REPLACED


def test_pins_are_read_past_comments_and_markers() -> None:
    assert pins("# why\n\nray==2.56.0\nzss==1.2.0 ; sys_platform == 'linux'\ntorch  # the host's\n") == [
        "ray==2.56.0",
        "zss==1.2.0",
        "torch",
    ]


def test_the_lists_of_this_project_are_read() -> None:
    host = pins((HERE / "host.txt").read_text())
    assert {"torch", "triton", "transformers", "pytest", "numpy"} <= set(host)
    assert not {"vllm", "verl", "ray"} & set(host)
    assert all("sys_platform == 'never'" in line for line in (HERE / "overrides.txt").read_text().splitlines() if not line.startswith("#"))


@pytest.mark.parametrize(
    ("file", "used"),
    [
        ("vllm/__init__.py", True),
        ("vllm/_C_stable_libtorch.abi3.so", True),
        ("vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so", False),
        ("vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so", True),
        ("ray/serve/handle.py", True),
        ("ray/serve/generated/serve.bin", False),
        ("ray/jars/ray_dist.jar", False),
        ("wandb/bin/wandb-core", True),
        ("bin/ray", False),
        ("verl/__pycache__/protocol.cpython-312.pyc", False),
    ],
)
def test_files_that_nothing_opens_stay_behind(file: str, used: bool) -> None:
    assert is_used(PurePosixPath(file)) is used


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_a_stream_is_whole_again_after_it_was_in_parts(size: int, tmp_path: Path) -> None:
    data = random.Random(size).randbytes(size)
    with PartWriter(tmp_path, "packages", 100) as writer:
        for start in range(0, size, 37):
            writer.write(data[start : start + 37])
    assert [part.size for part in writer.parts] == [min(100, size - start) for start in range(0, size, 100)]
    assert [part.name for part in writer.parts] == sorted(path.name for path in tmp_path.iterdir())
    with PartReader(tmp_path, writer.parts) as reader:
        assert io.BufferedReader(reader).read() == data


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, Manifest]:
    """Two archives in parts of 64 bytes: a module, a program, and a model."""
    site, models, made = (tmp_path / name for name in ("site", "models", "made"))
    for folder in (site / "package" / "bin", models / "weights", made):
        folder.mkdir(parents=True)
    (site / "package" / "__init__.py").write_text("NUMBER = 7\n")
    (site / "package" / "bin" / "program").write_text("#!/bin/sh\n")
    (site / "package" / "bin" / "program").chmod(0o755)
    (models / "weights" / "model.gguf").write_bytes(random.Random(0).randbytes(500))
    archives = {"packages": pack(site, made, "packages", 64), "models": pack(models, made, "models", 64)}
    found = Manifest(python="3.12", capability=90, carried=("package==1",), archives=archives)
    manifest.write(made, found)
    return made, found


def test_a_bundle_is_unpacked_once_and_again_when_another_comes(bundle: tuple[Path, Manifest], tmp_path: Path) -> None:
    made, written = bundle
    site = tmp_path / "there"
    assert manifest.read(made) == written
    assert unpack(made, written, site)
    assert (site / "package" / "__init__.py").read_text() == "NUMBER = 7\n"
    assert (site / "package" / "bin" / "program").stat().st_mode & 0o111
    assert (site / "weights" / "model.gguf").stat().st_size == 500
    assert not unpack(made, written, site)
    (site / ".bundle").write_text("another")
    assert unpack(made, written, site)


@pytest.mark.parametrize("harm", ["missing", "changed", "cut"])
def test_a_part_that_is_missing_or_changed_is_named_and_nothing_is_unpacked(
    harm: str, bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    made, written = bundle
    part = made / written.archives["models"][2].name
    match harm:
        case "missing":
            part.unlink()
        case "changed":
            part.write_bytes(bytes([part.read_bytes()[0] ^ 1]) + part.read_bytes()[1:])
        case "cut":
            part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(BrokenBundle, match=rf"{part.name} is not"):
        unpack(made, written, tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert not (tmp_path / "there.part").exists()


def test_a_folder_without_a_bundle_is_refused_with_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path / "there")]) == 2
    assert "holds no bundle: make gpu-bundle" in capsys.readouterr().err


def test_a_folder_of_somebody_elses_is_not_written_over(bundle: tuple[Path, Manifest], tmp_path: Path) -> None:
    made, written = bundle
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    with pytest.raises(BrokenBundle, match="name another folder"):
        unpack(made, written, tmp_path / "mine")
    built = subprocess.run([sys.executable, "-m", build.__name__, tmp_path / "mine"], cwd=build.PROJECT, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (1, f"{tmp_path / 'mine'} is there and holds no bundle: name another folder\n")
    assert (tmp_path / "mine" / "thesis").exists()


def test_another_python_is_refused(bundle: tuple[Path, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, written = bundle
    other = Manifest(python="2.7", capability=90, carried=written.carried, archives=written.archives)
    manifest.write(made, other)
    assert main([str(made), str(tmp_path / "there")]) == 2
    assert "the bundle is for Python 2.7" in capsys.readouterr().err
