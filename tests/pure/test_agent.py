"""Runs of tools with a model that follows a script: both drivers do the same, unless a test is about one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from llama_bind.agent import (
    FunctionTool,
    ReasoningDelta,
    RoundEnded,
    RunFinished,
    TextDelta,
    ToolCall,
    ToolCallArguments,
    ToolCallStart,
    ToolFinished,
    ToolRun,
    ToolStarted,
    async_driver,
    driver,
)
from llama_bind.agent.prepare import prepare
from llama_bind.errors import ContextOverflowError, InputError, UnknownOptionError
from llama_bind.values import Usage
from tests.scripted import AsyncScripted, Scripted, answer, calling

HELLO = [{"role": "user", "content": "Hello"}]
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")
Answers = list[Any]


def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


async def later(a: int) -> int:
    """Adds one, later."""
    await asyncio.sleep(0.001)
    return a + 1


def fail(why: str) -> None:
    raise RuntimeError(why)


def waited(work: Coroutine[Any, Any, Any]) -> Any:
    began = time.monotonic()
    found = asyncio.run(asyncio.wait_for(work, 30))
    assert time.monotonic() - began < 25, "it ended because the time was up"
    return found


def sync_run(answers: Answers, tools: Any, **options: Any) -> tuple[ToolRun, Scripted]:
    llm = Scripted(*answers)
    return driver.finished(llm, prepare(llm, HELLO, tools, options, "run_tools()")), llm


def async_run(answers: Answers, tools: Any, **options: Any) -> tuple[ToolRun, Scripted]:
    llm = AsyncScripted(*answers)
    return waited(async_driver.finished(llm, prepare(llm, HELLO, tools, options, "run_tools()"))), llm


def sync_streamed(answers: Answers, tools: Any, **options: Any) -> tuple[ToolRun, Scripted]:
    events, llm = sync_events(answers, tools, **options)
    return events[-1].result, llm


def async_streamed(answers: Answers, tools: Any, **options: Any) -> tuple[ToolRun, Scripted]:
    events, llm = async_events(answers, tools, **options)
    return events[-1].result, llm


def sync_events(answers: Answers, tools: Any, **options: Any) -> tuple[list[Any], Scripted]:
    llm = Scripted(*answers)
    return list(driver.run(llm, prepare(llm, HELLO, tools, options, "stream_tools()"), stream=True)), llm


def async_events(answers: Answers, tools: Any, **options: Any) -> tuple[list[Any], Scripted]:
    llm = AsyncScripted(*answers)

    async def work() -> list[Any]:
        loop = prepare(llm, HELLO, tools, options, "stream_tools()")
        return [event async for event in async_driver.run(llm, loop, stream=True)]

    return waited(work()), llm


Runner = Callable[..., tuple[ToolRun, Scripted]]
RUNNERS = {"sync": sync_run, "async": async_run, "sync streamed": sync_streamed, "async streamed": async_streamed}


@pytest.fixture(params=list(RUNNERS.values()), ids=list(RUNNERS))
def run(request: pytest.FixtureRequest) -> Runner:
    found: Runner = request.param
    return found


@pytest.fixture(params=[sync_events, async_events], ids=["sync", "async"])
def events(request: pytest.FixtureRequest) -> Any:
    return request.param


def contents(result: ToolRun) -> list[str]:
    return [outcome.content for outcome in result.outcomes]


def kinds(result: ToolRun) -> list[str]:
    return [outcome.kind for outcome in result.outcomes]


# -- rounds --------------------------------------------------------------------------------------------------------


def test_the_model_calls_gets_the_result_and_answers(run: Runner) -> None:
    result, llm = run([calling(("add", '{"a": 2}'), text="I add."), answer("It is 3.")], [add], temperature=0)
    assert result.text == "It is 3."
    assert result.finish_reason == "stop"
    call = {"id": "c0", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    assert result.messages == [
        *HELLO,
        {"role": "assistant", "content": "I add.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c0", "name": "add", "content": "3"},
        {"role": "assistant", "content": "It is 3."},
    ]
    assert result.new_messages == result.messages[1:]
    assert result.message == result.messages[-1]
    assert result.usage == Usage(20, 10, 8)
    assert [len(one.outcomes) for one in result.rounds] == [1, 0]
    assert result.outcomes[0].value == 3
    assert result.outcomes[0].call == ToolCall("c0", "add", '{"a": 2}', {"a": 2})
    assert (result.pending, result.limited) == ((), False)
    assert [request["messages"] for request in llm.requests] == [HELLO, result.messages[:3]]
    assert [request["tools"] for request in llm.requests] == [[FunctionTool(add).declaration()]] * 2
    assert all(request["temperature"] == 0 for request in llm.requests)
    assert HELLO == [{"role": "user", "content": "Hello"}]


def test_an_answer_without_calls_ends_the_run(run: Runner) -> None:
    result, llm = run([answer("Hi.")], [add])
    assert (result.text, len(result.rounds), len(llm.requests)) == ("Hi.", 1, 1)


def test_a_run_without_tools_is_a_chat(run: Runner) -> None:
    result, llm = run([answer("Hi.")], [])
    assert result.text == "Hi."
    assert "tools" not in llm.requests[0]


def test_several_calls_in_one_answer_and_several_rounds(run: Runner) -> None:
    answers = [
        calling(("add", '{"a": 1}'), ("later", '{"a": 5}'), ("add", '{"a": 3}')),
        calling(("add", '{"a": 9}')),
        answer("x"),
    ]
    result, llm = run(answers, [add, later])
    assert contents(result) == ["2", "6", "4", "10"]
    roles = [(m["role"], m.get("tool_call_id")) for m in result.new_messages]
    assert roles == [
        ("assistant", None), ("tool", "c0"), ("tool", "c1"), ("tool", "c2"),
        ("assistant", None), ("tool", "c0"), ("assistant", None),
    ]  # fmt: skip
    assert len(llm.requests) == 3


def test_after_max_rounds_the_model_must_do_without(run: Runner) -> None:
    result, llm = run([calling(("add", '{"a": 1}'))], [add], max_rounds=2)
    assert result.limited
    assert [request.get("tool_choice") for request in llm.requests] == [None, None, "none"]
    assert contents(result) == ["2", "2"]  # what it calls then is not run
    assert llm.requests[-1]["tools"] == llm.requests[0]["tools"]
    result, llm = run([answer("x")], [add], max_rounds=0)
    assert [request["tool_choice"] for request in llm.requests] == ["none"]


@pytest.mark.parametrize(
    ("choice", "then"),
    [
        ("required", "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ({"type": "function", "function": {"name": "add"}}, "auto"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}},
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        ),
    ],
)
def test_a_forced_call_is_forced_once(run: Runner, choice: Any, then: Any) -> None:
    _, llm = run([calling(("add", '{"a": 1}')), answer("x")], [add], tool_choice=choice)
    assert [request["tool_choice"] for request in llm.requests] == [choice, then]


@pytest.mark.parametrize("reason", ["length", "deadline", "cancelled"])
def test_an_answer_that_was_cut_is_not_acted_on(run: Runner, reason: str) -> None:
    result, llm = run([calling(("add", '{"a": 1'), reason=reason)], [add])
    assert result.finish_reason == reason
    assert (result.outcomes, len(llm.requests)) == ([], 1)
    assert result.message["tool_calls"][0]["function"]["arguments"] == '{"a": 1'


def test_calls_are_run_whatever_the_finish_reason_says_of_them(run: Runner) -> None:
    result, _ = run([calling(("add", '{"a": 1}'), reason="stop"), answer("x")], [add])
    assert contents(result) == ["2"]


def test_reasoning_stays_in_the_conversation(run: Runner) -> None:
    first = calling(("add", '{"a": 1}'))
    first["choices"][0]["message"]["reasoning_content"] = "Hmm."
    result, llm = run([first, answer("x")], [add])
    assert llm.requests[1]["messages"][1]["reasoning_content"] == "Hmm."
    assert result.text == "x"


def test_calls_without_an_id_get_one(run: Runner) -> None:
    first = calling(("add", '{"a": 1}'), ("add", '{"a": 2}'))
    for call in first["choices"][0]["message"]["tool_calls"]:
        call["id"] = ""
    result, _ = run([first, answer("x")], [add])
    ids = [call["id"] for call in result.new_messages[0]["tool_calls"]]
    assert len({*ids}) == 2
    assert all(ids)
    assert [m["tool_call_id"] for m in result.new_messages[1:3]] == ids


# -- declarations, which the caller runs -----------------------------------------------------------------------------


def test_calls_of_declarations_are_left_to_the_caller(run: Runner) -> None:
    ask = {"type": "function", "function": {"name": "ask", "parameters": {"type": "object"}}}
    result, llm = run([calling(("add", '{"a": 1}'), ("ask", '{"q": 1}'), ("no", ""))], [add, ask])
    assert result.finish_reason == "tool_calls"
    assert result.pending == (ToolCall("c1", "ask", '{"q": 1}'),)
    assert kinds(result) == ["result", "unknown"]
    assert [m.get("tool_call_id") for m in result.new_messages] == [None, "c0", "c2"]
    assert len(llm.requests) == 1
    assert llm.requests[0]["tools"] == [FunctionTool(add).declaration(), ask]


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_what_goes_wrong_is_told_to_the_model(run: Runner) -> None:
    calls = [
        ("fail", '{"why": "no luck"}'),
        ("fale", "{}"),
        ("add", '{"a": "x", "c": 1}'),
        ("add", '{"a": 1'),
        ("add", ""),
    ]
    result, _ = run([calling(*calls), answer("x")], [add, fail])
    assert kinds(result) == ["error", "unknown", "invalid", "invalid", "invalid"]
    assert contents(result) == [
        "Error: RuntimeError: no luck",
        "Error: there is no tool 'fale'; did you mean 'fail'? the tools are: add, fail",
        "Error: the arguments of 'add' do not fit: a must be a whole number, not \"x\"; c is not known; known are a, b",
        "Error: the arguments of 'add' do not fit: the arguments are not valid JSON: "
        "Expecting ',' delimiter at character 7",
        "Error: the arguments of 'add' do not fit: a is missing",
    ]
    error = result.outcomes[0].error
    assert isinstance(error, RuntimeError)
    assert "Traceback" not in "".join(contents(result))
    assert [m["role"] for m in result.new_messages] == ["assistant", *["tool"] * 5, "assistant"]


def test_an_error_without_words_has_its_type(run: Runner) -> None:
    def bare() -> None:
        raise KeyError

    result, _ = run([calling(("bare", "{}")), answer("x")], [bare])
    assert contents(result) == ["Error: KeyError"]


def test_what_the_model_raises_ends_the_run(run: Runner) -> None:
    with pytest.raises(ContextOverflowError):
        run([calling(("add", '{"a": 1}')), ContextOverflowError(5, 4)], [add])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("options", [{}, {"tool_timeout": 5}], ids=["here", "thread"])
def test_what_ends_programs_is_not_caught(kind: type[BaseException], options: Any) -> None:
    def tool() -> None:
        raise kind

    for runner in (sync_run, sync_streamed):
        with pytest.raises(kind):
            runner([calling(("tool", "{}"), ("tool", "{}")), answer("x")], [tool], **options)
        with pytest.raises(kind):
            runner([calling(("tool", "{}")), answer("x")], [tool], **options)


def test_cancelled_error_of_a_tool_is_not_caught() -> None:
    async def tool() -> None:
        raise asyncio.CancelledError

    for runner in (async_run, async_streamed):
        with pytest.raises(asyncio.CancelledError):
            runner([calling(("tool", "{}")), answer("x")], [tool])


# -- results as text -------------------------------------------------------------------------------------------------


def test_long_results_are_cut_with_a_note(run: Runner) -> None:
    def much(n: int) -> str:
        return "x" * n

    answers = [calling(("much", '{"n": 300}'), ("much", '{"n": 301}'), ("much", '{"n": 1000000}')), answer("x")]
    result, _ = run(answers, [much], max_result_chars=300)
    short, long, longest = contents(result)
    assert short == "x" * 300
    assert len(long) <= 300
    assert long.endswith(" of 301 characters are left out]")
    kept = longest.count("x", 0, longest.index("\n"))
    assert longest.endswith(f"\n[cut: {1_000_000 - kept} of 1000000 characters are left out]")
    default, _ = run([calling(("much", '{"n": 100000}')), answer("x")], [much])
    assert len(contents(default)[0]) == pytest.approx(2048, abs=5)  # as many as tokens in the context


def test_long_errors_are_cut(run: Runner) -> None:
    result, _ = run([calling(("fail", json.dumps({"why": "y" * 5000}))), answer("x")], [fail], max_result_chars=300)
    assert len(contents(result)[0]) <= 300
    assert contents(result)[0].startswith("Error: RuntimeError: yyy")


def test_results_that_cannot_be_written_are_errors(run: Runner) -> None:
    def circle() -> list[Any]:
        found: list[Any] = []
        found.append(found)
        return found

    def broken() -> object:
        class Broken:
            def __str__(self) -> str:
                raise ValueError("no words")

        return Broken()

    result, _ = run([calling(("circle", "{}"), ("broken", "{}")), answer("x")], [circle, broken])
    assert kinds(result) == ["error", "error"]
    assert contents(result)[0] == "Error: ValueError: the result contains itself, or nests too deeply"


# -- approval --------------------------------------------------------------------------------------------------------


def test_calls_are_approved_first(run: Runner) -> None:
    asked: list[ToolCall] = []

    replies: dict[int, Any] = {1: True, 2: False, 3: "too dear", 4: None, 5: ""}

    def approve(call: ToolCall) -> Any:
        asked.append(call)
        return replies[call.values["a"] if call.values else 0]

    calls = [("add", json.dumps({"a": n})) for n in range(1, 6)]
    result, _ = run([calling(*calls, ("no", "{}")), answer("x")], [add], approve=approve)
    assert kinds(result) == ["result", "refused", "refused", "refused", "refused", "unknown"]
    assert contents(result)[1:3] == [
        "Error: the call of 'add' was not approved",
        "Error: the call of 'add' was not approved: too dear",
    ]
    assert [call.id for call in asked] == ["c0", "c1", "c2", "c3", "c4"]


def test_approve_may_be_async(run: Runner) -> None:
    async def approve(call: ToolCall) -> bool:
        await asyncio.sleep(0)
        return call.values == {"a": 1}

    result, _ = run([calling(("add", '{"a": 1}'), ("add", '{"a": 2}')), answer("x")], [add], approve=approve)
    assert kinds(result) == ["result", "refused"]


def test_an_error_of_approve_is_the_callers_own(run: Runner) -> None:
    def approve(_call: ToolCall) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run([calling(("add", '{"a": 1}'))], [add], approve=approve)


# -- time ------------------------------------------------------------------------------------------------------------


def test_calls_of_one_answer_run_at_the_same_time(run: Runner) -> None:
    barrier = threading.Barrier(3, timeout=10)

    def meet(n: int) -> int:
        barrier.wait()  # nobody passes alone
        return n

    result, _ = run([calling(*(("meet", json.dumps({"n": n})) for n in range(3))), answer("x")], [meet])
    assert contents(result) == ["0", "1", "2"]


def test_async_functions_of_one_answer_run_at_the_same_time() -> None:
    there: list[int] = []

    async def meet(n: int) -> int:
        there.append(n)
        while len(there) < 3:
            await asyncio.sleep(0.001)
        return n

    for runner in (async_run, async_streamed):
        there.clear()
        result, _ = runner([calling(*(("meet", json.dumps({"n": n})) for n in range(3))), answer("x")], [meet])
        assert contents(result) == ["0", "1", "2"]


def test_no_more_calls_run_at_once_than_allowed(run: Runner) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def count() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    for limit in (1, 3):
        most = 0
        result, _ = run([calling(*[("count", "{}")] * 8), answer("x")], [count], max_parallel_tools=limit)
        assert kinds(result) == ["result"] * 8
        assert most <= limit


def test_one_call_runs_in_the_callers_thread_and_several_see_its_context() -> None:
    def where() -> list[Any]:
        return [threading.current_thread() is threading.main_thread(), VARIABLE.get()]

    VARIABLE.set("mine")
    try:
        one, _ = sync_run([calling(("where", "{}")), answer("x")], [where])
        two, _ = sync_run([calling(("where", "{}"), ("where", "{}")), answer("x")], [where])
        after, _ = sync_run([calling(("where", "{}"), ("where", "{}")), answer("x")], [where], max_parallel_tools=1)
        other, _ = async_run([calling(("where", "{}")), answer("x")], [where])
    finally:
        VARIABLE.set("none")
    assert [o.value for o in one.outcomes] == [[True, "mine"]]
    assert [o.value for o in two.outcomes] == [[False, "mine"]] * 2
    assert [o.value for o in after.outcomes] == [[True, "mine"]] * 2
    assert [o.value for o in other.outcomes] == [[False, "mine"]]


def test_calls_that_take_too_long_are_given_up(run: Runner) -> None:
    released = threading.Event()

    def stuck() -> str:
        released.wait(20)
        return "late"

    try:
        result, _ = run([calling(("stuck", "{}"), ("add", '{"a": 1}')), answer("x")], [stuck, add], tool_timeout=0.05)
    finally:
        released.set()
    assert kinds(result) == ["timeout", "result"]
    assert contents(result)[0] == "Error: 'stuck' took longer than 0.05 seconds"


def test_async_functions_that_take_too_long_are_cancelled() -> None:
    ended: list[str] = []

    async def stuck() -> None:
        try:
            await asyncio.sleep(20)
        finally:
            ended.append("stuck")

    for runner in (async_run, async_streamed):
        result, _ = runner([calling(("stuck", "{}")), answer("x")], [FunctionTool(stuck, timeout=0.05)])
        assert kinds(result) == ["timeout"]
    assert ended == ["stuck"] * 2


def test_a_tools_own_timeout_error_is_an_error(run: Runner) -> None:
    def tool() -> None:
        raise TimeoutError("mine")

    result, _ = run([calling(("tool", "{}")), answer("x")], [FunctionTool(tool, timeout=20)], tool_timeout=0.01)
    assert (kinds(result), contents(result)) == (["error"], ["Error: TimeoutError: mine"])


def test_a_sync_run_inside_of_an_event_loop_takes_async_functions() -> None:
    """As in a notebook."""

    async def work() -> ToolRun:
        return sync_run([calling(("later", '{"a": 1}')), answer("x")], [later])[0]

    assert contents(waited(work())) == ["2"]


def test_functions_that_hide_that_they_are_async(run: Runner) -> None:
    def hidden(a: int) -> Any:
        return later(a)

    result, _ = run([calling(("hidden", '{"a": 1}')), answer("x")], [hidden])
    assert contents(result) == ["2"]


# -- events ----------------------------------------------------------------------------------------------------------


def test_events_of_a_run(events: Any) -> None:
    first = calling(("add", '{"a": 2}'), ("no", "{}"), text="I add.")
    first["choices"][0]["message"]["reasoning_content"] = "Hmm."
    found, llm = events([first, answer("It is 3.")], [add])
    call = ToolCall("c0", "add", '{"a": 2}', {"a": 2})
    assert found[:3] == [ReasoningDelta("Hmm."), TextDelta("I "), TextDelta("add.")]
    assert found[3] == ToolCallStart(0, "c0", "add")
    assert found[4:8] == [ToolCallArguments(0, text) for text in ('{"', 'a"', ": ", "2}")]
    assert found[8:10] == [ToolCallStart(1, "c1", "no"), ToolCallArguments(1, "{}")]
    assert isinstance(found[10], ToolFinished)
    assert found[10].outcome.kind == "unknown"
    assert found[11] == ToolStarted(call)
    assert isinstance(found[12], ToolFinished)
    assert (found[12].outcome.call, found[12].outcome.value) == (call, 3)
    assert isinstance(found[13], RoundEnded)
    assert found[13].number == 0
    assert [o.kind for o in found[13].round.outcomes] == ["result", "unknown"]
    assert found[14:17] == [TextDelta("It "), TextDelta("is "), TextDelta("3.")]
    assert [type(event) for event in found[17:]] == [RoundEnded, RunFinished]
    assert found[-1].result.rounds == (found[13].round, found[17].round)
    assert all(request["stream_options"] == {"include_usage": True} for request in llm.requests)
    assert llm.closed == 0


def test_a_stream_gives_the_result_that_a_run_gives() -> None:
    answers = [calling(("add", '{"a": 2}')), answer("It.", reason="length")]
    results = [runner(answers, [add])[0] for runner in RUNNERS.values()]
    assert all(result.messages == results[0].messages for result in results)
    assert all(result.usage == results[0].usage for result in results)
    assert all(result.finish_reason == "length" for result in results)


def test_leaving_a_stream_closes_the_running_completion() -> None:
    llm = Scripted(answer("a b c d"))
    stream = driver.run(llm, prepare(llm, HELLO, [add], {}, "stream_tools()"), stream=True)
    assert next(stream) == TextDelta("a ")
    stream.close()
    assert llm.closed == 1
    llm = Scripted(answer("a b c d"))
    stream = driver.run(llm, prepare(llm, HELLO, [add], {}, "stream_tools()"), stream=True)
    next(stream)
    del stream
    gc.collect()
    assert llm.closed == 1


def test_leaving_an_async_stream_closes_the_running_completion() -> None:
    llm = AsyncScripted(answer("a b c d"))

    async def work() -> None:
        stream = async_driver.run(llm, prepare(llm, HELLO, [add], {}, "stream_tools()"), stream=True)
        assert await anext(stream) == TextDelta("a ")
        await stream.aclose()

    waited(work())
    assert llm.closed == 1


def test_cancelling_a_task_cancels_its_async_functions() -> None:
    states: list[str] = []

    async def tool() -> None:
        states.append("began")
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)  # they may clean up
            states.append("ended")

    async def work(runner: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        states.clear()
        task = asyncio.create_task(runner())
        while len(states) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert states == ["began", "began", "ended", "ended"]

    async def streamed() -> None:
        llm = AsyncScripted(calling(("tool", "{}"), ("tool", "{}")))
        async for _ in async_driver.run(llm, prepare(llm, HELLO, [tool], {}, "x"), stream=True):
            pass

    async def collected() -> None:
        llm = AsyncScripted(calling(("tool", "{}"), ("tool", "{}")))
        await async_driver.finished(llm, prepare(llm, HELLO, [tool], {}, "x"))

    waited(work(streamed))
    waited(work(collected))


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (add, "must be a list"),
        ("add", "must be a list"),
        ({"type": "function"}, "must be a list"),
        ([add, add], "two tools have the name 'add'"),
        ([add, FunctionTool(add).declaration()], "two tools have the name 'add'"),
        ([{"name": "add"}], "a tool is a function or a dict"),
        ([{"type": "function", "function": {"name": 5}}], "a tool is a function or a dict"),
        (["add"], "a tool is a function"),
    ],
)
def test_tools_of_a_wrong_kind(tools: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        sync_run([answer("x")], tools)
    assert caught.value.param == "tools"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"stream": True}, "stream"),
        ({"functions": []}, "functions"),
        ({"max_rounds": -1}, "max_rounds"),
        ({"max_rounds": "x"}, "max_rounds"),
        ({"tool_timeout": 0}, "tool_timeout"),
        ({"max_parallel_tools": 0}, "max_parallel_tools"),
        ({"max_result_chars": 1}, "max_result_chars"),
        ({"approve": "yes"}, "approve"),
    ],
)
def test_options_that_make_no_sense(options: Any, name: str) -> None:
    with pytest.raises((InputError, UnknownOptionError), match=name):
        sync_run([answer("x")], [add], **options)


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(UnknownOptionError, match=r"run_tools\(\).*max_rounds"):
        sync_run([answer("x")], [add], max_round=1)
    assert sync_run([answer("x")], [add], n=1, stream=False, max_rounds=None)[0].text == "x"


@pytest.mark.parametrize("messages", ["Hello", {"role": "user"}, 5])
def test_messages_that_are_no_list(messages: Any) -> None:
    with pytest.raises(InputError, match="messages must be a list"):
        prepare(Scripted(answer("x")), messages, [add], {}, "run_tools()")
