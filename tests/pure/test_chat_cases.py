"""The reader of llama.cpp's cases about answers: nothing in the source is passed over unseen."""

from __future__ import annotations

from collections import Counter

from tests.vectors.chat_cases import CHAT_CASES, chains, chat_cases


def test_every_chain_is_read_but_the_one_that_is_commented_out() -> None:
    lines = CHAT_CASES.read_text(encoding="utf-8").splitlines()
    missing = set(chains()) - {case.line for case in chat_cases()}
    assert len(chains()) == 426
    assert [lines[line - 1].strip() for line in sorted(missing)] == [
        "// tst.test(\"<think>I'm\\nthinking</think><response>Hello, world!\\nWhat's up?</response>\")"
    ]


def test_loops_make_a_case_for_each_template() -> None:
    cases = chat_cases()
    assert len({case.name for case in cases}) == len(cases) == 463
    templates = Counter(case.template for case in cases)
    assert len(templates) == 58
    assert templates["LFM2-8B-A1B"] == templates["LFM2.5-Instruct"] == 16
    assert all(case.source for case in cases)


def test_what_a_chain_says() -> None:
    by_line = {case.line: case for case in chat_cases()}
    lines = CHAT_CASES.read_text(encoding="utf-8").splitlines()
    at = {lines[line - 1].strip(): case for line, case in by_line.items()}
    case = at['tst.test("[TOOL_CALLS]special_function[CALL_ID]123456789[ARGS]{\\"arg1\\": 1}")']
    assert case.template == "Mistral-Small-3.2-24B-Instruct-2506"
    assert case.text == '[TOOL_CALLS]special_function[CALL_ID]123456789[ARGS]{"arg1": 1}'
    assert case.calls == (("special_function", '{"arg1":1}', "123456789"),)
    assert [tool["function"]["name"] for tool in case.tools] == ["special_function"]
    assert case.tools[0]["function"]["parameters"]["required"] == ["arg1"]
    assert (case.content, case.reasoning, case.partial, case.reasoning_format) == ("", "", False, "none")
    joined = at['tst.test(get_time_call + "<|role_end|>")']
    assert joined.text.startswith("<tool_call>get_time\n<arg_key>")
    assert joined.text.endswith("</tool_call><|role_end|>")


def test_conversations_and_options_are_read() -> None:
    cases = chat_cases()
    assert Counter(case.continues for case in cases).keys() == {"none", "content", "reasoning"}
    assert Counter(case.reasoning_format for case in cases).keys() == {"none", "auto", "deepseek"}
    assert {case.tool_choice for case in cases} == {"auto", "required"}
    assert sum(case.partial for case in cases) > 5
    assert any(case.schema for case in cases)
    continued = [case for case in cases if case.continues == "content"]
    assert all(
        case.messages[-1]["content"] == "Hello, " for case in continued if case.template != "inclusionai-ling-3.0-flash"
    )
    assert any(message.get("tool_calls") for case in cases for message in case.messages)
    assert any(
        message["role"] == "tool" and message["tool_call_id"] == "call_todos"
        for case in cases
        for message in case.messages
    )
