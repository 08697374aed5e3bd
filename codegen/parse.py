"""Reads the headers with libclang into the :mod:`codegen.model`.

One translation unit holds all headers. It is parsed as C11 for a fixed 64-bit target with the few standard headers
that ``codegen/include`` holds, so that the result does not depend on the machine: no compiler and no libc are needed.
``codegen.probe`` compares the outcome with what the real compiler says.
"""

from __future__ import annotations

import ctypes
import keyword
from dataclasses import replace
from pathlib import Path
from typing import Any

from clang.cindex import Cursor, CursorKind, Index, TranslationUnit, Type, TypeKind, _CXString, conf  # type: ignore[import-untyped]

from codegen import headers, macros
from codegen.comments import Comments
from codegen.model import (
    Alias,
    CallbackType,
    Constant,
    CType,
    Enum,
    Field,
    Function,
    Item,
    Mirror,
    Record,
    Unbound,
    UnsupportedError,
)

ARGS = [
    "-x",
    "c",
    "-std=c11",
    "-nostdinc",
    "-target",
    "x86_64-unknown-linux-gnu",
    f"-I{headers.ROOT / 'codegen' / 'include'}",
    *(f"-I{folder}" for folder in headers.INCLUDE_DIRS),
    *(f"-D{name}" for name in headers.DEFINES),
]

