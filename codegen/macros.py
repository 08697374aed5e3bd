"""Values of object-like macros and constants, computed by libclang itself, so that every C expression works.

A second translation unit defines one variable per macro; those that do not compile have no value.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from clang.cindex import Cursor, CursorKind, Index, conf  # type: ignore[import-untyped]

_PREFIX = "llama_bind_value_of_"


@dataclass(frozen=True)
class NoValue:
    """Why a macro has no value."""

    reason: str


def values(source: str, args: list[str], macros: list[Cursor]) -> dict[str, int | float | bytes | NoValue]:
    """The value of each macro, or why it has none."""
    result: dict[str, int | float | bytes | NoValue] = {}
    candidates = []
    for macro in macros:
        tokens = list(macro.get_tokens())
        if _is_function_like(macro):
            result[macro.spelling] = NoValue("macro with parameters: C code, not a value")
        elif len(tokens) == 1:
            result[macro.spelling] = NoValue("empty macro (include guard or attribute)")
        else:
            candidates.append(macro.spelling)
    unit = Index.create().parse(
        "values.c",
        args=[*args, "-ferror-limit=0"],
        unsaved_files=[("values.c", _program(source, candidates))],
    )
    found = {}
    for cursor in unit.cursor.get_children():
        if cursor.kind == CursorKind.VAR_DECL and cursor.spelling.startswith(_PREFIX):
            found[cursor.spelling.removeprefix(_PREFIX)] = evaluate(cursor)
    for name in candidates:
        value = found.get(name)
        result[name] = NoValue("macro whose body is C syntax, not a constant expression") if value is None else value
    return result


def _is_function_like(macro: Cursor) -> bool:
    library: Any = conf.lib
    return bool(library.clang_Cursor_isMacroFunctionLike(macro))


def _program(source: str, names: list[str]) -> str:
    return source + "".join(f"static const __auto_type {_PREFIX}{name} = {name};\n" for name in names)


def evaluate(cursor: Cursor) -> int | float | bytes | None:
    """The value of a constant variable's initializer, or None."""
    library: Any = conf.lib
    library.clang_Cursor_Evaluate.restype = ctypes.c_void_p
    library.clang_Cursor_Evaluate.argtypes = [Cursor]
    result = library.clang_Cursor_Evaluate(cursor)
    if not result:
        return None
    pointer = ctypes.c_void_p(result)
    try:
        kind = library.clang_EvalResult_getKind(pointer)
        if kind == 1:
            if library.clang_EvalResult_isUnsignedInt(pointer):
                library.clang_EvalResult_getAsUnsigned.restype = ctypes.c_ulonglong
                return int(library.clang_EvalResult_getAsUnsigned(pointer))
            library.clang_EvalResult_getAsLongLong.restype = ctypes.c_longlong
            return int(library.clang_EvalResult_getAsLongLong(pointer))
        if kind == 2:
            library.clang_EvalResult_getAsDouble.restype = ctypes.c_double
            return float(library.clang_EvalResult_getAsDouble(pointer))
        if kind in (3, 4, 5):
            library.clang_EvalResult_getAsStr.restype = ctypes.c_char_p
            return bytes(library.clang_EvalResult_getAsStr(pointer))
        return None
    finally:
        library.clang_EvalResult_dispose(pointer)
