"""Single operations of ggml, computed by its CPU backend. Not for models."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_bind.lib import _loader, ggml_backend_h, ggml_h

EXTRA_TYPES = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)


def extra_types() -> list[int]:
    """ggml's handles of the buffer types that llama.cpp may take for weights."""
    _loader.load_backends()
    registry = ggml_backend_h.ggml_backend_reg_by_name(b"CPU")
    address: Any = ggml_backend_h.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
    device: Any = ggml_backend_h.ggml_backend_dev_by_type(ggml_backend_h.GGML_BACKEND_DEVICE_TYPE_CPU)
    types = EXTRA_TYPES(ctypes.cast(address, ctypes.c_void_p).value or 0)(ctypes.cast(device, ctypes.c_void_p))
    return list(itertools.takewhile(lambda handle: handle is not None, types))


def extra_names() -> list[str]:
    return [(ggml_backend_h.ggml_backend_buft_name(handle) or b"").decode() for handle in extra_types()]


def extra_type(name: str, register: str) -> int:
    """ggml's handle of one of our buffer types; the test is skipped on processors whose module has none."""
    for handle, known in zip(extra_types(), extra_names(), strict=True):
        if known == name:
            return handle
    module = ctypes.CDLL(_loader.backend_module_path("CPU"))
    assert getattr(module, register)() == 0, f"the module has {name}, but it was not offered"
    pytest.skip(f"this processor has no instructions for {name}")


@contextmanager
def tensors(*shapes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    """A ggml context and float32 tensors, without memory."""
    context = ggml_h.ggml_init(ggml_h.ggml_init_params(1 << 20, None, True))
    try:
        made = []
        for shape in shapes:
            sizes = (*shape, *(1,) * (4 - len(shape)))
            made.append(ggml_h.ggml_new_tensor_4d(context, ggml_h.GGML_TYPE_F32, *sizes))
        yield context, made
    finally:
        ggml_h.ggml_free(context)


def write(tensor: Any, data: np.ndarray) -> None:
    data = np.ascontiguousarray(data)
    ggml_backend_h.ggml_backend_tensor_set(tensor, data.ctypes.data, 0, data.nbytes)


def read(tensor: Any, size: int, offset: int = 0) -> np.ndarray:
    data = np.empty(size, np.uint8)
    ggml_backend_h.ggml_backend_tensor_get(tensor, data.ctypes.data, offset, size)
    return data


def run_with_avx2(folder: Path, tests: str, which: str) -> str:
    """What pytest prints of tests in a process whose CPU module is the one for processors with AVX2 and no AVX-512."""
    chosen = Path(_loader.backend_module_path("CPU") or "")
    haswell = chosen.with_name("libggml-cpu-haswell.so")
    if not haswell.exists() or haswell == chosen:
        pytest.skip("only one module for processors with AVX2 here")
    for file in chosen.parent.iterdir():
        if "ggml-cpu" not in file.name or file == haswell:
            shutil.copy(file, folder)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, "-k", which]
    environment = {**os.environ, "LLAMA_BIND_LIB_DIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout
