"""What llama.cpp can compute on: devices, buffer types, RPC servers, and what the build supports.

Not for: choosing devices (``model_params``), or showing them (the command line).
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Sequence
from typing import Any

from llama_bind.core.backend import ensure_backend
from llama_bind.errors import InputError, NativeAbortError, UnsupportedError
from llama_bind.lib import ggml_backend_h as gb
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard
from llama_bind.options import nearest

__all__ = ["Device", "add_rpc_servers", "buffer_types", "devices", "find_devices", "has_gpu", "system_info"]

_TYPES = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accel", 4: "meta"}
_rpc_servers: set[str] = set()


@dataclasses.dataclass(frozen=True)
class Device:
    """One device as ggml lists it. `type` is cpu, gpu, igpu, accel or meta; memory in bytes; `address` is ggml's."""

    name: str
    description: str
    type: str
    memory_free: int
    memory_total: int
    backend: str
    address: int = dataclasses.field(repr=False, default=0)


def devices() -> list[Device]:
    """All devices of the loaded backends, in ggml's order."""
    ensure_backend()
    found = []
    for index in range(gb.ggml_backend_dev_count()):
        address = gb.ggml_backend_dev_get(index)
        if address is None:
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        guard_h.lb_ggml_backend_dev_memory(address, ctypes.byref(free), ctypes.byref(total))
        check_guard()  # an RPC server that has gone fails here
        registry = gb.ggml_backend_dev_backend_reg(address)
        found.append(
            Device(
                name=_text(gb.ggml_backend_dev_name(address)),
                description=_text(gb.ggml_backend_dev_description(address)),
                type=_TYPES.get(int(gb.ggml_backend_dev_type(address)), "other"),
                memory_free=free.value,
                memory_total=total.value,
                backend=_text(gb.ggml_backend_reg_name(registry)) if registry else "",
                address=address,
            )
        )
    return found


def find_devices(names: Sequence[str]) -> list[Device]:
    """The devices with these names (case does not matter), in this order.

    Raises:
        InputError: a name is unknown, or given twice; the message lists the names there are.
    """
    if isinstance(names, str):
        raise InputError(
            f"devices must be a list of names, not {names!r}; for one device write [{names!r}]", param="devices"
        )
    known = {device.name.lower(): device for device in devices()}
    found = []
    for name in names:
        device = known.get(str(name).lower())
        if device is None:
            raise InputError(_unknown("device", str(name), [d.name for d in known.values()]), param="devices")
        if device in found:
            raise InputError(f"device {device.name} is given twice", param="devices")
        found.append(device)
    return found


def has_gpu() -> bool:
    """Whether a GPU (integrated ones and RPC servers included) is there to put layers on."""
    return any(device.type in ("gpu", "igpu") for device in devices())


def buffer_types() -> dict[str, int]:
    """Names and addresses of the buffer types that tensors can be put into: one per device, host buffers too."""
    found: dict[str, int] = {}
    for device in devices():
        for address in (
            gb.ggml_backend_dev_buffer_type(device.address),
            gb.ggml_backend_dev_host_buffer_type(device.address),
        ):
            if address:
                found.setdefault(_text(gb.ggml_backend_buft_name(address)), address)
    return found


def find_buffer_type(name: str) -> int:
    """The address of a buffer type by name; raises `InputError` that lists the names."""
    known = buffer_types()
    for key, address in known.items():
        if key.lower() == name.lower():
            return address
    raise InputError(_unknown("buffer type", name, list(known)), param="tensor_buft_overrides")


def add_rpc_servers(endpoints: Sequence[str]) -> None:
    """Add the devices of llama.cpp RPC servers (``host:port``) to those of this process; each once.

    Raises:
        InputError: not of the form host:port.
        UnsupportedError: this build has no RPC backend, or the server has no devices or cannot be reached.
    """
    ensure_backend()
    if isinstance(endpoints, str):
        endpoints = [endpoints]
    for endpoint in endpoints:
        host, _, port = str(endpoint).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(f"an RPC server is host:port, not {endpoint!r}", param="rpc_servers")
    registry = gb.ggml_backend_reg_by_name(b"RPC")
    if registry is None:
        raise UnsupportedError("this build of llama.cpp has no RPC backend (GGML_RPC)")
    address = gb.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_rpc_add_server")
    if not address:
        raise UnsupportedError("the RPC backend of this build cannot add servers")
    for endpoint in endpoints:
        if endpoint in _rpc_servers:
            continue
        added = guard_h.lb_rpc_add_server(address, endpoint.encode())
        try:
            check_guard()
        except NativeAbortError as error:
            raise UnsupportedError(f"the RPC server {endpoint} does not answer: {error.native_message}") from error
        if not added:
            raise UnsupportedError(f"the RPC server {endpoint} cannot be reached or has no devices")
        guard_h.lb_ggml_backend_register(added)
        check_guard()
        _rpc_servers.add(endpoint)


def system_info() -> dict[str, Any]:
    """Facts about the build and the machine: version, CPU features in use, and what is supported."""
    ensure_backend()
    return {
        "version": _text(llama_h.llama_version()),
        "features": _text(llama_h.llama_print_system_info()),
        "supports_mmap": bool(llama_h.llama_supports_mmap()),
        "supports_mlock": bool(llama_h.llama_supports_mlock()),
        "supports_gpu_offload": has_gpu(),
        "supports_rpc": bool(llama_h.llama_supports_rpc()),
        "max_devices": int(llama_h.llama_max_devices()),
        "max_parallel_sequences": int(llama_h.llama_max_parallel_sequences()),
        "backends": [
            _text(gb.ggml_backend_reg_name(gb.ggml_backend_reg_get(index)))
            for index in range(gb.ggml_backend_reg_count())
        ],
    }


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = nearest(name, known)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"there is no {what} {name!r}{hint} There is: {', '.join(known)}"


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
