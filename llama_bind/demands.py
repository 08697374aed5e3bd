"""What a call demands of its output, as one `Spec`: the options regex, choice, lark and grammar, and what others add.

One demand at a time: two would have to hold at once, which no grammar here can say. Only calls of tools that may be
made, and an answer that must have a form, go together: the output is one or the other. Not for: JSON schemas and tools
(whoever reads those hands in their `Spec`), or holding to it (the engine).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llama_bind.calls import Call
from llama_bind.errors import InputError, SchemaError, UnsupportedError
from llama_bind.structured.spec import Spec, ThinkingBudget

if TYPE_CHECKING:
    from llama_bind.chat.plan import ChatPlan
    from llama_bind.chat.tools.base import ToolGrammar
    from llama_bind.core.vocab import Vocab
    from llama_bind.params import RequestParams
    from llama_bind.structured.matcher import Compiler
    from llama_bind.structured.response_format import Form

__all__ = ["constraints_of", "read_demand", "read_form"]


def read_demand(
    call: Call, vocab: Vocab, plan: ChatPlan | None = None, **others: Spec | None
) -> tuple[Call, Spec | None]:
    """The call without what its constraint takes over, and that constraint; None where nothing is demanded.

    Args:
        call: Its options.
        vocab: Of its model.
        plan: Of a conversation: its tools, and where the reasoning before its answer ends.
        others: What other options demand of the answer, by their names; they need not care for the reasoning.

    Raises:
        InputError: two demands at once.
        GrammarError: one that is no grammar.
        UnsupportedError: the model has no vocabulary.
    """
    makers = _makers(call, vocab)
    for name, spec in others.items():
        if spec is not None:
            makers[name] = functools.partial(_same, spec)
    if call.sampling.grammar is not None:
        makers.setdefault("grammar", Spec)  # llama.cpp's own sampler runs it
    if plan is not None and plan.grammar is not None:
        _check_strict(plan)
        if others.get("response_format") is not None and not plan.grammar.triggers:
            del makers["response_format"]  # that is about an answer in words, and here none is wanted
        makers["tools"] = functools.partial(_tools, plan.grammar, call.request, parallel=plan.parallel)
        if len(makers) == 2 and plan.grammar.triggers and "grammar" not in makers:
            answer = next(iter(makers.values()))()
            return call, _with_reasoning(Spec(options=(makers["tools"](), answer), kind=answer.kind), plan)
    if len(makers) > 1:
        one, other = list(makers)[:2]
        raise InputError(f"{one} and {other} both say what the output must be; give one of them", param=other)
    spec = None
    for name, make in makers.items():
        spec = make()
        if name == "grammar" and spec.lark:
            call = dataclasses.replace(call, sampling=dataclasses.replace(call.sampling, grammar=None))
    return call, _with_reasoning(spec, plan)


def read_form(request: RequestParams) -> Form | None:
    """The form of the answer that `response_format` or `json_schema` asks for; None for any text.

    Raises:
        InputError, SchemaError, UnsupportedError: see `structured.response_format.read_form`.
    """
    if request.response_format is None and request.json_schema is None:
        return None
    from llama_bind.structured import response_format

    options: Any = {
        "whitespace": request.json_whitespace,
        "formats": request.schema_formats,
        "members": request.schema_members,
    }
    return response_format.read_form(request.response_format, request.json_schema, strict=request.strict, **options)


def _same(spec: Spec) -> Spec:
    return spec


def _check_strict(plan: ChatPlan) -> None:
    """Refuse tools whose arguments cannot be held to their schema, where the caller asked that they are."""
    from llama_bind.structured.schema import compile_schema

    for tool in plan.tools:
        if tool.strict:
            try:
                compile_schema(tool.parameters)
            except SchemaError as error:
                error.param = "tools"
                raise


def _tools(grammar: ToolGrammar, request: RequestParams, *, parallel: bool) -> Spec:
    from llama_bind.structured.schema_inline import inline_schemas

    options: Any = {"whitespace": request.json_whitespace, "members": request.schema_members}
    rules = inline_schemas(grammar.rules, **options)
    once = bool(grammar.triggers) and not parallel
    return Spec(rules, grammar.start, tuple(grammar.markers.items()), grammar.triggers, once, kind="tools")


def _with_reasoning(spec: Spec | None, plan: ChatPlan | None) -> Spec | None:
    """The demand on what comes after the reasoning, and the limit on that."""
    found = spec if spec is not None and (spec.lark or spec.options) else None
    if found is not None and plan is not None and plan.answers and found.kind != "tools":
        if found.options:
            raise UnsupportedError(
                f"answers of this model's format ({plan.format.name}) cannot be held to a form while it may call "
                'tools; leave out one of them, or give tool_choice="none"'
            )
        return dataclasses.replace(found, after=plan.answers)
    if plan is None or plan.reasoning is None:
        return found
    if found is not None:
        found = dataclasses.replace(found, after=plan.after)
    if plan.budget is None:
        return found
    reasoning = plan.reasoning
    budget = ThinkingBudget(
        plan.budget, reasoning.closing, reasoning.opening, reasoning.closing.strip(), opened=bool(plan.opened)
    )
    return dataclasses.replace(found or Spec(kind="thinking"), thinking=budget)


def _makers(call: Call, vocab: Vocab) -> dict[str, Callable[[], Spec]]:
    """The demands of the call's own options, not made yet."""
    from llama_bind.structured import texts

    request, sampling = call.request, call.sampling
    makers: dict[str, Callable[[], Spec]] = {}
    if request.regex is not None:
        makers["regex"] = lambda: texts.regex_spec(request.regex)
    if request.choice is not None:
        makers["choice"] = lambda: texts.choice_spec(request.choice)
    if request.lark is not None:
        makers["lark"] = lambda: texts.lark_spec(request.lark)
    if sampling.grammar is not None and sampling.grammar_backend == "llguidance":
        makers["grammar"] = lambda: _gbnf(sampling.grammar, vocab)
    return makers


def _gbnf(grammar: Any, vocab: Vocab) -> Spec:
    from llama_bind.structured.gbnf_lark import gbnf_spec
    from llama_bind.structured.grammar import LlamaGrammar, checked

    if isinstance(grammar, LlamaGrammar) and grammar.spec is not None:
        return grammar.spec
    source = checked(grammar)

    def token_of(text: str) -> int | None:
        tokens = vocab.tokenize(text, add_special=False, parse_special=True)
        return tokens[0] if len(tokens) == 1 else None

    return gbnf_spec(source.parsed, token_of, vocab.n_tokens)


def constraints_of(vocab: Vocab) -> Compiler:
    """What compiles the demands on one model's outputs; it looks at the vocabulary when it is first asked."""
    from llama_bind.structured.matcher import Compiler
    from llama_bind.structured.tokenizer import Vocabulary

    def pieces() -> list[bytes]:
        if vocab.type == "none":
            raise UnsupportedError("this model has no vocabulary: it cannot be held to a grammar or schema")
        return vocab.pieces()

    def tokenize(text: str, special: bool) -> list[int]:
        return vocab.tokenize(text, add_special=False, parse_special=special)

    control = frozenset() if vocab.type == "none" else frozenset(vocab.control_tokens()) | vocab.eog_tokens
    return Compiler(Vocabulary(vocab.n_tokens, pieces, control, vocab.eog_tokens, tokenize))
