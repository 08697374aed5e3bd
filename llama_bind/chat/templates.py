"""Chat templates: Jinja in the environment that Hugging Face documents, in a sandbox that also bounds time and size.

It imports jinja2: import it inside functions. The environment:
https://huggingface.co/docs/transformers/chat_templating_writing (``trim_blocks``, ``lstrip_blocks``, loop controls,
``raise_exception``, ``strftime_now``, ``tojson`` without HTML escapes, the ``generation`` block).

Not for: the sandbox (``environment.py``), the shape of messages (``messages.py``), or the named formats
(``formats.py``).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import jinja2
import jinja2.meta

from llama_bind.chat.budget import TemplateLimits, charge, spending
from llama_bind.chat.continuing import cut, open_ended
from llama_bind.chat.environment import RaisedError, environment
from llama_bind.chat.segments import Segment, segments_of
from llama_bind.chat.traced import join, trusted
from llama_bind.errors import TemplateError

__all__ = ["MAX_SOURCE", "ChatTemplate"]

MAX_SOURCE = 1_000_000
"""Characters of a template."""

MAX_TOKENS = 50_000
"""Lexical tokens of a template; the largest that models ship have about 4000."""

_PROBE = "content-probe"

_compile_lock = threading.Lock()


@functools.lru_cache(maxsize=32)
def _compile(source: str) -> jinja2.Template:
    with _compile_lock:
        try:
            for count, _ in enumerate(environment().lex(source)):
                if count > MAX_TOKENS:
                    raise TemplateError(f"the chat template is too long: more than {MAX_TOKENS} words and signs")
            return environment().from_string(source)
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
        return frozenset(jinja2.meta.find_undeclared_variables(environment().parse(self.source)))

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
        except RaisedError as error:
            line = _line_of(template, error.__traceback__)
            raise TemplateError(str(error), line=line) from None
        except RecursionError:
            raise TemplateError("the chat template calls itself without end, or values are nested too deep") from None
        except Exception as error:  # a stranger's program: whatever it does wrong is a TemplateError
            line = _line_of(template, error.__traceback__)
            where = f"line {line}: " if line else ""
            raise TemplateError(f"{where}{type(error).__name__}: {error}", line=line) from error
