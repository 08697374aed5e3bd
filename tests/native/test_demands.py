"""What a call demands becomes one constraint: with tools, after reasoning, under a limit on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from llama_bind.calls import Call, read_call
from llama_bind.chat.plan import ChatPlan
from llama_bind.chat.prompt import ChatPrompt
from llama_bind.chat.reasoning import Reasoning
from llama_bind.chat.tools.base import ToolGrammar
from llama_bind.chat.tools.registry import get_format
from llama_bind.demands import constraints_of, read_demand
from llama_bind.engine.request import Request
from llama_bind.errors import InputError, UnsupportedError
from llama_bind.params import SamplingParams
from llama_bind.structured.spec import Spec, ThinkingBudget
from llama_bind.values import PieceEvent
from tests.core_helpers import shared_model
from tests.llamas import shared

THINK = Reasoning("<think>", "</think>")
AUTO = ToolGrammar('start: "<tool>" "{" "}"\n', triggers=("<tool>",))
REQUIRED = ToolGrammar('start: "<tool>" "{" "}"\n')
ANSWER = Spec('answer: "yes" | "no"', start="answer", kind="json_schema")


def plan(**options: Any) -> ChatPlan:
    return ChatPlan(ChatPrompt((), ()), **{"format": get_format("hermes"), **options})


def call(**options: Any) -> Call:
    return read_call(options, SamplingParams(), "test()")


def demand(made: ChatPlan | None = None, other: Spec | None = None, **options: Any) -> Spec | None:
    return read_demand(call(**options), shared_model().vocab, made, response_format=other)[1]


def allowed(spec: Spec | None, text: str) -> bool:
    """Whether a text may be written and end there."""
    assert spec is not None
    vocab = shared_model().vocab
    constraint = constraints_of(vocab).make(spec)
    for token in vocab.tokenize(text, False):
        if not constraint.allows(token):
            return False
        constraint.accept(token)
    assert vocab.eos is not None
    return constraint.allows(vocab.eos)


def test_nothing_is_demanded() -> None:
    given = call()
    assert read_demand(given, shared_model().vocab) == (given, None)
    assert demand(plan(reasoning=THINK, opened="<think>")) is None


def test_a_grammar_leaves_the_sampler_unless_llama_cpp_is_to_run_it() -> None:
    vocab = shared_model().vocab
    ours, spec = read_demand(call(grammar='root ::= "a"'), vocab)
    assert ours.sampling.grammar is None
    assert spec is not None
    theirs, spec = read_demand(call(grammar='root ::= "a"', grammar_backend="llama.cpp"), vocab)
    assert theirs.sampling.grammar == 'root ::= "a"'
    assert spec is None


def test_tools_are_held_to_where_they_are_called() -> None:
    spec = demand(plan(grammar=AUTO))
    assert allowed(spec, "hello<tool>{}")
    assert not allowed(spec, "hello<tool>x")
    assert not allowed(demand(plan(grammar=REQUIRED)), "hello")


def test_an_answer_or_a_call() -> None:
    for spec in (demand(plan(grammar=AUTO), ANSWER), demand(plan(grammar=AUTO), choice=["yes", "no"])):
        assert allowed(spec, "yes")
        assert allowed(spec, "<tool>{}")
        assert not allowed(spec, "hello")
        assert not allowed(spec, "yes<tool>{}")


def test_a_call_that_is_required_is_no_answer() -> None:
    spec = demand(plan(grammar=REQUIRED), ANSWER)
    assert allowed(spec, "<tool>{}")
    assert not allowed(spec, "yes")


def test_reasoning_comes_first() -> None:
    made = plan(reasoning=THINK, opened="<think>\n")
    for spec in (demand(made, ANSWER), demand(made, regex="yes|no")):
        assert allowed(spec, "hello</think>\n\nyes")
        assert not allowed(spec, "yes")
        assert not allowed(spec, "hello</think>hello")
    assert allowed(demand(plan(reasoning=THINK), ANSWER), "yes")


def test_a_limit_on_reasoning() -> None:
    spec = demand(plan(reasoning=THINK, opened="<think>\n", budget=3), ANSWER)
    assert spec is not None
    assert spec.thinking == ThinkingBudget(3, "</think>", "<think>", "</think>", opened=True)
    assert spec.after == ("</think>",)
    alone = demand(plan(reasoning=THINK, budget=3))
    assert alone is not None
    assert (alone.lark, alone.after) == ("", ())


def test_the_engine_closes_the_reasoning() -> None:
    llm = shared()
    engine: Any = llm.engine
    for seed in range(5):
        budget = ThinkingBudget(6, "\n</think>\n", end="</think>")
        spec = Spec('start: "yes" | "no"', after=("</think>",), thinking=budget)
        handle = engine.submit(Request(llm.tokenize(b"Hello"), seed=seed, max_tokens=60, constraint=spec))
        text = "".join(event.text for event in handle if isinstance(event, PieceEvent))
        thought, _, answer = text.partition("\n</think>\n")
        assert answer.strip() in ("yes", "no")  # blanks may stand between
        tokens = llm.tokenize(thought.encode("utf-8", "replace"), False)
        assert len(tokens) >= 1


@pytest.mark.parametrize(
    ("made", "other", "options", "names"),
    [
        (None, ANSWER, {"regex": "a"}, "regex and response_format"),
        (None, None, {"regex": "a", "choice": ["a"]}, "regex and choice"),
        (plan(grammar=REQUIRED), None, {"lark": 'start: "a"'}, "lark and tools"),
        (plan(grammar=AUTO), None, {"grammar": 'root ::= "a"', "grammar_backend": "llama.cpp"}, "grammar and tools"),
    ],
)
def test_two_demands(made: ChatPlan | None, other: Spec | None, options: dict[str, Any], names: str) -> None:
    with pytest.raises(InputError, match=names):
        demand(made, other, **options)


def test_an_engine_without_the_means_says_so() -> None:
    from llama_bind.engine.runner import Runner
    from tests.core_helpers import make_context

    runner = Runner(make_context)
    with pytest.raises(UnsupportedError, match="cannot hold"):
        runner.make_constraint(ANSWER)
    runner.context.close()


def test_specs_can_be_pickled() -> None:
    import pickle

    spec = dataclasses.replace(ANSWER, options=(ANSWER,), thinking=ThinkingBudget(1, "x"))
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(pickle.loads(pickle.dumps(spec))) == hash(spec)
