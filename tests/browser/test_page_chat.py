"""Talking on the chat page: sending, streams, stopping, again, editing, settings, tools, errors."""

from __future__ import annotations

import time

import pytest

from llama_bind.errors import ContextOverflowError, EngineCrashedError, QueueFullError
from tests.browser.actions import LAST, done, kept, open_settings, send, shown
from tests.browser.backend import Backend, Gate, saying
from tests.browser.chromium import Chromium, Page
from tests.servers import app_of, listening


def test_it_loads_and_greets(page: Page) -> None:
    assert page.text("#greeting") == "Ask tiny"
    assert page.evaluate("document.activeElement.id") == "input"
    assert page.evaluate("document.querySelector('#send').disabled") is True
    assert page.evaluate("document.querySelector('#server').hidden") is True


def test_a_model_answers(browser: Chromium) -> None:
    """The whole way, with a model that computes."""
    with listening(app_of(max_tokens=6, temperature=0)) as port, browser.page() as page:
        page.goto(f"http://127.0.0.1:{port}/")
        page.until("document.querySelector('#model').value")
        send(page, "Hello")
        assert page.text(f"{LAST} .counts").startswith("6 tokens · ")
        first = shown(page)
        assert first[0] == ["user", "Hello"]
        assert page.text(f"{LAST} .state") == "Cut at the most tokens that were asked for."
        page.click(f"{LAST} [title='Answer again']")
        done(page)
        assert shown(page) == first, "greedy"
        page.click(f"{LAST} [title='Go on']")
        done(page)
        assert shown(page)[1][1].startswith(first[1][1])
        assert page.text("#meter").endswith("of 256 tokens")
        assert page.trouble == []


def test_an_answer_is_shown_while_it_comes(page: Page, server: Backend) -> None:
    gate, end = Gate(), Gate()
    server.answers = [saying("Some **bold", gate, " text**\n\n```py\nx = 1", end, "\n```\n- a\n- b\n")]
    send(page, "go", wait=False)
    page.until(f"document.querySelector('{LAST} .body strong')?.innerText === 'bold'")
    assert page.evaluate(f"document.querySelector('{LAST}').getAttribute('aria-busy')") == "true"
    gate.open()
    page.until(f"document.querySelector('{LAST} pre')?.innerText === 'x = 1'")
    assert page.text(f"{LAST} strong") == "bold text"
    end.open()
    done(page)
    assert page.count(f"{LAST} li") == 2
    assert page.text(f"{LAST} .counts") == "7 tokens · 41.3 tokens/s · first after " + page.text(f"{LAST} .counts")[39:]
    assert "prompt of 30 tokens, 12 of them known; seed 4711" in page.evaluate(
        f"document.querySelector('{LAST} .counts').title"
    )
    assert page.evaluate(f"document.querySelector('{LAST} .t-n').innerText") == "1"
    assert page.text("#said") == "The answer is complete: 7 tokens."


@pytest.mark.parametrize("how", ["button", "key"])
def test_stopping_ends_the_request_and_keeps_what_came(page: Page, server: Backend, how: str) -> None:
    server.answers = [saying("Half of", Gate())]
    send(page, "go", wait=False)
    page.says(f"{LAST} .body", "Half of")
    page.click("#send") if how == "button" else page.press("Escape")
    done(page)
    for _ in range(200):
        if server.left:
            break
        time.sleep(0.02)
    assert server.left == 1
    assert shown(page)[-1] == ["assistant", "Half of"]
    assert page.text(f"{LAST} .state") == "Stopped."
    assert kept(page)[0]["messages"][1]["finish"] == "stopped"
    server.answers = [saying(" it.")]
    page.click(f"{LAST} [title='Go on']")
    done(page)
    assert shown(page)[-1] == ["assistant", "Half of it."]
    assert [m["role"] for m in server.asked[-1]["messages"]] == ["user", "assistant"]


def test_an_answer_again(page: Page, server: Backend) -> None:
    server.answers = [saying("One"), saying("Two"), saying("Other"), saying("Three")]
    send(page, "a")
    send(page, "b")
    page.click(f"{LAST} [title='Answer again']")
    page.says(f"{LAST} .body", "Other")
    assert shown(page) == [["user", "a"], ["assistant", "One"], ["user", "b"], ["assistant", "Other"]]
    page.click(".message:nth-child(2) [title='Answer again']")
    page.says(f"{LAST} .body", "Three")
    assert shown(page) == [["user", "a"], ["assistant", "Three"]], "what followed is gone"
    assert server.asked[-1]["messages"] == [{"role": "user", "content": "a"}]


