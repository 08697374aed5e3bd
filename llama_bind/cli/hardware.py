"""What accelerators this machine seems to have that the build cannot use, and the build line that changes that.

Looks for drivers and device files only; nothing is loaded or run. Not for: the devices that llama.cpp sees.
"""

from __future__ import annotations

import dataclasses
import platform
import re
import shutil
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

__all__ = ["Advice", "gpu_advice", "unloaded_modules"]

_ROOT = Path("/")
_BACKENDS = {
    "cuda": {"CUDA"},
    "hip": {"ROCM"},
    "metal": {"MTL"},
    "musa": {"MUSA"},
    "opencl": {"OPENCL"},
    "sycl": {"SYCL"},
    "vulkan": {"VULKAN"},
}
"""Module ``ggml-NAME`` -> the names that its backend has once it is loaded, in capitals."""
_AMD, _INTEL = "0x1002", "0x8086"  # PCI vendor numbers


@dataclasses.dataclass(frozen=True)
class Advice:
    """Hardware that was `seen`, and the CMake `option` whose backend uses it, with what the build `needs`."""

    seen: str
    option: str
    needs: str

    def __str__(self) -> str:
        """What to run."""
        return (
            f"{self.seen}, but this build has no backend for it. With {self.needs} installed: "
            f'CMAKE_ARGS="{self.option}" pip install --force-reinstall --no-cache-dir --no-binary llama-bind llama-bind'
        )

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return dataclasses.asdict(self)


def unloaded_modules(files: Iterable[str], backends: Collection[str]) -> list[str]:
    """The library files of accelerators whose backend did not load (the driver or a runtime library is missing)."""
    has = {name.upper() for name in backends}
    found = []
    for name in files:
        match = re.search(r"ggml-([a-z]+)\.", name)
        if match and match[1] in _BACKENDS and not _BACKENDS[match[1]] & has:
            found.append(name)
    return found


def gpu_advice(backends: Collection[str], device_types: Collection[str], root: Path = _ROOT) -> list[Advice]:
    """Advice for each kind of accelerator that is here without a backend.

    Args:
        backends: Names of the loaded backends ("CPU", "CUDA", ...).
        device_types: Types of the devices that llama.cpp sees. Vulkan serves any of them.
        root: Where device files are looked for.
    """
    has = {name.upper() for name in backends}
    if "VULKAN" in has and {"gpu", "igpu"} & set(device_types):
        return []
    found = []
    if "CUDA" not in has and _has_nvidia(root):
        found.append(Advice("an NVIDIA GPU is here", "-DGGML_CUDA=on", "the CUDA toolkit"))
    vendors = _gpu_vendors(root)
    if not has & {"HIP", "ROCM", "CUDA"} and ((root / "dev/kfd").exists() or _AMD in vendors):
        found.append(Advice("an AMD GPU is here", "-DGGML_HIP=on", "ROCm (or with -DGGML_VULKAN=on the Vulkan SDK)"))
    if not has & {"SYCL", "OPENVINO"} and _INTEL in vendors:
        found.append(Advice("an Intel GPU is here", "-DGGML_VULKAN=on", "the Vulkan SDK"))
    if not has & {"METAL", "MTL"} and sys.platform == "darwin" and platform.machine() == "arm64":
        found.append(Advice("an Apple GPU is here", "-DGGML_METAL=on", "Xcode's command line tools"))
    return found


def _has_nvidia(root: Path) -> bool:
    if (root / "dev/nvidiactl").exists() or (root / "proc/driver/nvidia/version").exists():
        return True
    return root == _ROOT and shutil.which("nvidia-smi") is not None


def _gpu_vendors(root: Path) -> set[str]:
    """PCI vendors of the render devices (Linux)."""
    vendors = set()
    for file in (root / "sys/class/drm").glob("renderD*/device/vendor"):
        try:
            vendors.add(file.read_text().strip())
        except OSError:
            continue  # a device that went away, or that may not be read: nothing to advise about
    return vendors
