"""`ModelParams` as ``llama_model_params``, every value checked before native code sees it.

Not for: loading (``model``), or the options themselves (``llama_bind.params``).
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.core.callbacks import Carrier
from llama_bind.core.devices import Device, add_rpc_servers, find_buffer_type, find_devices, has_gpu
from llama_bind.errors import InputError, UnsupportedError
from llama_bind.lib import llama_h
from llama_bind.options import validate
from llama_bind.params import ModelParams, TensorBufferOverride

__all__ = ["NativeModelParams", "native_model_params"]

_SPLIT = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
_LAZY = {"off": 0, "auto": 1, "on": 2}
_OVERRIDE_BYTES = 127  # char[128] with its NUL
_ALL_LAYERS = -1


@dataclasses.dataclass
class NativeModelParams:
    """The C struct, and the Python objects that its pointers refer to: keep it until the model is loaded, and `keep`
    for as long as the model lives.
    """

    struct: Any
    keep: list[Any]
    progress: Carrier | None
    stopped: bool = False


def native_model_params(params: ModelParams) -> NativeModelParams:
    """Translate and check.

    Raises:
        InputError: an option that cannot be used; ``param`` names it.
        UnsupportedError: this build cannot do it.
    """
    validate(params)
    struct = llama_h.llama_model_default_params()
    native = NativeModelParams(struct, [], None)
    if params.rpc_servers:
        add_rpc_servers(params.rpc_servers)
    chosen = None if params.devices is None else find_devices(params.devices)
    _set_devices(native, params, chosen)
    struct.lazy_mode = _LAZY[params.lazy_mode]
    struct.load_mode = _load_mode(params)
    struct.vocab_only = bool(params.vocab_only)
    struct.check_tensors = bool(params.check_tensors)
    struct.use_extra_bufts = bool(params.use_extra_bufts)
    struct.no_host = bool(params.no_host)
    if params.load_mtp is not None:
        struct.load_mtp = bool(params.load_mtp)
    if params.tensor_split is not None:
        _set_tensor_split(native, params.tensor_split)
    if params.tensor_buft_overrides:
        _set_buffer_overrides(native, params.tensor_buft_overrides)
    if params.kv_overrides:
        _set_kv_overrides(native, params.kv_overrides)
    if params.progress_callback is not None:
        _set_progress(native, params.progress_callback)
    return native


def _load_mode(params: ModelParams) -> int:
    if params.use_direct_io:
        if params.use_mlock:
            raise InputError("use_direct_io and use_mlock exclude each other", param="use_direct_io")
        return int(llama_h.LLAMA_LOAD_MODE_DIRECT_IO)
    mmap = params.use_mmap and bool(llama_h.llama_supports_mmap())
    mlock = params.use_mlock and bool(llama_h.llama_supports_mlock())
    if mmap and mlock:
        return int(llama_h.LLAMA_LOAD_MODE_MMAP_MLOCK)
    if mlock:
        return int(llama_h.LLAMA_LOAD_MODE_MLOCK)
    return int(llama_h.LLAMA_LOAD_MODE_MMAP if mmap else llama_h.LLAMA_LOAD_MODE_NONE)


def _set_devices(native: NativeModelParams, params: ModelParams, chosen: list[Device] | None) -> None:
    struct = native.struct
    mode = params.split_mode
    struct.split_mode = _SPLIT[mode] if isinstance(mode, str) else int(mode)
    struct.main_gpu = params.main_gpu
    on_gpu = has_gpu() if chosen is None else bool(chosen)
    if params.n_gpu_layers is None:
        struct.n_gpu_layers = _ALL_LAYERS if on_gpu else 0
    else:
        struct.n_gpu_layers = min(int(params.n_gpu_layers), 2**31 - 1)
    if struct.split_mode == _SPLIT["tensor"] and not on_gpu:
        raise UnsupportedError("split_mode 'tensor' needs a GPU")
    if chosen is not None:
        for device in chosen:
            if device.type in ("cpu", "accel") and len(chosen) > 1:
                raise InputError(
                    f"{device.name} cannot be combined with other devices; leave it out, the CPU is always used too",
                    param="devices",
                )
        offload = [device for device in chosen if device.type not in ("cpu", "accel")]
        if not offload:
            struct.n_gpu_layers = 0
        array = (ctypes.c_void_p * (len(offload) + 1))(*(device.address for device in offload), None)
        native.keep.append(array)
        struct.devices = ctypes.cast(array, type(struct.devices))
        if struct.split_mode == _SPLIT["none"] and offload and params.main_gpu >= len(offload):
            raise InputError(f"main_gpu must be below {len(offload)}, the number of devices", param="main_gpu")


def _set_tensor_split(native: NativeModelParams, shares: Sequence[float]) -> None:
    most = int(llama_h.llama_max_devices())
    if isinstance(shares, (str, bytes)) or not all(isinstance(s, (int, float)) for s in shares):
        raise InputError("tensor_split must be a list of numbers", param="tensor_split")
    if len(shares) > most:
        raise InputError(f"tensor_split has {len(shares)} shares, at most {most} are possible", param="tensor_split")
    if not all(math.isfinite(s) and s >= 0 for s in shares):
        raise InputError("the shares of tensor_split must be finite and not negative", param="tensor_split")
    array = (ctypes.c_float * most)(*shares)  # llama.cpp copies llama_max_devices() floats, whatever was given
    native.keep.append(array)
    native.struct.tensor_split = ctypes.cast(array, type(native.struct.tensor_split))


def _set_buffer_overrides(
    native: NativeModelParams, overrides: Sequence[TensorBufferOverride | tuple[str, str]]
) -> None:
    array = (llama_h.llama_model_tensor_buft_override * (len(overrides) + 1))()
    for entry, override in zip(array, overrides, strict=False):
        try:
            pattern, name = (
                (override.pattern, override.buffer_type) if isinstance(override, TensorBufferOverride) else override
            )
            re.compile(pattern)
        except (TypeError, ValueError, re.error) as error:
            raise InputError(
                f"{override!r} is not a pair of a regular expression and a buffer type: {error}",
                param="tensor_buft_overrides",
            ) from error
        if not pattern or "\0" in pattern or len(pattern) > 512:
            raise InputError("a pattern has 1 to 512 characters, none of them NUL", param="tensor_buft_overrides")
        encoded = pattern.encode()
        native.keep.append(encoded)
        entry.pattern = encoded
        entry.buft = find_buffer_type(name)
    native.keep.append(array)
    native.struct.tensor_buft_overrides = array


def _set_kv_overrides(native: NativeModelParams, overrides: Mapping[str, bool | int | float | str]) -> None:
    if not isinstance(overrides, Mapping):
        raise InputError("kv_overrides must be a dict", param="kv_overrides")
    # An entry with an empty key ends the list: one more than there are values, and it is zero.
    array = (llama_h.llama_model_kv_override * (len(overrides) + 1))()
    for entry, (key, value) in zip(array, overrides.items(), strict=False):
        entry.key = _fitting(key, "the key")
        _set_value(entry, key, value)
    native.keep.append(array)
    native.struct.kv_overrides = array


def _set_value(entry: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        entry.tag, entry.val_bool = llama_h.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InputError(f"the value of {key!r} does not fit in 64 bits", param="kv_overrides")
        entry.tag, entry.val_i64 = llama_h.LLAMA_KV_OVERRIDE_TYPE_INT, value
    elif isinstance(value, float):
        entry.tag, entry.val_f64 = llama_h.LLAMA_KV_OVERRIDE_TYPE_FLOAT, value
    elif isinstance(value, (str, bytes)):
        entry.tag, entry.val_str = llama_h.LLAMA_KV_OVERRIDE_TYPE_STR, _fitting(value, f"the value of {key!r}")
    else:
        raise InputError(
            f"the value of {key!r} must be a bool, int, float or str, not {type(value).__name__}", param="kv_overrides"
        )


def _fitting(text: str | bytes, what: str) -> bytes:
    if not isinstance(text, (str, bytes)):
        raise InputError(f"{what} must be a string, not {text!r}", param="kv_overrides")
    try:
        raw = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not valid Unicode", param="kv_overrides") from error
    if what == "the key" and not raw:
        raise InputError("a key must not be empty", param="kv_overrides")
    if len(raw) > _OVERRIDE_BYTES or b"\0" in raw:
        raise InputError(
            f"{what} must be at most {_OVERRIDE_BYTES} bytes without NUL, not {len(raw)} ({raw[:40]!r}...)",
            param="kv_overrides",
        )
    return raw


def _set_progress(native: NativeModelParams, function: Any) -> None:
    if not callable(function):
        raise InputError("progress_callback must be callable", param="progress_callback")

    def go_on(result: Any) -> bool:
        native.stopped = result is False
        return not native.stopped

    carrier = Carrier(function, llama_h.llama_progress_callback, stop=lambda _share: False, answer=go_on)
    native.progress = carrier
    native.struct.progress_callback = carrier.callback