_TYPEDEFS = {
    **{f"{sign}int{bits}_t": f"c_{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "size_t": "c_size_t",
    "intptr_t": "c_ssize_t",
    "uintptr_t": "c_size_t",
}
_SCALARS = {
    TypeKind.BOOL: ("c_bool", "bool"),
    TypeKind.CHAR_S: ("c_char", "bytes"),
    TypeKind.SCHAR: ("c_int8", "int"),
    TypeKind.UCHAR: ("c_uint8", "int"),
    TypeKind.SHORT: ("c_int16", "int"),
    TypeKind.USHORT: ("c_uint16", "int"),
    TypeKind.INT: ("c_int", "int"),
    TypeKind.UINT: ("c_uint", "int"),
    TypeKind.LONGLONG: ("c_int64", "int"),
    TypeKind.ULONGLONG: ("c_uint64", "int"),
    TypeKind.FLOAT: ("c_float", "float"),
    TypeKind.DOUBLE: ("c_double", "float"),
}
_HANDLE = CType("c_void_p", "Handle", "int | None", "c_void_p")


def parse() -> Mirror:
    """Read every header of :data:`codegen.headers.HEADERS`.

    Raises:
        UnsupportedError: a header does not parse, or holds something that cannot be translated.
    """
    source = headers.umbrella()
    unit = Index.create().parse(
        "all.c",
        args=ARGS,
        unsaved_files=[("all.c", source)],
        options=TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD,
    )
    problems = [str(diagnostic) for diagnostic in unit.diagnostics if diagnostic.severity >= 3]
    if problems:
        raise UnsupportedError("the headers do not parse:\n" + "\n".join(problems))
    return _Reader(unit).read(source)


def _by_value(name: str) -> CType:
    return CType(name, name, name, name, frozenset({name}), True)


def _position(cursor: Cursor) -> str:
    return f"{cursor.location.file}:{cursor.location.line}"


class _Reader:
    """Walks one translation unit."""

    def __init__(self, unit: TranslationUnit) -> None:
        self._unit = unit
        self._comments = {header.name: Comments(header.path) for header in headers.HEADERS if header.path.is_file()}
        self._items: dict[str, Item] = {}
        self._unbound: list[Unbound] = []
        self._redeclared: list[tuple[str, str]] = []
        self._tags: dict[str, str] = {}  # C tag -> Python name
        self._order = 0

    def read(self, source: str) -> Mirror:
        cursors = [(self._header(cursor), cursor) for cursor in self._unit.cursor.get_children()]
        mine = [(header, cursor) for header, cursor in cursors if header is not None]
        functions = {cursor.spelling for _, cursor in mine if cursor.kind == CursorKind.FUNCTION_DECL}
        for _, cursor in mine:
            if cursor.kind in (CursorKind.STRUCT_DECL, CursorKind.UNION_DECL, CursorKind.ENUM_DECL):
                # C keeps tags and functions apart, Python does not: the function keeps the name.
                word = cursor.kind.name.split("_")[0].lower()
                tag = cursor.spelling
                self._tags[tag] = f"{word}_{tag}" if tag in functions else tag
        for header, cursor in mine:
            self._declaration(header, cursor)
        self._macros(source, mine)
        return Mirror(list(self._items.values()), self._unbound, self._redeclared)

    def _header(self, cursor: Cursor) -> str | None:
        file = cursor.location.file
        if file is None:
            return None
        name = Path(file.name).name
        name = headers.PARTS.get(name, name)
        return name if name in self._comments else None

    def _doc(self, cursor: Cursor, header: str) -> str:
        if Path(cursor.location.file.name).name != header:
            original = cursor.spelling.removeprefix("lb_")
            return f"Guarded ``{original}``: see ``check_guard``."
        return self._comments[header].of(cursor.extent.start.line, cursor.extent.end.line)

    # -- declarations --------------------------------------------------------------------------------------------------

    def _declaration(self, header: str, cursor: Cursor) -> None:
        kind = cursor.kind
        if kind in (CursorKind.MACRO_DEFINITION, CursorKind.MACRO_INSTANTIATION, CursorKind.INCLUSION_DIRECTIVE):
            return
        self._order += 1
        if kind == CursorKind.FUNCTION_DECL:
            self._function(header, cursor)
        elif kind in (CursorKind.STRUCT_DECL, CursorKind.UNION_DECL):
            self._record(header, cursor)
        elif kind == CursorKind.ENUM_DECL:
            self._enum(header, cursor)
        elif kind == CursorKind.TYPEDEF_DECL:
            self._typedef(header, cursor)
        elif kind == CursorKind.VAR_DECL:
            self._variable(header, cursor)
        else:
            raise UnsupportedError(f"{_position(cursor)}: {kind.name} {cursor.spelling}")

    def _add(self, item: Item) -> None:
        if item.name in self._items:
            raise UnsupportedError(f"{item.header}: {item.name} is declared twice with different meanings")
        self._items[item.name] = item

    def _function(self, header: str, cursor: Cursor) -> None:
        if cursor.spelling in self._items:
            return
        params = []
        for index, argument in enumerate(cursor.get_arguments()):
            name = identifier(argument.spelling or f"arg{index}")
            params.append((name, self._type(argument.type, argument, parameter=True, hint=f"{cursor.spelling}_{name}")))
        self._add(
            Function(
                cursor.spelling,
                header,
                self._order,
                self._doc(cursor, header),
                self._type(cursor.result_type, cursor, parameter=True, hint=f"{cursor.spelling}_result"),
                params,
                cursor.type.is_function_variadic(),
                deprecation(cursor),
            )
        )

    def _record(self, header: str, cursor: Cursor) -> None:
        if cursor.is_anonymous() or not cursor.spelling:
            raise UnsupportedError(f"{_position(cursor)}: a struct without a name at file level")
        name = self._tags[cursor.spelling]
        known = self._items.get(name)
        kind = "Union" if cursor.kind == CursorKind.UNION_DECL else "Struct"
        if known is None:
            known = Record(name, header, self._order, "", kind, cursor.type.get_canonical().spelling, None)
            self._add(known)
        assert isinstance(known, Record)
        if known.header != header and not cursor.is_definition():
            self._redeclared.append((header, name))
        if not cursor.is_definition():
            return
        if known.header != header:
            raise UnsupportedError(f"{_position(cursor)}: {name} was declared in {known.header} and is defined here")
        known.doc = self._doc(cursor, header)
        known.line = self._order
        fields, known.anonymous = self._fields(header, cursor, name)
        known.fields = fields

    def _fields(self, header: str, cursor: Cursor, owner: str) -> tuple[list[Field], list[str]]:
        fields: list[Field] = []
        anonymous: list[str] = []
        unnamed = 0
        for child in cursor.get_children():
            if child.kind in (CursorKind.STRUCT_DECL, CursorKind.UNION_DECL):
                if _is_anonymous_record(child):
                    name = f"_u{unnamed}"
                    unnamed += 1
                    anonymous.append(name)
                    inner = self._nested(header, child, f"{owner}_{name[1:]}")
                    fields.append(Field(name, _by_value(inner), "", None, ""))
                continue
            if child.kind != CursorKind.FIELD_DECL:
                raise UnsupportedError(f"{_position(child)}: {child.kind.name} inside {owner}")
            declaration = child.type.get_canonical().get_declaration()
            if child.type.spelling.startswith(("struct (", "union (")):
                inner = self._nested(header, declaration, f"{owner}_{child.spelling}")
                ctype = _by_value(inner)
            else:
                ctype = self._type(child.type, child, hint=f"{owner}_{child.spelling}")
            fields.append(
                Field(
                    identifier(child.spelling),
                    ctype,
                    self._doc(child, header),
                    child.get_bitfield_width() if child.is_bitfield() else None,
                    child.spelling,
                )
            )
        return fields, anonymous

    def _nested(self, header: str, cursor: Cursor, name: str) -> str:
        kind = "Union" if cursor.kind == CursorKind.UNION_DECL else "Struct"
        fields, anonymous = self._fields(header, cursor, name)
        self._add(Record(name, header, self._order, "", kind, "", fields, anonymous, True))
        return name

    def _enum(self, header: str, cursor: Cursor) -> None:
        if not cursor.is_definition():
            raise UnsupportedError(f"{_position(cursor)}: enum {cursor.spelling} declared without its values")
        doc = self._doc(cursor, header)
        items = [(item.spelling, item.enum_value, self._doc(item, header)) for item in cursor.get_children()]
        if cursor.is_anonymous():
            for name, value, comment in items:
                self._add(Constant(name, header, self._order, comment, value, str(value)))
            return
        base = _SCALARS[cursor.enum_type.get_canonical().kind][0]
        self._add(Enum(self._tags[cursor.spelling], header, self._order, doc, base, cursor.spelling, items))

    def _typedef(self, header: str, cursor: Cursor) -> None:
        name = cursor.spelling
        if name in self._items:
            if self._items[name].header != header:
                self._redeclared.append((header, name))
            return
        target = cursor.underlying_typedef_type
        if target.get_declaration().spelling == name and name in self._tags:
            return  # typedef struct X X
        function = _function_type(target)
        doc = self._doc(cursor, header)
        if function is not None:
            self._callback(name, header, doc, function, cursor)
        else:
            self._add(Alias(name, header, self._order, doc, self._type(target, cursor, hint=name)))

    def _callback(self, name: str, header: str, doc: str, function: Type, cursor: Cursor) -> None:
        names = [child.spelling for child in cursor.get_children() if child.kind == CursorKind.PARM_DECL]
        if function.kind != TypeKind.FUNCTIONPROTO:
            raise UnsupportedError(f"{_position(cursor)}: {name} has no parameter list")
        params = []
        for index, argument in enumerate(function.argument_types()):
            label = names[index] if index < len(names) and names[index] else f"arg{index}"
            params.append((identifier(label), self._type(argument, cursor, hint=f"{name}_{label}")))
        result = self._type(function.get_result(), cursor, hint=f"{name}_result")
        if not result.by_value and result.result.startswith(("Ptr[", "bytes", "int |")):
            # ctypes lets a Python callback return an address only; bytes would be freed before C reads them.
            result = CType("c_void_p", "Address", "int | None", "c_void_p")
        self._add(CallbackType(name, header, self._order, doc, result, params, function.get_canonical().spelling))

    def _variable(self, header: str, cursor: Cursor) -> None:
        value = macros.evaluate(cursor)
        if value is None:
            raise UnsupportedError(f"{_position(cursor)}: variable {cursor.spelling} without a constant value")
        self._add(Constant(cursor.spelling, header, self._order, self._doc(cursor, header), value, cursor.spelling))

    def _macros(self, source: str, mine: list[tuple[str, Cursor]]) -> None:
        definitions = [(header, cursor) for header, cursor in mine if cursor.kind == CursorKind.MACRO_DEFINITION]
        values = macros.values(source, ARGS, [cursor for _, cursor in definitions])
        for header, cursor in definitions:
            name, outcome = cursor.spelling, values[cursor.spelling]
            if isinstance(outcome, macros.NoValue):
                self._unbound.append(Unbound(name, header, outcome.reason))
            elif name not in self._items:
                body = " ".join(token.spelling for token in list(cursor.get_tokens())[1:])
                before_all = cursor.location.line - 100_000
                self._add(Constant(name, header, before_all, self._doc(cursor, header), outcome, body))

    # -- types ---------------------------------------------------------------------------------------------------------

    def _type(self, ctype: Type, cursor: Cursor, *, parameter: bool = False, hint: str = "") -> CType:
        """Translate a C type. ``hint`` names a function pointer type that has no name of its own."""
        if ctype.kind == TypeKind.ELABORATED:
            return self._type(ctype.get_named_type(), cursor, parameter=parameter, hint=hint)
        if ctype.kind == TypeKind.TYPEDEF:
            return self._typedef_use(ctype, cursor, parameter, hint)
        if ctype.kind in _SCALARS:
            expr, annotation = _SCALARS[ctype.kind]
            return CType(expr, annotation, annotation, expr)
        if ctype.kind == TypeKind.VOID:
            return CType("None", "None", "None", "None")
        if ctype.kind == TypeKind.ENUM:
            name = self._tags[ctype.get_declaration().spelling]
            enum = self._items[name]
            assert isinstance(enum, Enum)
            return CType(enum.base, f"{name} | int", "int", enum.base, frozenset({name}))
        if ctype.kind == TypeKind.RECORD:
            name = self._tags[ctype.get_declaration().spelling]
            return _by_value(name)
        if ctype.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY):
            return self._array(ctype, cursor, parameter, hint)
        if ctype.kind == TypeKind.POINTER:
            return self._pointer(ctype.get_pointee(), cursor, hint)
        raise UnsupportedError(f"{_position(cursor)}: type {ctype.spelling} ({ctype.kind.name})")

    def _typedef_use(self, ctype: Type, cursor: Cursor, parameter: bool, hint: str) -> CType:
        declaration = ctype.get_declaration()
        name = declaration.spelling
        if name in _TYPEDEFS:
            return CType(_TYPEDEFS[name], "int", "int", _TYPEDEFS[name])
        item = self._items.get(name)
        if isinstance(item, CallbackType):
            return CType(name, f"{name} | None", name, name, frozenset({name}))
        if isinstance(item, Alias):
            target = item.target
            scalar = target.expr == target.static
            static = name if scalar else target.static
            param = name if target.param.endswith(("_p", "_t")) else target.param
            return replace(target, expr=name, static=static, param=param, names=frozenset({name}) | target.names)
        return self._type(declaration.underlying_typedef_type, cursor, parameter=parameter, hint=hint)

    def _array(self, ctype: Type, cursor: Cursor, parameter: bool, hint: str) -> CType:
        if parameter or ctype.kind == TypeKind.INCOMPLETEARRAY:
            return self._pointer(ctype.element_type, cursor, hint)
        element = self._type(ctype.element_type, cursor, hint=hint)
        static = f"Array[{element.static}]"
        annotation = "bytes" if element.expr == "c_char" else static
        expr = f"{element.expr} * {ctype.element_count}"
        return CType(expr, annotation, annotation, static, element.names, element.by_value)

    def _pointer(self, pointee: Type, cursor: Cursor, hint: str) -> CType:
        canonical = pointee.get_canonical()
        if canonical.kind == TypeKind.VOID:
            return CType("c_void_p", "Address", "int | None", "c_void_p")
        if canonical.kind == TypeKind.CHAR_S:
            return CType("c_char_p", "Chars", "bytes | None", "c_char_p")
        if canonical.kind in (TypeKind.FUNCTIONPROTO, TypeKind.FUNCTIONNOPROTO):
            header = self._header(cursor)
            assert header is not None
            if hint not in self._items:
                self._callback(hint, header, "", canonical, cursor)
            return CType(hint, f"{hint} | None", hint, hint, frozenset({hint}))
        if canonical.kind == TypeKind.RECORD:
            declaration = canonical.get_declaration()
            if self._header(declaration) is None:
                return _HANDLE  # FILE
            record = self._record_named(declaration, cursor)
            if declaration.get_definition() is None:
                handle = f"{record}_p"
                return CType(handle, handle, "int | None", "c_void_p", frozenset({handle}))
        target = self._type(pointee, cursor, hint=hint)
        inner = target.static
        return CType(f"POINTER({target.expr})", f"PtrIn[{inner}]", f"Ptr[{inner}]", f"Ptr[{inner}]", target.names)

    def _record_named(self, declaration: Cursor, cursor: Cursor) -> str:
        """The Python name of a struct, which C may mention here for the first time."""
        tag = declaration.spelling
        name = self._tags.setdefault(tag, tag)
        if name not in self._items:
            header = self._header(cursor)
            assert header is not None
            self._add(Record(name, header, self._order, "", "Struct", f"struct {tag}", None))
        return name