def test_a_message_is_edited_and_sent_again(page: Page, server: Backend) -> None:
    send(page, "first")
    send(page, "second")
    page.press("ArrowUp")
    page.fill(".edit textarea", "changed")
    page.press("Escape")
    assert shown(page)[2] == ["user", "second"], "Escape leaves it as it was"
    page.click(".message:nth-child(1) [title=Edit]")
    page.fill(".edit textarea", "other")
    server.answers = [saying("Now.")]
    page.press("Enter")
    page.says(f"{LAST} .body", "Now.")
    assert shown(page) == [["user", "other"], ["assistant", "Now."]]
    page.click(f"{LAST} [title=Edit]")
    page.fill(".edit textarea", "**Mine**")
    page.click(".edit .main")
    assert page.text(f"{LAST} strong") == "Mine"
    send(page, "and?")
    assert server.asked[-1]["messages"][1] == {"role": "assistant", "content": "**Mine**"}


def test_settings_reach_the_model(page: Page, server: Backend) -> None:
    open_settings(
        page, system="Be brief.", temperature="0.25", top_p="0.9", top_k="20", min_p="0.1", max_tokens="99", seed="7",
        more='{"stop": ["x"], "cache_salt": "s"}',
    )  # fmt: skip
    send(page, "Hi")
    asked = server.asked[0]
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    wanted = {
        "temperature": 0.25, "top_p": 0.9, "top_k": 20, "min_p": 0.1, "max_tokens": 99, "seed": 7, "stop": ["x"],
        "cache_salt": "s", "model": "tiny", "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert {name: asked[name] for name in wanted} == wanted
    page.press("Ctrl+k")
    page.click("#gear")
    assert page.evaluate("document.querySelector('#o-seed').value") == "7", "new conversations begin with them"
    page.click("#reset")
    page.press("Escape")
    page.until("!document.querySelector('dialog[open]')")
    send(page, "Hi")
    assert not {*server.asked[1]} & {"temperature", "seed", "stop"}
    assert server.asked[1]["messages"] == [{"role": "user", "content": "Hi"}]


def test_a_setting_that_cannot_be_is_told_and_not_sent(page: Page, server: Backend) -> None:
    page.click("#gear")
    page.until("document.querySelector('#o-temperature').placeholder === '0.8'")
    page.fill("#o-top_p", "3")
    page.says("#problem", "Top p must be a number from 0 to 1.")
    page.fill("#o-top_p", "")
    page.fill("#o-more", "{oops")
    page.says("#problem", "not JSON")
    page.press("Escape")
    send(page, "Hi")
    page.says(f"{LAST} .fault", "Further fields are not JSON")
    assert server.asked == []


def test_thoughts_and_tool_calls_are_shown_and_results_sent(page: Page, server: Backend) -> None:
    gate = Gate()

    def call(index: int, **function: str) -> dict[str, object]:
        return {"tool_calls": [{"index": index, "id": f"c{index}", "function": function}]}

    server.answers = [
        saying(
            {"reasoning_content": "Let me "},
            {"reasoning_content": "see."},
            gate,
            "I look.",
            call(0, name="look", arguments=""),
            call(0, arguments='{"at": '),
            call(0, arguments='"sky"}'),
            reason="tool_calls",
        ),
        saying("Blue."),
    ]
    send(page, "go", wait=False)
    page.says(f"{LAST} .thoughts", "Let me see.")
    gate.open()
    done(page)
    assert page.evaluate(f"document.querySelector('{LAST} .fold').open") is False, "thoughts are folded when text comes"
    assert page.text(f"{LAST} .calls summary") == "Tool call look"
    assert page.text(f"{LAST} .calls pre") == '{\n  "at": "sky"\n}'
    page.fill(f"{LAST} .results textarea", "It is blue")
    page.click(f"{LAST} .results button")
    page.says(f"{LAST} .body", "Blue.")
    assert [role for role, _ in shown(page)] == ["user", "assistant", "tool", "assistant"]
    sent = server.asked[-1]["messages"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "sky"}'}
    assert sent[1]["reasoning_content"] == "Let me see."
    assert sent[2] == {"role": "tool", "tool_call_id": "c0", "content": "It is blue"}


def test_a_busy_server_is_asked_again(page: Page, server: Backend) -> None:
    server.answers = [saying(QueueFullError(1)), saying(EngineCrashedError(-11)), saying("At last.")]
    send(page, "go", wait=False)
    page.says(f"{LAST} .state", "Trying again in")
    page.says(f"{LAST} .body", "At last.")
    done(page)
    assert len(server.asked) == 3
    assert page.count(".fault") == 0
    assert [line for line in page.trouble if "429" in line or "503" in line] == page.trouble
    page.trouble.clear()  # the console tells of each


def test_waiting_for_a_busy_server_can_be_stopped(page: Page, server: Backend) -> None:
    server.default = saying(QueueFullError(1))
    try:
        send(page, "go", wait=False)
        page.says(f"{LAST} .state", "Trying again in")
        page.press("Escape")
        done(page)
        assert page.text(f"{LAST} .state") == "Stopped."
    finally:
        server.default = saying("Fine.")
        page.trouble.clear()


def test_errors_are_told_and_may_be_tried_again(page: Page, server: Backend) -> None:
    server.answers = [
        saying(ContextOverflowError(900, 256)),
        saying("Half", EngineCrashedError(-11)),
        saying("Whole."),
    ]
    send(page, "go")
    assert "256" in page.text(f"{LAST} .fault span")
    page.click(f"{LAST} .fault button")
    page.says(f"{LAST} .fault", "The engine ended while it ran this request")
    assert page.text(f"{LAST} .body") == "Half", "what came before it stays"
    page.click(f"{LAST} .fault button")
    page.says(f"{LAST} .body", "Whole.")
    assert page.count(".fault") == 0
    page.trouble.clear()


def test_a_server_that_is_gone_is_waited_for(page: Page) -> None:
    page.call("Network.enable")
    gone = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", offline=True, **gone)
    page.until("fetch('health', {cache: 'no-store'}).then(() => false, () => true)")
    send(page, "go")
    page.says(f"{LAST} .fault", "The server does not answer.")
    page.says("#server", "The server does not answer.")
    page.call("Network.emulateNetworkConditions", offline=False, **gone)
    page.until("document.querySelector('#server').hidden")
    page.click(f"{LAST} .fault button")
    page.says(f"{LAST} .body", "Fine.")
    page.trouble.clear()


def test_a_server_that_loads_shows_how_far_it_is(browser: Chromium, server: Backend) -> None:
    server.health = (503, b'{"status": "loading model", "progress": 0.4}')
    with browser.page() as page:
        page.goto(server.url)
        page.says("#server", "The model is being loaded")
        assert page.evaluate("document.querySelector('#progress').value") == 0.4
        server.health = (503, b'{"status": "error"}')
        page.says("#server", "could not be loaded")
        server.health = None
        page.until("document.querySelector('#server').hidden && document.querySelector('#model').value === 'tiny'")


def test_a_long_answer_stays_quick(page: Page, server: Backend) -> None:
    """Drawing must not begin anew with every piece: 6,000 of them, 300 KB, with a code block of 2,000 lines."""
    prose = [f"Paragraph {i} has **bold** words and `code {i}`.\n\n" for i in range(2000)]
    code = ["```py\n", *(f"value_{i} = compute({i})  # note\n" for i in range(2000)), "```\n"]
    items = [f"- item {i}\n" for i in range(2000)]
    server.answers = [saying(*prose, *code, *items)]
    page.evaluate("window.longest = 0; new PerformanceObserver(l => { for (const e of l.getEntries()) "
                  "longest = Math.max(longest, e.duration) }).observe({type: 'longtask'})")  # fmt: skip
    send(page, "go")
    assert page.count(f"{LAST} .body > p") == 2000
    assert page.count(f"{LAST} li") == 2000
    lines = page.evaluate(f"document.querySelector('{LAST} pre').textContent.split('\\n').length")
    assert lines == 2000
    print("longest task:", page.evaluate("longest"), "ms")
    assert page.evaluate("longest") < 3000, "the page did not react for that long"
