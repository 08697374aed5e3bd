"""Writes ``codegen/REPORT.md``: what each header declares, what is bound, and what is not and why."""

from __future__ import annotations

from codegen import headers
from codegen.model import Alias, CallbackType, Constant, Enum, Function, Item, Mirror, Record

_COLUMNS = (
    "functions",
    "deprecated",
    "structs",
    "opaque",
    "enums",
    "enumerators",
    "constants",
    "callbacks",
    "typedefs",
)


def text(mirror: Mirror) -> str:
    """The whole report."""
    rows = []
    totals = [0] * len(_COLUMNS)
    for header in headers.HEADERS:
        mine = [item for item in mirror.items if item.header == header.name]
        counts = _count(mine)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        rows.append(f"| `{header.name}` | {' | '.join(map(str, counts))} |")
    lines = [
        "# What the generated mirror holds",
        "",
        "Written by `python -m codegen`. An upgrade of llama.cpp shows here as a difference.",
        "",
        f"| header | {' | '.join(_COLUMNS)} |",
        f"|---|{'---|' * len(_COLUMNS)}",
        *rows,
        f"| all | {' | '.join(map(str, totals))} |",
        "",
        "Structs include unions and the unnamed ones inside others; opaque structs are bound as addresses (`NAME_p`).",
        "",
        *_renamed(mirror),
        *_deprecated(mirror),
        *_limits(mirror),
        *_unbound(mirror),
    ]
    return "\n".join(lines)


def _count(items: list[Item]) -> list[int]:
    def of(kind: type[Item]) -> list[Item]:
        return [item for item in items if isinstance(item, kind)]

    functions = [item for item in items if isinstance(item, Function)]
    records = [item for item in items if isinstance(item, Record)]
    enums = [item for item in items if isinstance(item, Enum)]
    return [
        len(functions),
        sum(item.deprecated is not None for item in functions),
        sum(item.fields is not None for item in records),
        sum(item.fields is None for item in records),
        len(enums),
        sum(len(item.items) for item in enums),
        len(of(Constant)),
        len(of(CallbackType)),
        len(of(Alias)),
    ]


def _renamed(mirror: Mirror) -> list[str]:
    lines = [
        "## Renamed",
        "",
        "C keeps tags apart from functions; Python does not, so the function keeps the name.",
        "",
    ]
    for item in mirror.items:
        spelled = f"enum {item.tag}" if isinstance(item, Enum) else item.spelled if isinstance(item, Record) else ""
        if spelled and spelled.split()[-1] != item.name:
            lines.append(f"- `{spelled}` is `{item.name}`")
    return [*lines, ""]


def _deprecated(mirror: Mirror) -> list[str]:
    lines = ["## Deprecated upstream", "", "Bound; the first call warns.", ""]
    for item in mirror.items:
        if isinstance(item, Function) and item.deprecated is not None:
            lines.append(f"- `{item.name}`: {item.deprecated}")
    return [*lines, ""]


def _limits(mirror: Mirror) -> list[str]:
    lines = ["## Bound with a limit", ""]
    for item in mirror.items:
        if isinstance(item, CallbackType) and item.result.by_value:
            lines.append(f"- `{item.name}`: returns a struct, which ctypes cannot do from Python; C functions only")
        if isinstance(item, Function) and item.variadic:
            lines.append(f"- `{item.name}`: variadic; pass ctypes objects for what follows the named parameters")
    return [*lines, ""]


def _unbound(mirror: Mirror) -> list[str]:
    lines = [
        "## Not bound, or not callable",
        "",
        "- C++ parts (inside `#ifdef __cplusplus`): the `mtmd::` and `mtmd_helper::` wrappers and",
        "  `mtmd_get_memory_usage`, which returns a `std::map`. C cannot see them.",
    ]
    lines += [f"- `{name}`: {reason}" for name, reason in headers.NOT_EXPORTED.items()]
    lines += [f"- `{entry.name}` ({entry.header}): {entry.reason}" for entry in mirror.unbound]
    return [*lines, ""]
