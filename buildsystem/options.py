"""Translates the build options that people type: llama.cpp's older spellings into today's. Pure; runs no CMake."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Iterable

Warn = Callable[[str], None]

RENAMED: dict[str, str] = {
    "GGML_CUBLAS": "GGML_CUDA",
    "GGML_HIPBLAS": "GGML_HIP",
    "LLAMA_ACCELERATE": "GGML_ACCELERATE",
    "LLAMA_AVX": "GGML_AVX",
    "LLAMA_AVX2": "GGML_AVX2",
    "LLAMA_AVX512": "GGML_AVX512",
    "LLAMA_AVX512_BF16": "GGML_AVX512_BF16",
    "LLAMA_AVX512_VBMI": "GGML_AVX512_VBMI",
    "LLAMA_AVX512_VNNI": "GGML_AVX512_VNNI",
    "LLAMA_BLAS": "GGML_BLAS",
    "LLAMA_BLAS_VENDOR": "GGML_BLAS_VENDOR",
    "LLAMA_CANN": "GGML_CANN",
    "LLAMA_CUBLAS": "GGML_CUDA",
    "LLAMA_CUDA": "GGML_CUDA",
    "LLAMA_CUDA_FORCE_CUBLAS": "GGML_CUDA_FORCE_CUBLAS",
    "LLAMA_CUDA_FORCE_MMQ": "GGML_CUDA_FORCE_MMQ",
    "LLAMA_CUDA_FA_ALL_QUANTS": "GGML_CUDA_FA_ALL_QUANTS",
    "LLAMA_CUDA_NO_PEER_COPY": "GGML_CUDA_NO_PEER_COPY",
    "LLAMA_CUDA_NO_VMM": "GGML_CUDA_NO_VMM",
    "LLAMA_F16C": "GGML_F16C",
    "LLAMA_FMA": "GGML_FMA",
    "LLAMA_HIP": "GGML_HIP",
    "LLAMA_HIPBLAS": "GGML_HIP",
    "LLAMA_LLAMAFILE": "GGML_LLAMAFILE",
    "LLAMA_LTO": "GGML_LTO",
    "LLAMA_METAL": "GGML_METAL",
    "LLAMA_METAL_EMBED_LIBRARY": "GGML_METAL_EMBED_LIBRARY",
    "LLAMA_MUSA": "GGML_MUSA",
    "LLAMA_NATIVE": "GGML_NATIVE",
    "LLAMA_OPENBLAS": "GGML_BLAS",
    "LLAMA_OPENMP": "GGML_OPENMP",
    "LLAMA_RPC": "GGML_RPC",
    "LLAMA_SYCL": "GGML_SYCL",
    "LLAMA_SYCL_F16": "GGML_SYCL_F16",
    "LLAMA_VULKAN": "GGML_VULKAN",
}
"""Old option: what it is called now."""

IMPLIED: dict[str, str] = {"LLAMA_OPENBLAS": "-DGGML_BLAS_VENDOR=OpenBLAS"}
"""Old option: what else it meant when it was on."""

GONE: dict[str, str] = {
    "LLAMA_CLBLAST": "use -DGGML_OPENCL=ON or -DGGML_VULKAN=ON",
    "GGML_CLBLAST": "use -DGGML_OPENCL=ON or -DGGML_VULKAN=ON",
    "LLAMA_KOMPUTE": "use -DGGML_VULKAN=ON",
    "GGML_KOMPUTE": "use -DGGML_VULKAN=ON",
}
"""Option for something that llama.cpp no longer has: what to use instead."""

# Naming a CPU feature asks for one CPU build with it; the default, every variant with the choice made at run time,
# would ignore it.
_CPU_FEATURE = re.compile(
    r"GGML_(SSE42|AVX|AVX2|AVX_VNNI|BMI2|AVX512|AVX512_\w+|FMA|F16C|AMX_\w+|CPU_ARM_ARCH|CPU_POWERPC_CPUTYPE)"
)
_DEFINE = re.compile(r"-D\s*(?P<name>\w+)(?P<type>:\w+)?=(?P<value>.*)", re.DOTALL)
_OFF = {"", "0", "off", "no", "false", "n", "ignore", "notfound"}


class OptionError(Exception):
    """A build option that cannot be honoured. The message says what to use."""


def _joined(arguments: Iterable[str]) -> list[str]:
    # CMake also takes "-D NAME=VALUE", as two words.
    result: list[str] = []
    for word in arguments:
        if result and result[-1] == "-D":
            result[-1] = f"-D{word}"
        else:
            result.append(word)
    return result


def translate(arguments: Iterable[str], warn: Warn) -> list[str]:
    """Returns CMake arguments with old option names replaced, calling `warn` with a sentence for each.

    Raises `OptionError` for one that switches on something llama.cpp no longer has.
    """
    words = _joined(arguments)
    given = {m["name"] for word in words if (m := _DEFINE.fullmatch(word))}
    result: list[str] = []
    for word in words:
        match = _DEFINE.fullmatch(word)
        name = match["name"] if match else ""
        if match is None or name not in RENAMED | GONE:
            result.append(word)
            continue
        on = match["value"].lower() not in _OFF
        if name in GONE:
            if on:
                raise OptionError(f"llama.cpp no longer has -D{name}: {GONE[name]}")
            continue
        new = RENAMED[name]
        warn(f"-D{name} is now called -D{new}" + (", which is also given and wins" if new in given else ""))
        if new not in given:
            result.append(f"-D{new}{match['type'] or ''}={match['value']}")
            if on and name in IMPLIED:
                result.append(IMPLIED[name])
    named = {m["name"] for word in result if (m := _DEFINE.fullmatch(word))}
    feature = next((n for n in sorted(named) if _CPU_FEATURE.fullmatch(n)), None)
    if feature and not named & {"GGML_CPU_ALL_VARIANTS", "GGML_NATIVE"}:
        warn(f"-D{feature} is given: building the CPU library once, with that, instead of once for every CPU family")
        result.append("-DGGML_CPU_ALL_VARIANTS=OFF")
    return result


def translate_text(text: str, warn: Warn) -> str:
    """`translate` for the value of the environment variable `CMAKE_ARGS`."""
    return shlex.join(translate(shlex.split(text), warn))


def build_folder(arguments: Iterable[str]) -> str:
    """Returns the build folder for these CMake arguments, relative to the project.

    Each set of options has its own: CMake remembers options, and a build without `-DGGML_CUDA=on` must be without.
    """
    words = list(arguments)
    if not words:
        return "build/native"
    return f"build/native-{hashlib.sha256(shlex.join(words).encode()).hexdigest()[:8]}"
