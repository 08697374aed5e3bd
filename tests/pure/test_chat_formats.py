from __future__ import annotations

import pytest

from llama_bind.chat.formats import DEFAULT_FORMAT, FORMATS, get_format
from llama_bind.chat.prompt import build_prompt, choose_source
from llama_bind.errors import InputError

MESSAGES = [
    {"role": "system", "content": "Sys."},
    {"role": "user", "content": "One"},
    {"role": "assistant", "content": "Two"},
    {"role": "user", "content": "Three"},
]
TABLE = {
    "alpaca": "Sys.\n\n### Instruction:\nOne\n\n### Response:\nTwo\n\n### Instruction:\nThree\n\n### Response:\n",
    "baichuan": "Sys.<reserved_102>One<reserved_103>Two<reserved_102>Three<reserved_103>",
    "baichuan-2": "Sys.<reserved_106>One<reserved_107>Two<reserved_106>Three<reserved_107>",
    "chatglm3": "<|system|>\n Sys.<|user|>\n One<|assistant|>\n Two<|user|>\n Three<|assistant|>",
    "chatml": "<|im_start|>system\nSys.<|im_end|>\n<|im_start|>user\nOne<|im_end|>\n"
    "<|im_start|>assistant\nTwo<|im_end|>\n<|im_start|>user\nThree<|im_end|>\n<|im_start|>assistant\n",
    "gemma": "<s><start_of_turn>user\nSys.\n\nOne<end_of_turn>\n<start_of_turn>model\nTwo<end_of_turn>\n"
    "<start_of_turn>user\nThree<end_of_turn>\n<start_of_turn>model\n",
    "intel": "### System:\nSys.\n### User:\nOne\n### Assistant:\nTwo\n### User:\nThree\n### Assistant:\n",
    "llama-2": "<s>[INST] <<SYS>>\nSys.\n<</SYS>>\n\nOne [/INST] Two </s><s>[INST] Three [/INST]",
    "llama-3": "<s><|start_header_id|>system<|end_header_id|>\n\nSys.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nOne<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nTwo<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nThree<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral-instruct": "<s>[INST] Sys.\n\nOne [/INST] Two</s>[INST] Three [/INST]",
    "mistrallite": "<|system|>Sys.</s><|prompter|>One</s><|assistant|>Two</s><|prompter|>Three</s><|assistant|>",
    "oasst_llama": "<|system|>Sys.</s><|prompter|>One</s><|assistant|>Two</s><|prompter|>Three</s><|assistant|>",
    "open-orca": "Sys.<|end_of_turn|>\nUser: One<|end_of_turn|>\nAssistant: Two<|end_of_turn|>\n"
    "User: Three<|end_of_turn|>\nAssistant:",
    "openbuddy": "Sys.\n\nUser: One\nAssistant: Two\nUser: Three\nAssistant:",
    "openchat": "<s>Sys.<|end_of_turn|>GPT4 Correct User: One<|end_of_turn|>GPT4 Correct Assistant: Two<|end_of_turn|>"
    "GPT4 Correct User: Three<|end_of_turn|>GPT4 Correct Assistant:",
    "phind": "### System Prompt\nSys.\n\n### User Message\nOne\n\n### Assistant\nTwo\n\n### User Message\nThree\n\n"
    "### Assistant\n",
    "plain": "Sys.\n\nUser: One\nAssistant: Two\nUser: Three\nAssistant:",
    "pygmalion": "<|system|>Sys.<|user|>One<|model|>Two<|user|>Three<|model|>",
    "qwen": "<|im_start|>system\nSys.<|im_end|>\n<|im_start|>user\nOne<|im_end|>\n"
    "<|im_start|>assistant\nTwo<|im_end|>\n<|im_start|>user\nThree<|im_end|>\n<|im_start|>assistant\n",
    "redpajama-incite": "Sys.\n\n<human>: One\n<bot>: Two\n<human>: Three\n<bot>:",
    "saiga": "<s>system\nSys.</s><s>user\nOne</s><s>bot\nTwo</s><s>user\nThree</s><s>bot\n",
    "snoozy": "### Instruction:\nSys.\n### Prompt:\nOne\n### Response:\nTwo\n### Prompt:\nThree\n### Response:\n",
    "vicuna": "<s>Sys. USER: One ASSISTANT: Two</s>USER: Three ASSISTANT:",
    "zephyr": "<|system|>\nSys.</s>\n<|user|>\nOne</s>\n<|assistant|>\nTwo</s>\n<|user|>\nThree</s>\n<|assistant|>\n",
}


def test_the_table_has_every_format() -> None:
    assert sorted(TABLE) == list(FORMATS)
    assert DEFAULT_FORMAT in FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_prompts(name: str) -> None:
    prompt = build_prompt(choose_source(name, None, bos_token="<s>", eos_token="</s>"), MESSAGES)
    assert prompt.text == TABLE[name]
    assert prompt.stop == get_format(name).stop
    assert [segment.text for segment in prompt.segments if not segment.special] == ["Sys.", "One", "Two", "Three"]


@pytest.mark.parametrize("name", FORMATS)
def test_no_prompt_holds_its_own_stop_strings_at_its_end(name: str) -> None:
    prompt = build_prompt(choose_source(name, None, bos_token="<s>", eos_token="</s>"), MESSAGES[1:2])
    assert "One" in prompt.text
    assert not any(prompt.text.endswith(stop) for stop in prompt.stop)


@pytest.mark.parametrize(
    ("name", "words"), [("qwen", "helpful"), ("phind", "programming"), ("vicuna", "curious"), ("alpaca", "task")]
)
def test_default_system_messages(name: str, words: str) -> None:
    source = choose_source(name, None)
    assert words in build_prompt(source, MESSAGES[1:2]).text
    assert words not in build_prompt(source, MESSAGES).text


@pytest.mark.parametrize("name", ["gemma", "llama-2", "mistral-instruct"])
def test_a_system_message_without_a_user_s_is_not_lost(name: str) -> None:
    source = choose_source(name, None, bos_token="<s>", eos_token="</s>")
    assert build_prompt(source, MESSAGES[:1]).text.count("Sys.") == 1
    assert build_prompt(source, [MESSAGES[0], MESSAGES[2]]).text.count("Sys.") == 1


def test_tool_results_are_a_user_s_turn() -> None:
    source = choose_source("chatml", None)
    assert "<|im_start|>user\n42<|im_end|>" in build_prompt(source, [{"role": "tool", "content": "42"}]).text


@pytest.mark.parametrize(("name", "near"), [("lama-2", "llama-2"), ("chat-ml", "chatml"), ("Zephyr", "zephyr")])
def test_an_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"did you mean '{near}'") as info:
        get_format(name)
    assert info.value.param == "chat_format"
