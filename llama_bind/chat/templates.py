"""Chat templates: Jinja in the environment that Hugging Face documents, in a sandbox that also bounds time and size.

The only module that imports jinja2; import it inside functions. The environment:
https://huggingface.co/docs/transformers/chat_templating_writing (``trim_blocks``, ``lstrip_blocks``, loop controls,
``raise_exception``, ``strftime_now``, ``tojson`` without HTML escapes, the ``generation`` block).

How a template is held: Jinja compiles it to Python; the generator here puts a charge into every loop turn and macro,
sends constants through `trusted` (the text of the template knows itself) and leads operators, calls, container
displays and slices through the environment, which checks them. Nothing is computed while compiling.

Not for: the shape of messages (``messages.py``), or the named formats (``formats.py``).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import BuiltinMethodType, ModuleType, TracebackType
from typing import Any, NoReturn

import jinja2
import jinja2.meta
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, MacroRef
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llama_bind.chat.budget import ELEMENT, TemplateLimits, charge, spending
from llama_bind.chat.continuing import cut, open_ended
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
from llama_bind.chat.segments import Segment, segments_of
from llama_bind.chat.traced import METHODS, PLAIN_METHODS, join, to_text, trusted
from llama_bind.errors import TemplateError

__all__ = ["MAX_SOURCE", "ChatTemplate"]

MAX_SOURCE = 1_000_000
"""Characters of a template."""

MAX_TOKENS = 50_000
"""Lexical tokens of a template; the largest that models ship have about 4000."""

_PROBE = "content-probe"
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


class _Environment(ImmutableSandboxedEnvironment):
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


class _RaisedError(Exception):
    """The template called ``raise_exception``."""


def _raise_exception(message: Any = "") -> NoReturn:
    raise _RaisedError(to_text(message))


def _strftime_now(layout: str) -> str:
    if len(layout) > 1000:
        raise TemplateError("the chat template asks for a date in a layout of more than 1000 characters")
    return datetime.now().astimezone().strftime(layout)


@functools.lru_cache(maxsize=1)
def _environment() -> _Environment:
    return _Environment()


_compile_lock = threading.Lock()


@functools.lru_cache(maxsize=32)
def _compile(source: str) -> jinja2.Template:
    with _compile_lock:
        try:
            for count, _ in enumerate(_environment().lex(source)):
                if count > MAX_TOKENS:
                    raise TemplateError(f"the chat template is too long: more than {MAX_TOKENS} words and signs")
            return _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"line {error.lineno}: {error.message}", line=error.lineno) from error
        except (SyntaxError, RecursionError, MemoryError, jinja2.TemplateError, ValueError, OverflowError) as error:
            raise TemplateError(f"the chat template does not compile: {error or 'it is nested too deep'}") from error


def _line_of(template: jinja2.Template, traceback: TracebackType | None) -> int | None:
    """The template's line that was running."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return line


class ChatTemplate:
    """A chat template, compiled at first use.

    Args:
        source: Jinja text, at most `MAX_SOURCE` characters.
        bos_token: Text of the token that begins a sequence; the template's ``bos_token``.
        eos_token: Likewise the one that ends it.
        limits: What a rendering may spend.

    Raises:
        TemplateError: The source is too long (compiling is left for later).
    """

    def __init__(
        self, source: str, bos_token: str = "", eos_token: str = "", *, limits: TemplateLimits | None = None
    ) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source)} characters, more than {MAX_SOURCE}")
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self.limits = limits or TemplateLimits()

    def compile(self) -> None:
        """Compile now; done once for a source.

        Raises:
            TemplateError: A syntax error; `line` says where.
        """
        _compile(self.source)

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """Names that the template looks up and does not set on every way: what a caller may give.

        Raises:
            TemplateError: A syntax error.
        """
        self.compile()
        return frozenset(jinja2.meta.find_undeclared_variables(_environment().parse(self.source)))

    @functools.cached_property
    def takes_parts(self) -> bool:
        """Whether the template shows contents only when they are lists of parts (found by trying)."""
        return not self._shows(("user", _PROBE)) and self._shows(("user", [{"type": "text", "text": _PROBE}]))

    @functools.cached_property
    def takes_system(self) -> bool:
        """Whether the template shows a system message (found by trying)."""
        question, probe = "hello", _PROBE
        if self.takes_parts:
            return self._shows(
                ("system", [{"type": "text", "text": probe}]), ("user", [{"type": "text", "text": question}])
            )
        # A template that cannot show even a user's message alone says nothing about system messages.
        return self._shows(("system", probe), ("user", question)) or not self._shows(("user", probe))

    def _shows(self, *conversation: tuple[str, Any]) -> bool:
        try:
            return _PROBE in self.render(
                [{"role": trusted(role), "content": content} for role, content in conversation]
            )
        except TemplateError:
            return False

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **chat_template_kwargs: Any,
    ) -> str:
        """The prompt as one text; see `render_segments`."""
        return "".join(
            segment.text
            for segment in self.render_segments(
                messages,
                tools=tools,
                documents=documents,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                **chat_template_kwargs,
            )
        )

    def render_segments(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **chat_template_kwargs: Any,
    ) -> list[Segment]:
        """Render a conversation, keeping what the template wrote apart from what it was given.

        Args:
            messages: As `messages.template_messages` makes them (roles are trusted text).
            tools: Tool definitions in OpenAI's shape.
            documents: For templates with retrieval.
            add_generation_prompt: End with the beginning of an assistant's message.
            continue_final_message: End inside the last message, so that the model goes on with it. No generation
                prompt is added then.
            **chat_template_kwargs: More variables for the template.

        Raises:
            TemplateError: It does not compile, raised, reached for what it may not, ran too long or made too much.
        """
        variables = {
            **chat_template_kwargs,
            "messages": open_ended(messages) if continue_final_message else list(messages),
            "tools": list(tools) if tools else None,
            "documents": list(documents) if documents else None,
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
            "bos_token": trusted(self.bos_token),
            "eos_token": trusted(self.eos_token),
        }
        try:
            text = self._run(variables)
        except TemplateError as error:
            if not isinstance(error.__cause__, TypeError) or tools or documents:
                raise
            # Hugging Face hands None to a template when there are no tools, llama.cpp nothing. A few templates go
            # through the tools without asking, and only "nothing" can be gone through.
            text = self._run({name: value for name, value in variables.items() if name not in ("tools", "documents")})
        return segments_of(cut(text) if continue_final_message else text)

    def _run(self, variables: dict[str, Any]) -> str:
        template = _compile(self.source)
        try:
            with spending(self.limits.for_messages(len(variables["messages"]))):
                pieces = []
                for piece in template.root_render_func(template.new_context(variables)):
                    charge(len(piece))
                    pieces.append(piece)
                return join(pieces)
        except TemplateError:
            raise
        except _RaisedError as error:
            line = _line_of(template, error.__traceback__)
            raise TemplateError(str(error), line=line) from None
        except RecursionError:
            raise TemplateError("the chat template calls itself without end, or values are nested too deep") from None
        except Exception as error:  # a stranger's program: whatever it does wrong is a TemplateError
            line = _line_of(template, error.__traceback__)
            where = f"line {line}: " if line else ""
            raise TemplateError(f"{where}{type(error).__name__}: {error}", line=line) from error
