"""The C API of mtmd (images and audio) under llama-cpp-python's names. Not for: checks of any kind."""

from __future__ import annotations

import ctypes
from typing import Any

from llama_bind.compat._mirrors import Mirrors, deprecated
from llama_bind.lib import mtmd_h, mtmd_helper_h

_PREFIXES = ("mtmd_", "MTMD_")
_MIRRORED = Mirrors("llama_cpp.mtmd_cpp", (mtmd_h, mtmd_helper_h), lambda name: name.startswith(_PREFIXES))

mtmd_batch_p_ctypes = mtmd_bitmap_p_ctypes = mtmd_context_p_ctypes = ctypes.c_void_p
mtmd_helper_gen_audio_p_ctypes = mtmd_helper_video_p_ctypes = ctypes.c_void_p
mtmd_image_tokens_p_ctypes = mtmd_input_chunk_p_ctypes = mtmd_input_chunks_p_ctypes = ctypes.c_void_p


def mtmd_get_audio_bitrate(ctx: Any, /) -> int:
    """Older name of `mtmd_get_audio_sample_rate`."""
    deprecated("mtmd_get_audio_bitrate", "mtmd_get_audio_sample_rate")
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
    return _MIRRORED.find(name)


def _public() -> list[str]:
    own = {name for name in globals() if name.startswith(_PREFIXES) and not name.endswith("_h")}
    return sorted(own | _MIRRORED.names())


def __dir__() -> list[str]:
    return sorted({*globals(), *_public()})