def _function_type(ctype: Type) -> Type | None:
    canonical: Type = ctype.get_canonical()
    if canonical.kind != TypeKind.POINTER:
        return None
    pointee = canonical.get_pointee()
    if pointee.kind not in (TypeKind.FUNCTIONPROTO, TypeKind.FUNCTIONNOPROTO):
        return None
    # The written type keeps the typedef names of the parameters.
    written = ctype.get_pointee()
    while written.kind in (TypeKind.UNEXPOSED, TypeKind.ELABORATED):
        inner = written.get_named_type() if written.kind == TypeKind.ELABORATED else written.get_canonical()
        if inner.kind == TypeKind.INVALID:
            break
        written = inner
    return written if written.kind == TypeKind.FUNCTIONPROTO else pointee


def _is_anonymous_record(cursor: Cursor) -> bool:
    library: Any = conf.lib
    return bool(library.clang_Cursor_isAnonymousRecordDecl(cursor))


def deprecation(cursor: Cursor) -> str | None:
    """The hint of a declaration's ``deprecated`` attribute, or None."""
    library: Any = conf.lib
    library.clang_getCursorPlatformAvailability.argtypes = [Cursor, *(ctypes.c_void_p,) * 5, ctypes.c_int]
    always, hint, unavailable, other = ctypes.c_int(), _CXString(), ctypes.c_int(), _CXString()
    library.clang_getCursorPlatformAvailability(
        cursor, ctypes.byref(always), ctypes.byref(hint), ctypes.byref(unavailable), ctypes.byref(other), None, 0
    )
    if not always.value:
        return None
    return str(library.clang_getCString(hint))


def identifier(name: str) -> str:
    """A C name as a Python name."""
    return f"{name}_" if keyword.iskeyword(name) or name in ("None", "print", "self") else name
