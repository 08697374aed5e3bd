"""What the generated modules are made of: functions that resolve on first call, structs, callbacks and pointer types.

A function declared with a binder is a small Python stub. Its first call looks the symbol up, puts the raw ctypes
function in the module under the same name, and calls it: from then on ``llama_h.llama_decode(...)`` costs no Python
code. A stub that was imported by name earlier keeps working and forwards.

Not for: finding libraries (``_loader``), or checking what C functions return.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from llama_bind.lib import _loader

__all__ = ["CDECL", "Callback", "Struct", "Union", "binder", "deprecated", "resolve", "retype"]

_F = TypeVar("_F", bound=Callable[..., Any])

CDECL = 1  # ctypes' FUNCFLAG_CDECL

if TYPE_CHECKING:
    from _ctypes import CFuncPtr as _FunctionBase
    from ctypes import Array, _CArgObject, _CDataType, _Pointer
    from typing import TypeAlias

    _T = TypeVar("_T", bound=_CDataType)

    Ptr: TypeAlias = _Pointer[_T]
    """A typed pointer as C returns it or a struct holds it: false when NULL, ``p[i]``, ``p.contents``."""

    PtrIn: TypeAlias = _Pointer[_T] | Array[_T] | _T | _CArgObject | None
    """What may be passed for a typed pointer: a pointer, an array, an object (its address), ``byref``, None."""

    Handle: TypeAlias = int | ctypes.c_void_p | None
    """What may be passed for an opaque pointer: an address, None for NULL. C returns ``int | None``."""

    Address: TypeAlias = int | ctypes.c_void_p | bytes | Array[Any] | _Pointer[Any] | _FunctionBase | _CArgObject | None
    """What may be passed for ``void *``: an address, or anything with one."""

    Chars: TypeAlias = bytes | Array[ctypes.c_char] | _CArgObject | None
    """What may be passed for ``char *``: bytes where C only reads, ``create_string_buffer(n)`` where it writes."""
else:
    _FunctionBase = ctypes._CFuncPtr


class _Repr:
    """``name(field=value, ...)`` for structs and unions."""

    _fields_: ClassVar[Any]

    def __repr__(self) -> str:
        values = ", ".join(f"{field[0]}={getattr(self, field[0])!r}" for field in self._fields_)
        return f"{type(self).__name__}({values})"


class Struct(_Repr, ctypes.Structure):
    """A C struct: fields by name, ``ctypes`` rules for assignment, a readable ``repr``."""


class Union(_Repr, ctypes.Union):
    """A C union."""


class Callback(_FunctionBase):
    """A C function pointer type. Made of a Python callable, an address, or nothing (NULL).

    Keep a reference to the object for as long as C may call it. An exception inside the Python callable cannot
    cross C: it goes to ``sys.unraisablehook`` and C sees 0.
    """

    _flags_ = CDECL

    @classmethod
    def from_param(cls, value: Any) -> Any:
        """None is NULL and an int is an address, which plain ctypes refuses for function pointers."""
        if value is None:
            return cls()
        return cls(value) if isinstance(value, int) else type(cls).from_param(cls, value)


class Binding(NamedTuple):
    """How a C function is declared."""

    family: str
    name: str
    restype: Any
    argtypes: list[Any]


def binder(family: str, namespace: dict[str, Any]) -> Callable[[Any, list[Any]], Callable[[_F], _F]]:
    """A decorator factory ``bind(restype, argtypes)`` for the stubs of one generated module.

    Args:
        family: the libraries that hold the functions: a key of the loader's table.
        namespace: the module's ``globals()``, where raw functions replace stubs.
    """

    def bind(restype: Any, argtypes: list[Any]) -> Callable[[_F], _F]:
        def decorate(stub: _F) -> _F:
            name = stub.__name__

            def first_call(*args: Any) -> Any:
                function = resolve(first_call)
                if namespace.get(name) is first_call:
                    namespace[name] = function
                return function(*args)

            # By hand: functools.update_wrapper would be half of the modules' import time.
            first_call.__name__ = first_call.__qualname__ = name
            first_call.__module__ = stub.__module__
            first_call.__doc__ = stub.__doc__
            first_call.__dict__.update(__wrapped__=stub, _binding=(family, name, restype, argtypes))
            return first_call  # type: ignore[return-value]

        return decorate

    return bind


def resolve(function: Callable[..., Any]) -> Any:
    """The raw ctypes function behind a function of this package; gives the same object every time.

    For callers that keep it in a local or need its address. A raw function is returned as it is.

    Raises:
        LibraryNotFoundError: its library cannot be opened.
        SymbolNotFoundError: its library does not export it.
    """
    declared = getattr(function, "_binding", None)
    if declared is None:
        return function
    binding = Binding(*declared)
    known = function.__dict__.get("_raw")
    if known is not None:
        return known
    message = getattr(function, "__deprecated__", None)
    if message is not None:
        warnings.warn(f"{binding.name} is deprecated: {message}", DeprecationWarning, stacklevel=3)
    raw = _declare(binding, binding.restype, binding.argtypes)
    raw.__doc__ = function.__doc__
    raw.__wrapped__ = function.__dict__["__wrapped__"]
    raw._stub = function
    function.__dict__["_raw"] = raw
    return raw


def retype(function: Callable[..., Any], *, restype: Any = ..., argtypes: list[Any] | None = None) -> Any:
    """A second raw function for the same symbol, with other ctypes conversions.

    For hot paths: ``retype(llama_h.llama_get_logits_ith, restype=c_void_p)`` returns an address instead of a pointer
    object; ``argtypes`` of ``c_void_p`` take the addresses of numpy arrays.
    """
    stub: Any = getattr(function, "_stub", function)
    binding = Binding(*stub._binding)
    return _declare(
        binding,
        binding.restype if restype is ... else restype,
        binding.argtypes if argtypes is None else argtypes,
    )


def _declare(binding: Binding, restype: Any, argtypes: list[Any]) -> Any:
    library, name = _loader.symbol(binding.family, binding.name)
    raw: Any = library[name]  # a new object each time, unlike attribute access
    raw.restype = restype
    raw.argtypes = argtypes
    raw.__name__ = binding.name
    return raw


def deprecated(message: str) -> Callable[[_F], _F]:
    """Mark a stub: a ``DeprecationWarning`` on its first call, nothing on later ones (unlike ``typing``'s)."""

    def mark(function: _F) -> _F:
        function.__dict__["__deprecated__"] = message
        return function

    return mark
