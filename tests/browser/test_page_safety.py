"""What others write stays text on the chat page: models, stored conversations, errors, names; and keys stay private."""

from __future__ import annotations

import json
from typing import Any

from llama_bind.errors import InputError
from tests.browser.actions import LAST, done, send, shown
from tests.browser.backend import Backend, backend, saying
from tests.browser.chromium import Chromium, Page

EVIL = (
    "<img src=x onerror=hacked=1>",
    "<script>hacked=1</script>",
    "<svg onload=hacked=1><style>*{display:none}</style>",
    "[click](javascript:hacked=1) [data](data:text/html,<script>hacked=1</script>)",
    '[q](https://a.example "onclick=hacked=1") https://a.example/"onmouseover=hacked=1',
    '```"><img src=x onerror=hacked=1>\n</code></pre><script>hacked=1</script>\n```',
    "| <iframe srcdoc='<script>parent.hacked=1</script>'> |\n|---|\n| <b onclick=hacked=1>b</b> |",
)
ALL = "\n\n".join(EVIL)
MARKUP = ":is(img, script, style, iframe, object, form:not(.results), b:not(.fold b))"
HARMLESS = f"!window.hacked && !document.querySelector('#log {MARKUP}')"


def check(page: Page) -> None:
    assert page.evaluate(HARMLESS) is True
    assert page.evaluate(
        "[...document.querySelectorAll('#log *')].every(e => [...e.attributes].every(a => !a.name.startsWith('on')))"
    )
    assert (
        page.evaluate("[...document.querySelectorAll('#log a')].every(a => /^https?:/.test(a.href) && a.rel)") is True
    )


def test_a_models_markup_stays_text(page: Page, server: Backend) -> None:
    call = {"index": 0, "id": EVIL[0], "function": {"name": EVIL[1], "arguments": EVIL[0]}}
    server.answers = [saying({"reasoning_content": ALL}, *ALL, {"tool_calls": [call]}, reason="tool_calls")]
    send(page, ALL)
    check(page)
    for text in ("<img src=x onerror=hacked=1>", "<script>hacked=1</script>", "[click](javascript:hacked=1)"):
        assert text in shown(page)[1][1]
    assert shown(page)[0] == ["user", ALL]
    assert page.text("#chats .title") == EVIL[0]
    assert page.text(f"{LAST} .calls b") == EVIL[1]
    page.reload()
    check(page)


def test_an_errors_words_stay_text(page: Page, server: Backend) -> None:
    server.answers = [saying(InputError(ALL))]
    send(page, "go")
    assert EVIL[0] in page.text(f"{LAST} .fault")
    check(page)
    page.trouble.clear()


def test_what_is_stored_is_not_trusted(page: Page, server: Backend) -> None:
    message: dict[str, Any] = {
        "role": "assistant", "content": ALL, "reasoning": EVIL[0], "model": EVIL[1], "finish": "<b>", "error": EVIL[0],
        "calls": [{"id": 1, "name": EVIL[0], "arguments": {"a": 1}}], "stats": {"predicted": EVIL[0], "rate": None},
    }  # fmt: skip
    messages = [{"role": "user", "content": ALL}, message, {"role": "tool", "name": EVIL[0], "content": ALL}]
    chats: dict[str, Any] = {
        "a": {"id": "a", "title": EVIL[0], "updated": 3, "messages": messages,
              "options": {"system": EVIL[0], "temperature": 5}},
        "b": {"id": "b", "title": "no messages", "messages": "x"},
        "c": {"id": "c", "messages": [{"role": "evil"}]},
        "d": ["a list"],
        "__proto__": {"messages": [{"role": "user", "content": 5}]},
    }  # fmt: skip
    for name, chat in chats.items():
        page.evaluate(f"localStorage['llama_bind.chat.{name}'] = {json.dumps(json.dumps(chat))}")
    page.evaluate("localStorage['llama_bind.chat.e'] = '{broken'")
    page.evaluate("localStorage['llama_bind.options'] = '[1]'; localStorage['llama_bind.theme'] = '{\"x\": 1}'")
    page.reload()
    page.click("#chats li:first-child .title")
    page.click("#chats li:last-child .title")
    page.until("document.querySelectorAll('.message').length")
    check(page)
    assert page.evaluate("localStorage['llama_bind.chat.e']") == "{broken", "what cannot be read is left alone"
    send(page, "go on")
    assert server.asked[-1]["messages"][0] == {"role": "system", "content": EVIL[0]}
    check(page)


def test_the_policy_holds_against_the_page_itself(page: Page) -> None:
    """Were there a mistake in the page, text would still not become markup, and nothing would be fetched."""
    assert (
        page.evaluate("(() => { try { document.body.innerHTML = '<b>x</b>' } catch (e) { return e.name } })()")
        == "TypeError"
    )
    page.evaluate(
        "void document.body.append(Object.assign(document.createElement('img'), {src: 'https://a.example/x.png'}))"
    )
    page.evaluate("document.body.setAttribute('style', 'display: none')")
    page.until("document.body.querySelector('body > img') !== null")
    assert page.evaluate("getComputedStyle(document.body).display") == "flex"
    for _ in range(100):
        if len(page.trouble) >= 2:
            break
        page.evaluate("new Promise(r => setTimeout(r, 20))")
    assert any("img-src" in line for line in page.trouble)
    page.trouble.clear()


def test_a_key_is_asked_for_and_stays_in_the_tab(browser: Chromium) -> None:
    with backend(api_key=["secret"]) as server, browser.page() as page:
        page.goto(server.url)
        page.says("#key[open]", "This server asks for a key")
        page.fill("#key-field", "wrong")
        page.press("Enter")
        page.says("#keyproblem", "The API key is wrong.")
        page.fill("#key-field", "secret")
        page.press("Enter")
        page.until("!document.querySelector('dialog[open]') && document.querySelector('#model').value === 'tiny'")
        send(page, "Hi")
        assert shown(page)[-1] == ["assistant", "Fine."]
        assert "secret" not in page.evaluate("JSON.stringify(localStorage)")
        page.reload()
        page.until("document.querySelector('#model').value === 'tiny'")
        other = Page(browser, page.context)
        other.goto(server.url)
        other.says("#key[open]", "This server asks for a key")
        other.press("Escape")
        other.until("!document.querySelector('dialog[open]')")
        send(other, "Hi", wait=False)
        other.says("#key[open]", "This server asks for a key")
        other.fill("#key-field", "secret")
        other.press("Enter")
        done(other)
        assert shown(other)[-1] == ["assistant", "Fine."], "the message that met the question is answered"
