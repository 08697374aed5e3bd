"""The C API of mtmd (images and audio) under llama-cpp-python's names. Not for: checks of any kind."""

from __future__ import annotations

import ctypes
import warnings
from typing import Any

from llama_bind.lib import mtmd_h, mtmd_helper_h

_MIRRORS = (mtmd_h, mtmd_helper_h)

mtmd_batch_p_ctypes = ctypes.c_void_p
mtmd_bitmap_p_ctypes = ctypes.c_void_p
mtmd_context_p_ctypes = ctypes.c_void_p
mtmd_helper_gen_audio_p_ctypes = ctypes.c_void_p
mtmd_helper_video_p_ctypes = ctypes.c_void_p
mtmd_image_tokens_p_ctypes = ctypes.c_void_p
mtmd_input_chunk_p_ctypes = ctypes.c_void_p
mtmd_input_chunks_p_ctypes = ctypes.c_void_p


def mtmd_get_audio_bitrate(ctx: Any, /) -> int:
    """Older name of `mtmd_get_audio_sample_rate`."""
    warnings.warn(
        "mtmd_get_audio_bitrate is deprecated; use mtmd_get_audio_sample_rate", DeprecationWarning, stacklevel=2
    )
    return mtmd_h.mtmd_get_audio_sample_rate(ctx)


def mtmd_helper_bitmap_init_from_file_wrapper(ctx: Any, fname: bytes, placeholder: bool, opt: Any, /) -> Any:
    """What C calls ``mtmd_helper_bitmap_init_from_file``: a struct with the bitmap."""
    return mtmd_helper_h.mtmd_helper_bitmap_init_from_file(ctx, fname, placeholder, opt)


def mtmd_helper_bitmap_init_from_buf_wrapper(ctx: Any, buf: Any, length: int, placeholder: bool, opt: Any, /) -> Any:
    """What C calls ``mtmd_helper_bitmap_init_from_buf``: a struct with the bitmap."""
    return mtmd_helper_h.mtmd_helper_bitmap_init_from_buf(ctx, buf, length, placeholder, opt)


def mtmd_helper_bitmap_init_from_file(ctx: Any, fname: bytes, placeholder: bool = False, opt: Any = None, /) -> Any:
    """The bitmap alone, as llama-cpp-python gives it."""
    options = mtmd_helper_h.mtmd_helper_init_opt_default() if opt is None else opt
    return mtmd_helper_bitmap_init_from_file_wrapper(ctx, fname, placeholder, options).bitmap


def mtmd_helper_bitmap_init_from_buf(
    ctx: Any, buf: Any, length: int, placeholder: bool = False, opt: Any = None, /
) -> Any:
    """The bitmap alone, as llama-cpp-python gives it."""
    options = mtmd_helper_h.mtmd_helper_init_opt_default() if opt is None else opt
    return mtmd_helper_bitmap_init_from_buf_wrapper(ctx, buf, length, placeholder, options).bitmap


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _public()
    if name.startswith(("mtmd_", "MTMD_")):
        for mirror in _MIRRORS:
            if name in vars(mirror):
                return getattr(mirror, name)  # not kept here: its first call puts a faster one in its place
    raise AttributeError(f"module 'llama_cpp.mtmd_cpp' has no attribute {name!r}")


def _public() -> list[str]:
    names = {*globals(), *(name for mirror in _MIRRORS for name in vars(mirror))}
    return sorted(name for name in names if name.startswith(("mtmd_", "MTMD_")) and not name.endswith("_h"))


def __dir__() -> list[str]:
    return sorted({*globals(), *_public()})
