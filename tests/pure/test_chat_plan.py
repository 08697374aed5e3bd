"""From messages and options to a prompt, and to how the answer is read and what it must be."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from llama_bind.chat.events import ReasoningDelta, TextDelta, ToolCallStart
from llama_bind.chat.plan import ChatPlan, plan_chat
from llama_bind.chat.prompt import ChatSource, choose_source
from llama_bind.errors import InputError, TemplateError, UnsupportedError
from llama_bind.params import ChatParams
from tests.vectors import chat

SYSTEM: dict[str, Any] = {"role": "system", "content": "You are SYS."}
USER: dict[str, Any] = {"role": "user", "content": "the question"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TIME = {"type": "function", "function": {"name": "time_of"}}
CALL = {"id": "call_abcdefghijkl", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
CALLED: list[dict[str, Any]] = [
    USER,
    {"role": "assistant", "content": None, "reasoning_content": "a thought", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_abcdefghijkl", "content": {"sky": "grey"}},
]
ANSWERED: list[dict[str, Any]] = [*CALLED, {"role": "assistant", "content": "an answer"}, USER]
NAMES = [path.stem for path in chat.TEMPLATES]


@functools.cache
def source_of(name: str) -> ChatSource:
    path = next(path for path in chat.TEMPLATES if path.stem == name)
    return choose_source(None, path.read_text(encoding="utf-8"), bos_token="<s>", eos_token="</s>")


def plan(name: str, messages: Any = (USER,), **options: Any) -> ChatPlan:
    return plan_chat(source_of(name), list(messages), ChatParams(**options))


QWEN = "Qwen-Qwen3-0.6B"
PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def simple(messages: Any = (USER,), template: str = PLAIN, **options: Any) -> ChatPlan:
    return plan_chat(choose_source(None, template), list(messages), ChatParams(**options))


# Every template with everything


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("tools", [False, True])
def test_every_template_takes_every_conversation(name: str, system: bool, tools: bool) -> None:
    head = [SYSTEM] if system else []
    declared = [WEATHER, TIME] if tools else None
    for body, wanted in (([USER], ["the question"]), (CALLED, ["Bonn", "grey"]), (ANSWERED, ["an answer"])):
        for thinking in (None, True, False):
            made = plan(name, [*head, *body], tools=declared, enable_thinking=thinking)
            # Mistral's older templates put the system message before what the user says last, if that is last.
            told = system and not (name == "mistralai-Mistral-Nemo-Instruct-2407" and body is CALLED)
            for word in wanted + ["You are SYS."] * told + ["The weather of a place", "time_of"] * tools:
                assert word in made.prompt.text
            assert len(made.tools) == 2 * tools
            assert (made.grammar is not None) is tools


@pytest.mark.parametrize("name", NAMES)
def test_thinking_off_leaves_no_block_open(name: str) -> None:
    made = plan(name, enable_thinking=False)
    assert not made.after
    if made.reasoning is not None:
        assert not made.opened
        assert made.reader().feed("Hello") == [TextDelta("Hello")]


@pytest.mark.parametrize("name", NAMES)
def test_a_required_call_is_held_from_the_first_token(name: str) -> None:
    made = plan(name, tools=[WEATHER, TIME], tool_choice="required")
    assert made.grammar is not None
    assert made.grammar.triggers == ()
    made = plan(name, tools=[WEATHER, TIME], tool_choice={"type": "function", "function": {"name": "time_of"}})
    assert [tool.name for tool in made.tools] == ["time_of"]
    assert made.grammar is not None
    assert "weather" not in made.grammar.rules
    assert not made.parallel
    auto = plan(name, tools=[WEATHER, TIME])
    assert auto.grammar is not None
    assert auto.grammar.triggers


# Tools


def test_no_tools() -> None:
    made = plan(QWEN)
    assert (made.tools, made.grammar, made.forbidden) == ((), None, ())
    assert "<tool_call>" not in made.markers
    assert made.reader().feed('<tool_call>{"name": "weather"}') == [TextDelta('<tool_call>{"name": "weather"}')]


def test_a_choice_of_none_hides_the_tools_until_one_was_called() -> None:
    made = plan(QWEN, tools=[WEATHER], tool_choice="none")
    assert "The weather of a place" not in made.prompt.text
    assert (made.tools, made.grammar, made.forbidden) == ((), None, ())
    made = plan(QWEN, CALLED, tools=[WEATHER], tool_choice="none")
    assert made.prompt.text == plan(QWEN, CALLED, tools=[WEATHER]).prompt.text
    assert (made.tools, made.grammar) == ((), None)
    assert made.forbidden == ("<tool_call>",)
    assert "<tool_call>" in made.markers


def test_json_is_not_forbidden() -> None:
    assert simple(CALLED, tools=[WEATHER], tool_choice="none").forbidden == ()


def test_allowed_tools_are_all_shown() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TIME]}}
    made = plan(QWEN, tools=[WEATHER, TIME], tool_choice=choice)
    assert made.prompt.text == plan(QWEN, tools=[WEATHER, TIME]).prompt.text
    assert [tool.name for tool in made.tools] == ["time_of"]
    assert not any(
        isinstance(e, ToolCallStart) for e in made.reader().feed('<tool_call>{"name": "weather", "arguments"')
    )


def test_parallel_calls_are_those_that_the_template_can_show() -> None:
    assert plan(QWEN, tools=[WEATHER]).parallel
    assert not plan("meta-llama-Llama-3.1-8B-Instruct", tools=[WEATHER]).parallel
    assert plan("meta-llama-Llama-3.1-8B-Instruct", tools=[WEATHER], parallel_tool_calls=True).parallel
    assert not plan(QWEN, tools=[WEATHER], parallel_tool_calls=False).parallel
    assert simple(tools=[WEATHER]).parallel


def test_the_older_form() -> None:
    made = plan(QWEN, functions=[WEATHER["function"]], function_call={"name": "weather"})
    assert made.legacy
    choice = {"type": "function", "function": {"name": "weather"}}
    newer = plan(QWEN, tools=[WEATHER], tool_choice=choice)
    assert (made.prompt, made.grammar, made.tools) == (newer.prompt, newer.grammar, newer.tools)
    assert not plan(QWEN, tools=[WEATHER]).legacy


def test_a_template_without_tools_is_told_in_words() -> None:
    made = simple([SYSTEM, USER], tools=[WEATHER])
    assert made.format.name == "generic"
    begin, system, *_ = made.prompt.segments
    assert begin.text == "<system>"
    assert system.text.startswith("You are SYS.\n\nYou can call these functions:\n")
    assert json.dumps(WEATHER["function"], ensure_ascii=False) in system.text
    assert '{"name": <name of the function>' in system.text
    assert not system.special
    assert "Answer with a call." in simple(tools=[WEATHER], tool_choice="required").prompt.text
    named = simple(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "weather"}})
    assert "Answer with a call of weather." in named.prompt.text
    assert simple(tools=[WEATHER]).prompt.text.startswith("<system>You can call")


def test_calls_that_a_template_does_not_show_are_written_out() -> None:
    assert simple(CALLED).prompt.text == (
        '<user>the question<assistant>{"name": "weather", "arguments": {"city": "Bonn"}}'
        '<user>Result of weather:\n{"sky": "grey"}<assistant>'
    )
    more = [*CALLED, {"role": "tool", "content": "x"}, USER]
    assert simple(more).prompt.text.endswith('{"sky": "grey"}\n\nResult of the function:\nx\n\nthe question<assistant>')


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LFM2-8B-A1B", "<|tool_call_start|>[weather(city='Bonn')]<|tool_call_end|>"),
        ("ibm-granite-granite-3.3-2B-Instruct", '<|tool_call|>[{"name": "weather", "arguments": {"city": "Bonn"}}]'),
    ],
)
def test_calls_are_written_out_in_the_family_s_way(name: str, text: str) -> None:
    made = plan(name, CALLED, tools=[WEATHER])
    assert text in made.prompt.text
    outside = "".join(segment.text for segment in made.prompt.segments if not segment.special)
    assert "Bonn" in outside
    assert "<|tool_call" not in outside


def test_arguments_that_are_no_json_are_written_out_all_the_same() -> None:
    broken = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bo'}}
    messages = [USER, {"role": "assistant", "tool_calls": [broken]}, {"role": "tool", "content": "x"}]
    assert '{"name": "weather", "arguments": {"arguments": ' in simple(messages).prompt.text


def test_a_template_that_shows_calls_but_no_tools_gives_an_example() -> None:
    name = "deepseek-ai-DeepSeek-V3.1"
    text = plan(name, tools=[WEATHER]).prompt.text
    assert "A call is written like this:\n<\uff5ctool▁calls▁begin\uff5c>" in text
    marker = next(s for s in plan(name, tools=[WEATHER]).prompt.segments if "<\uff5ctool▁calls▁begin\uff5c>" in s.text)
    assert marker.special


def test_a_template_that_wants_every_parameter_described() -> None:
    name = "CohereForAI-c4ai-command-r-plus-tool_use"
    assert "city" in plan(name, tools=[WEATHER]).prompt.text
    raises = (
        "{{ tools|tojson }}{% if tools and tools[0].function.name == 'time_of' %}{{ raise_exception('no') }}{% endif %}"
    )
    with pytest.raises(TemplateError, match="no"):
        simple(template=raises, tools=[TIME])


def test_a_template_that_takes_tools_from_the_system_message() -> None:
    phi = (
        "{% for m in messages %}{% if m.role == 'system' and 'tools' in m and m['tools'] is not none %}"
        "{{ '<|system|>' + m.content + '<|tool|>' + m['tools'] + '<|/tool|>' + '<|end|>' }}"
        "{% else %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    )
    made = simple(template=phi, tools=[WEATHER])
    assert made.format.name == "phi"
    assert made.prompt.text.startswith("<|system|><|tool|>[")
    assert '"name": "weather"' in made.prompt.text
    assert simple([SYSTEM, USER], phi, tools=[WEATHER]).prompt.text.startswith("<|system|>You are SYS.<|tool|>[")
    assert "<|tool|>" not in simple(template=phi).prompt.text


# Thinking


def test_thinking_by_a_variable_of_the_template() -> None:
    assert plan(QWEN, enable_thinking=False).prompt.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    made = plan("deepseek-ai-DeepSeek-V3.1", enable_thinking=True)
    assert made.prompt.text.endswith("<think>")
    assert (made.opened, made.after) == ("<think>", ("</think>",))
    assert plan("deepseek-ai-DeepSeek-V3.1").prompt.text.endswith("<think></think>")
    assert plan("MiniMax-M3", enable_thinking=False).prompt.text.endswith("</mm:think>")
    assert plan("tencent-Hy3", enable_thinking=True).prompt.text.endswith("<think:opensource>")


def test_thinking_that_the_template_cannot_be_told() -> None:
    name = "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"
    assert plan(name).opened == "<think>\n"
    made = plan(name, enable_thinking=False)
    assert made.prompt.text.endswith("<\uff5cAssistant\uff5c><think>\n\n</think>\n\n")
    assert made.prompt.segments[-1].special
    made = plan("LFM2.5-8B-A1B", enable_thinking=False)
    assert made.prompt.text.endswith("<|im_start|>assistant\n<think></think>")


def test_chat_template_kwargs_count_too() -> None:
    made = plan(QWEN, chat_template_kwargs={"enable_thinking": False})
    assert made.prompt.text == plan(QWEN, enable_thinking=False).prompt.text
    with pytest.raises(InputError, match="contradict each other"):
        plan(QWEN, chat_template_kwargs={"enable_thinking": False}, enable_thinking=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"enable_thinking": True, "reasoning_effort": "none"}, "enable_thinking turns thinking on, reasoning_effort"),
        ({"enable_thinking": True, "reasoning_budget": 0}, "reasoning_budget turns thinking off"),
        ({"enable_thinking": False, "reasoning_effort": "high"}, "reasoning_effort turns thinking on"),
        ({"reasoning_effort": "none", "reasoning_budget": 5}, "contradict"),
    ],
)
def test_contradictions(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan(QWEN, **options)


@pytest.mark.parametrize(
    ("name", "effort", "text"),
    [
        ("openai-gpt-oss-120b", "high", "Reasoning: high"),
        ("openai-gpt-oss-120b", "none", "Reasoning: low"),
        ("openai-gpt-oss-120b", "max", "Reasoning: high"),
        ("tencent-Hy3", "low", "reasoning_effort:low"),
        ("tencent-Hy3", "medium", "reasoning_effort:high"),
        ("tencent-Hy3", "none", "reasoning_effort:no_think"),
        ("Kimi-K3", "medium", "high"),
        ("muse-glimmer", "low", "low"),
        (QWEN, "none", "<think>\n\n</think>"),
        (QWEN, "minimal", "<think>\n\n</think>"),
        ("poolside-Laguna-XS.2", "high", "<assistant>\n<think>"),
    ],
)
def test_effort(name: str, effort: str, text: str) -> None:
    assert text in plan(name, reasoning_effort=effort).prompt.text


def test_effort_where_only_on_and_off_are_known() -> None:
    assert plan(QWEN, reasoning_effort="high").prompt.text == plan(QWEN).prompt.text


def test_budgets() -> None:
    assert plan(QWEN).budget is None
    assert plan(QWEN, reasoning_budget=50).budget == 50
    off = plan(QWEN, reasoning_budget=0)
    assert off.budget is None
    assert off.prompt.text == plan(QWEN, enable_thinking=False).prompt.text
    seed = plan("ByteDance-Seed-OSS", reasoning_budget=512)
    assert seed.budget == 512
    assert "thinking budget, which is 512" in seed.prompt.text


def test_a_forced_answer_of_a_model_that_thinks_by_itself_is_opened_by_the_prompt() -> None:
    made = plan(QWEN, tools=[WEATHER], tool_choice="required")
    assert made.prompt.text.endswith("<|im_start|>assistant\n<think>\n")
    assert (made.opened, made.after) == ("<think>\n", ("</think>",))
    assert plan(QWEN, tools=[WEATHER]).opened == ""
    assert plan_chat(source_of(QWEN), [USER], forced=True).after == ("</think>",)
    assert plan_chat(source_of(QWEN), [USER], ChatParams(enable_thinking=False), forced=True).after == ()
    # These do not think unless told to.
    for name in ("ibm-granite-granite-3.3-2B-Instruct", "Apertus-8B-Instruct", "poolside-Laguna-XS.2"):
        assert plan(name, tools=[WEATHER], tool_choice="required").after == ()


def test_what_a_user_says_opens_no_reasoning() -> None:
    for text in ("what is <think>", "<think>", "<think>\n"):
        made = plan(QWEN, [{"role": "user", "content": text}])
        assert made.opened == ""
        bare = "{% for m in messages %}{{ m.content }}{% endfor %}{# <think></think> #}"
        assert simple([{"role": "user", "content": text}], bare).opened == ""


def test_where_reasoning_goes() -> None:
    name = "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"
    apart = plan(name).reader().feed("hm</think>yes")
    assert apart == [ReasoningDelta("hm"), TextDelta("yes")]
    inline = plan(name, reasoning_format="none").reader().feed("hm</think>yes")
    assert "".join(event.text for event in inline if isinstance(event, TextDelta)) == "<think>\nhm</think>yes"
    last = {"role": "assistant", "content": "", "reasoning_content": "well"}
    for shape in ("auto", "none"):
        going = plan(name, [USER, last], reasoning_format=shape).reader().feed(" hm</think>yes")
        assert "<think>" not in "".join(getattr(event, "text", "") for event in going)


# Templates


def test_named_templates() -> None:
    source = choose_source(
        None, "usual {{ messages[0].content }}", named={"tool_use": "{{ tools|tojson }}", "rag": "rag"}
    )

    def text(**options: Any) -> str:
        return plan_chat(source, [USER], ChatParams(**options)).prompt.text

    assert text() == "usual the question"
    assert "time_of" in text(tools=[TIME])
    assert text(chat_template="rag") == "rag"
    assert text(chat_template="{{ messages[0].role }}!") == "user!"
    assert text(chat_template="usual {{ 1 }}", tools=[TIME]) == "usual 1"
    with pytest.raises(InputError, match="'rga': no Jinja text, and no template of the model") as info:
        text(chat_template="rga")
    assert "rag, tool_use" in str(info.value)
    assert choose_source(None, None, named={"tool_use": "x"}).template.source == "x"
    assert choose_source("chatml", None, named={"tool_use": "x"}).name == "chatml"


def test_documents() -> None:
    shows = "{% for d in documents %}{{ d.title }}:{{ d.text }};{% endfor %}"
    assert simple(template=shows, documents=[{"title": "T", "text": "a"}, "b"]).prompt.text == "T:a;:b;"
    with pytest.raises(UnsupportedError, match="shows no documents"):
        simple(documents=["x"])
    assert simple(documents=[]).prompt.text
    for wrong in ("x", {"text": "x"}, 5, [5]):
        with pytest.raises(InputError) as info:
            simple(template=shows, documents=wrong)
        assert info.value.param == "documents"


def test_ids_are_as_the_template_wants_them() -> None:
    text = plan("mistralai-Mistral-Nemo-Instruct-2407", CALLED, tools=[WEATHER]).prompt.text
    assert "call_abcdefghijkl" not in text
    assert plan("mistralai-Mistral-Nemo-Instruct-2407", CALLED, tools=[WEATHER]).prompt.text == text
    shows = "{% for m in messages %}{{ m.tool_call_id }}{{ m.content }}{{ m.tool_calls|tojson if m.tool_calls }}"
    shown = simple(CALLED, shows + "{% endfor %}'tool'", tools=[WEATHER]).prompt.text
    assert shown.count("call_abcdefghijkl") == 2


@pytest.mark.parametrize("name", ["Qwen-Qwen3-0.6B", "meta-llama-Llama-3.1-8B-Instruct", "Kimi-K2-Instruct"])
def test_ten_thousand_messages(name: str) -> None:
    turns = [USER, {"role": "assistant", "content": "an answer"}] * 5_000
    made = plan(name, turns[:-1], tools=[WEATHER])
    assert made.prompt.text.count("the question") == 5_000


def test_nothing_is_imported_for_nothing() -> None:
    text = Path(plan_chat.__code__.co_filename).read_text(encoding="utf-8")
    assert "from llama_bind.core" not in text
    assert "from llama_bind.structured" not in text


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("openai-gpt-oss-120b", ("final<|message|>", "<|constrain|>json<|message|>")),
        ("Kimi-K3", ("<|open|>response<|sep|>",)),
        ("Qwen-Qwen3-0.6B", ()),
    ],
)
def test_formats_with_channels_say_what_stands_before_the_answer(name: str, answers: tuple[str, ...]) -> None:
    assert plan(name).answers == answers
