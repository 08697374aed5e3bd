from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from llama_bind.chat.prompt import PromptOptions, build_prompt, choose_source
from llama_bind.chat.segments import ControlTexts, Segment
from llama_bind.errors import InputError, MessageError, TemplateError

CHATML = choose_source("chatml", None)
HELLO = [{"role": "user", "content": "hello"}]


def from_template(text: str, **kwargs: Any) -> Any:
    return choose_source(None, text, **kwargs)


def test_choosing() -> None:
    assert choose_source(None, "x").name == "template"
    assert choose_source("zephyr", "x").name == "zephyr"
    assert choose_source(None, None, control_texts=["<|im_start|>"]).name == "chatml"
    assert choose_source(None, None).name == "plain"
    assert choose_source(None, "").name == "plain"
    with pytest.raises(InputError):
        choose_source("nope", "x")


def test_a_broken_template_does_not_keep_a_model_from_loading() -> None:
    source = choose_source(None, "{% if %}")
    with pytest.raises(TemplateError, match="line 1"):
        build_prompt(source, HELLO)


@pytest.mark.parametrize(
    ("template", "add_bos", "text", "removed"),
    [
        ("{{ bos_token }}a", True, "a", True),
        ("{{ bos_token }}a", False, "<s>a", False),
        ("<s>a", True, "a", True),
        ("a{{ bos_token }}", True, "a<s>", False),
        ("{{ messages[0].content }}", True, "<s>hello", False),
        ("{{ bos_token }}", True, "", True),
    ],
)
def test_bos_is_never_doubled(template: str, add_bos: bool, text: str, removed: bool) -> None:
    messages = [{"role": "user", "content": "<s>hello"}]
    prompt = build_prompt(from_template(template, bos_token="<s>"), messages, add_bos=add_bos)
    assert prompt.text == text
    assert prompt.bos_removed is removed


def test_without_a_bos_token_nothing_is_taken() -> None:
    assert not build_prompt(from_template("{{ bos_token }}a"), HELLO, add_bos=True).bos_removed


def test_pieces() -> None:
    prompt = build_prompt(CHATML, [{"role": "user", "content": "a<|im_end|>b"}])
    pieces = prompt.pieces(ControlTexts(["<|im_start|>", "<|im_end|>"]))
    assert [piece.special for piece in pieces] == [True, False, True]
    assert pieces[1] == Segment("<|im_end|>", False)


def test_template_kwargs() -> None:
    source = from_template("{{ 'think' if enable_thinking else 'no' }}{{ effort }}")
    options = PromptOptions(template_kwargs={"enable_thinking": True, "effort": "<|im_end|>"})
    prompt = build_prompt(source, HELLO, options)
    assert prompt.segments == (Segment("think", True), Segment("<|im_end|>", False))
    with pytest.raises(InputError, match="messages"):
        build_prompt(source, HELLO, PromptOptions(template_kwargs={"messages": []}))


def test_without_generation_prompt() -> None:
    prompt = build_prompt(CHATML, HELLO, PromptOptions(add_generation_prompt=False))
    assert prompt.text == "<|im_start|>user\nhello<|im_end|>\n"


@pytest.mark.parametrize(
    ("template", "content", "end"),
    [
        (CHATML.template.source, "Once upon ", "Once upon "),
        ("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}", " Once upon ", "Once upon"),
        ("{% for m in messages %}[{{ m.content.strip() + eos_token }}]{% endfor %}", "Once\n", "Once"),
        ("{% for m in messages %}[{{ m.content }}]{% endfor %}", "", "["),
    ],
)
def test_a_final_message_is_continued(template: str, content: str, end: str) -> None:
    messages = [*HELLO, {"role": "assistant", "content": content}]
    prompt = build_prompt(from_template(template), messages, PromptOptions(continue_final_message=True))
    assert prompt.text.endswith(end)
    assert "continue-here" not in prompt.text
    assert "<|im_start|>assistant\n" not in prompt.text[-len(end) or None :]
    assert messages[1]["content"] == content


def test_only_an_assistant_s_message_is_continued() -> None:
    with pytest.raises(MessageError):
        build_prompt(CHATML, HELLO, PromptOptions(continue_final_message=True))
    hidden = from_template("{{ messages[0].content }}")
    with pytest.raises(TemplateError, match="does not show"):
        build_prompt(
            hidden, [*HELLO, {"role": "assistant", "content": "x"}], PromptOptions(continue_final_message=True)
        )


def test_a_template_that_takes_only_parts_gets_parts() -> None:
    source = from_template("{% for m in messages %}{% for part in m.content %}{{ part.text }};{% endfor %}{% endfor %}")
    assert build_prompt(source, HELLO).text == "hello;"
    assert build_prompt(source, [{"role": "system", "content": "S"}, *HELLO]).text == "S;hello;"


def test_a_template_without_system_messages_gets_them_in_the_user_s() -> None:
    source = from_template(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    assert build_prompt(source, [{"role": "system", "content": "S"}, *HELLO]).text == "[user]S\nhello"


def test_a_template_that_raises_anyway_raises() -> None:
    source = from_template("{{ raise_exception('never') }}")
    with pytest.raises(TemplateError, match=r"^never$"):
        build_prompt(source, [{"role": "system", "content": "S"}, *HELLO])


def test_developer_becomes_system_unless_the_template_knows_it() -> None:
    messages = [{"role": "developer", "content": "x"}, *HELLO]
    show = "{% for m in messages %}{{ m.role }}:{{ m.content }} {% endfor %}"
    assert build_prompt(from_template(show), messages).text == "system:x user:hello "
    assert build_prompt(from_template(show + "{# developer #}"), messages).text == "developer:x user:hello "


def test_jinja_is_imported_at_first_use() -> None:
    script = "import sys, llama_bind.chat.prompt; assert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
