"""The sandbox in which chat templates run: what they may call, what a step costs, what code Jinja makes of them.

How a template is held: Jinja compiles it to Python; the generator here puts a charge into every loop turn and macro,
sends constants through `trusted` (the text of the template knows itself) and leads operators, calls, container
displays and slices through the environment, which checks them. Nothing is computed while compiling.

Only this module and ``templates`` import jinja2. Not for: templates themselves, or what they may spend (``budget``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from types import BuiltinMethodType, ModuleType
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, MacroRef
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llama_bind.chat.budget import ELEMENT, charge
from llama_bind.chat.filters import (
    FILTERS,
    OPERATORS,
    OwnList,
    change,
    check_built,
    check_numbers,
    flat_sum,
    join_items,
)
from llama_bind.chat.traced import METHODS, PLAIN_METHODS, join, to_text, trusted
from llama_bind.errors import TemplateError

__all__ = ["Environment", "RaisedError", "environment"]

_REMOVED = ("pprint", "striptags", "urlize", "xmlattr")
_COUNTED = ("batch", "float", "int", "round", "slice", "truncate", "wordwrap")
_METHODS_OF: tuple[tuple[type, frozenset[str]], ...] = (
    (dict, frozenset(("items", "keys", "values", "get", "copy"))),
    (list, frozenset(("index", "count", "copy"))),
    (tuple, frozenset(("index", "count"))),
    (range, frozenset(("index", "count"))),
    (int, frozenset(("bit_length",))),
    (float, frozenset(("is_integer",))),
)


class _Generator(CodeGenerator):
    """Python code that pays as it goes."""

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.value, str):
            self.write(f"environment.literal({node.value!r})")
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:  # noqa: ARG002, N802
        self.write(f"environment.literal({node.data!r})")

    def _output_const_repr(self, group: Any) -> str:
        return f"environment.literal({''.join(group)!r})"

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:  # noqa: ARG002
        self.write("environment.text(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:  # noqa: ARG002
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concat([environment.text(item) for item in (")
        for item in node.nodes:
            self.visit(item, frame)
            self.write(", ")
        self.write(")])")

    def _built(self, visit: Callable[[Any, Frame], None], node: Any, frame: Frame) -> None:
        self.write("environment.built(")
        visit(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._built(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._built(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._built(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.part(")
        self.visit(node.node, frame)
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            if bound is None:
                self.write("None")
            else:
                self.visit(bound, frame)
        self.write(")")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802
        node.body = [_step(node), *node.body]
        if node.test is not None:
            node.test = nodes.And(nodes.EnvironmentAttribute("step()"), node.test).set_lineno(node.lineno)
        super().visit_For(node, frame)

    def macro_body(self, node: nodes.Macro | nodes.CallBlock, frame: Frame) -> tuple[Frame, MacroRef]:
        node.body = [_step(node), *node.body]
        return super().macro_body(node, frame)

    def visit_ScopedEvalContextModifier(self, node: Any, frame: Frame) -> None:  # noqa: ARG002, N802
        self.fail("autoescape has no meaning in a chat template", node.lineno)

    def visit_EvalContextModifier(self, node: Any, frame: Frame) -> None:  # noqa: ARG002, N802
        self.fail("autoescape has no meaning in a chat template", node.lineno)


def _step(node: nodes.Node) -> nodes.Node:
    """A statement that pays for one turn."""
    return nodes.ExprStmt(nodes.EnvironmentAttribute("step()")).set_lineno(node.lineno)


class _Generation(Extension):
    """``{% generation %}`` marks an assistant's words for training; for a prompt it is only its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox. `literal`, `text`, `built`, `part` and `step` are called by the generated code."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(OPERATORS)
    concat = staticmethod(join)
    literal = staticmethod(trusted)
    text = staticmethod(to_text)
    built = staticmethod(check_built)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        self.binop_table.update(OPERATORS)
        for name in _REMOVED:
            del self.filters[name]
        self.filters.update(FILTERS)
        self.filters["join"] = _join
        self.filters["sum"] = _sum
        self.filters = {name: _paying(name, function) for name, function in self.filters.items()}
        del self.globals["lipsum"]
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now

    @staticmethod
    def step() -> bool:
        """Pay for one turn."""
        charge()
        return True

    @staticmethod
    def part(value: Any, start: Any, stop: Any, step: Any) -> Any:
        """``value[start:stop:step]``."""
        return _paid(value[start:stop:step])

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Beyond Hugging Face's: a template may add to its own lists and take from them."""
        if isinstance(obj, OwnList) and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``str.format`` is one of our own methods wherever it is taken from a string."""
        if isinstance(value, BuiltinMethodType) and isinstance(value.__self__, str) and value.__name__[:6] == "format":
            return functools.partial(METHODS[value.__name__], value.__self__)
        return None

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call what a template calls: methods of values only from the lists here."""
        charge()
        owner = getattr(__obj, "__self__", None)
        if not isinstance(__obj, BuiltinMethodType) or owner is None or isinstance(owner, ModuleType):
            return _paid(super().call(__context, __obj, *args, **kwargs))
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        name = __obj.__name__
        if isinstance(owner, str):
            if name in METHODS:
                return _paid(METHODS[name](owner, *args, **kwargs))
            allowed = name in PLAIN_METHODS
        elif isinstance(owner, OwnList) and name in ("append", "pop"):
            return change(owner, name, *args)
        else:
            allowed = any(isinstance(owner, kind) and name in names for kind, names in _METHODS_OF)
        if not allowed:
            raise SecurityError(f"a chat template may not call {type(owner).__name__}.{name}")
        return _paid(__obj(*args, **kwargs))


def _paid(value: Any) -> Any:
    """Pay for a value that is there already."""
    if isinstance(value, str):
        charge(len(value))
    elif isinstance(value, (list, tuple, dict)):
        charge(len(value) * ELEMENT)
    return value


def _paying(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that pays, keeping Jinja's marks on it (which first argument it wants)."""
    marked = hasattr(function, "jinja_pass_arg")

    @functools.wraps(function)
    def filter_(*args: Any, **kwargs: Any) -> Any:
        charge()
        if name in _COUNTED:
            check_numbers(name, args[1:] if marked else args, kwargs)
        return _paid(function(*args, **kwargs))

    return filter_


@jinja2.pass_eval_context
def _join(context: nodes.EvalContext, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    items = value if attribute is None else map(make_attrgetter(context.environment, attribute), value)
    return join_items(items, d)


@jinja2.pass_environment
def _sum(environment: jinja2.Environment, value: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    return flat_sum(list(items), start)


class RaisedError(Exception):
    """The template called ``raise_exception``."""


def _raise_exception(message: Any = "") -> NoReturn:
    raise RaisedError(to_text(message))


def _strftime_now(layout: str) -> str:
    if len(layout) > 1000:
        raise TemplateError("the chat template asks for a date in a layout of more than 1000 characters")
    return datetime.now().astimezone().strftime(layout)


@functools.lru_cache(maxsize=1)
def environment() -> Environment:
    """The one for all templates; made when it is first used."""
    return Environment()
