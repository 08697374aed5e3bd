"""Python functions as tools: a declaration out of the signature and the docstring, arguments back out of JSON.

Nothing is ever evaluated: arguments are JSON, read by the function's own annotations. Not for: asking a model for calls
and running them (``agent``), or types as such (``structured``).
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from llama_bind.errors import InputError
from llama_bind.structured.annotations import Annotations, default_in_json, hints_of, own_docstring
from llama_bind.structured.docstrings import Docstring, read_docstring
from llama_bind.structured.shapes import Anything, Field, Record
from llama_bind.structured.typed import schema_of_shape
from llama_bind.structured.typed_values import parse_json, read_value

__all__ = ["FunctionTool", "function_schema"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS = inspect.Parameter


class FunctionTool:
    """A function that a model may call.

    Args:
        function: A function, bound method, `functools.partial` (what it fixes is not shown to the model) or another
            callable; may be ``async``. Its annotations say what the arguments are, its docstring (Google, numpy or
            Sphinx style) what it and they are for; `Annotated[int, "words"]` describes an argument too.
        name: In place of the function's own.
        description: In place of the docstring's text.
        parameters: JSON Schema in place of the one made of the annotations; arguments then come as plain JSON values,
            checked no further than that they are an object that the signature takes.
        strict: Ask that the model's arguments follow the schema in any case.
        timeout: Seconds that one call may take; None: as the run says.

    Raises:
        InputError: It cannot be declared: positional-only arguments or ``*args``, an annotation without a form in
            JSON, or a name that models cannot write.

    Example:
        >>> def add(a: int, b: int = 1) -> int:
        ...     '''Adds two numbers.'''
        ...     return a + b
        >>> FunctionTool(add).read('{"a": 2}')
        ({'a': 2}, [])
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        strict: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"a tool is a function, not {function!r}", param="tools")
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise InputError(f"timeout must be seconds above 0, not {timeout!r}", param="timeout")
        self.function = function
        self.name = _checked_name(name if name is not None else _name(function), function)
        doc = _docstring(function)
        self.description = doc.text if description is None else description
        self.strict = strict
        self.timeout = timeout
        self._record = None if parameters is not None else _record(function, self.name, doc)
        self.parameters: dict[str, Any] = (
            dict(parameters or {}) if self._record is None else schema_of_shape(self._record)
        )

    def __repr__(self) -> str:
        return f"FunctionTool({self.name!r})"

    @property
    def is_async(self) -> bool:
        """Whether calling it gives something to await."""
        return inspect.iscoroutinefunction(_code(self.function))

    def declaration(self) -> dict[str, Any]:
        """The tool in OpenAI's shape; a new dict."""
        function: dict[str, Any] = {"name": self.name, "description": self.description, "parameters": self.parameters}
        if not self.description:
            del function["description"]
        if self.strict is not None:
            function["strict"] = self.strict
        return {"type": "function", "function": function}

    def read(self, arguments: str | Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Arguments as the model wrote them, to those that the function takes.

        Args:
            arguments: JSON text of an object ("" counts as an empty one), or the object.

        Returns:
            Keyword arguments and no problems, or nothing and the problems, each a sentence for the model.
        """
        value: Any = arguments
        if isinstance(arguments, str):
            try:
                value = parse_json(arguments) if arguments.strip() else {}
            except ValueError as error:
                return {}, [f"the arguments are {error}"]
        if not isinstance(value, Mapping):
            return {}, ["the arguments must be a JSON object"]
        if self._record is None:
            return self._bound(dict(value))
        found, problems = read_value(dict(value), self._record)
        return found or {}, problems

    def _bound(self, value: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """With a schema of the caller's own."""
        try:
            inspect.signature(self.function).bind(**value)
        except TypeError as error:
            return {}, [str(error)]
        except ValueError:
            return value, []  # a builtin that does not say what it takes
        return value, []


def function_schema(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """The declaration of a function as a tool, in OpenAI's shape; options and errors of `FunctionTool`."""
    return FunctionTool(function, **options).declaration()


def _record(function: Callable[..., Any], name: str, doc: Docstring) -> Record:
    """What the function takes, as an object."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise InputError(
            f"tool {name!r}: its arguments are not known; wrap it in a function with annotations, or give "
            "FunctionTool(..., parameters=JSON Schema)",
            param="tools",
        ) from None
    hints, fixed = hints_of(_code(function), f"tool {name!r}"), _fixed(function)
    annotations = Annotations()
    fields: list[Field] = []
    others = None
    for key, parameter in signature.parameters.items():
        if key in fixed:
            continue
        hint = hints.get(key, parameter.annotation)
        where = f"parameter {key!r} of tool {name!r}"
        if parameter.kind in (_KINDS.POSITIONAL_ONLY, _KINDS.VAR_POSITIONAL):
            kind = "*" + key if parameter.kind is _KINDS.VAR_POSITIONAL else f"positional-only {key!r}"
            raise InputError(
                f"tool {name!r} takes {kind}, but models give arguments by name; "
                f"wrap it in a function with a named argument, such as {key}: list[str]",
                param="tools",
            )
        if parameter.kind is _KINDS.VAR_KEYWORD:
            others = Anything() if hint is _KINDS.empty else _unpacked(hint, where, annotations, fields)
            continue
        required, default = parameter.default is _KINDS.empty, default_in_json(parameter.default)
        shape = annotations.shape(hint, where)
        fields.append(Field(key, shape, required, default, doc.arguments.get(key, "")))
    return Record(fields, dict, others)


def _unpacked(hint: Any, where: str, annotations: Annotations, fields: list[Field]) -> Any:
    """``**options: Unpack[SomeTypedDict]`` names the arguments; any other annotation says what all of them are."""
    from typing import get_args, get_origin

    import typing_extensions

    if get_origin(hint) is not typing_extensions.Unpack:
        return annotations.shape(hint, where)
    named: Any = annotations.shape(get_args(hint)[0], where)
    fields += named.target.fields
    return None


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a partial calls at last."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _fixed(function: Callable[..., Any]) -> set[str]:
    """Keywords that a partial has set: not the model's business."""
    found: set[str] = set()
    while isinstance(function, functools.partial):
        found |= set(function.keywords)
        function = function.func
    return found


def _code(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when it is called: of an object, its class's ``__call__``."""
    inner: Any = _inner(function)
    if inspect.isclass(inner):
        return inner.__init__
    routine = inspect.isroutine(inner) or hasattr(inner, "__wrapped__")
    return inner if routine else type(inner).__call__


def _name(function: Callable[..., Any]) -> str:
    inner = _inner(function)
    name = getattr(inner, "__name__", None)
    if isinstance(name, str):
        return name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(inner).__name__).lower()  # an object of class GetWeather


def _docstring(function: Callable[..., Any]) -> Docstring:
    inner, code = _inner(function), _code(function)
    if code is inner:
        return read_docstring(inspect.getdoc(inner))
    own = read_docstring(code.__doc__)
    if inspect.isclass(inner):
        own = Docstring(arguments=own.arguments)  # what a constructor says is about itself
    of_class = own_docstring(inner if inspect.isclass(inner) else type(inner))
    return Docstring(own.text or of_class.text, {**of_class.arguments, **own.arguments})


def _checked_name(name: Any, function: Callable[..., Any]) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a tool (1 to 64 letters, digits, _ and -); give {function!r} another one: "
            "FunctionTool(function, name='...')",
            param="tools",
        )
    return name
