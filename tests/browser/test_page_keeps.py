"""What the chat page keeps in the browser: conversations, settings, drafts; and what it does with files."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.browser.actions import LAST, done, kept, send, shown
from tests.browser.backend import Backend, Gate, saying
from tests.browser.chromium import Chromium, Page

TITLES = "[...document.querySelectorAll('#chats .title')].map(e => e.innerText)"


def test_conversations_survive_a_reload(page: Page, server: Backend) -> None:
    server.answers = [saying({"reasoning_content": "hm"}, "# One\n\n- a")]
    send(page, "First question\nwith two lines")
    page.press("Ctrl+k")
    send(page, "Second")
    page.fill("#input", "a draft")
    before = shown(page)
    page.reload()
    assert shown(page) == before == [["user", "Second"], ["assistant", "Fine."]]
    assert page.evaluate("document.querySelector('#input').value") == "a draft"
    assert page.evaluate(TITLES) == ["Second", "First question"]
    assert page.evaluate("document.querySelector('#chats [aria-current]').innerText") == "Second"
    page.click("#chats li:nth-child(2) .title")
    assert shown(page)[0] == ["user", "First question\nwith two lines"]
    assert page.text(f"{LAST} h1") == "One"
    assert page.text(f"{LAST} .fold summary") == "Thoughts"
    assert page.text(f"{LAST} .counts").startswith("7 tokens")


def test_another_tab_begins_anew_and_sees_the_same_list(page: Page, browser: Chromium, server: Backend) -> None:
    send(page, "Mine")
    other = Page(browser, page.context)
    other.goto(server.url)
    assert other.evaluate(TITLES) == ["Mine"]
    assert other.count(".message") == 0
    send(other, "Theirs")
    page.until(f"{TITLES}.length === 2")
    other.click("#chats li:nth-child(2) .title")
    send(other, "more")
    page.until("document.querySelectorAll('.message').length === 4")
    assert other.trouble == []


def test_rename_delete_and_undo(page: Page) -> None:
    send(page, "A")
    page.click("#chats .title ~ [title=Rename]")
    page.fill("#chats input", "Better name")
    page.press("Enter")
    assert page.evaluate(TITLES) == ["Better name"]
    assert page.evaluate("document.title") == "Better name · llama_bind"
    page.click("#chats [title=Rename]")
    page.fill("#chats input", "no")
    page.press("Escape")
    assert page.evaluate(TITLES) == ["Better name"]
    page.click("#chats [title=Delete]")
    page.until("document.querySelectorAll('#chats li').length === 0")
    assert kept(page) == []
    assert page.count(".message") == 0
    page.click(".note button")
    page.until("document.querySelectorAll('.message').length === 2")
    assert kept(page)[0]["title"] == "Better name"


def test_export_and_import(page: Page, browser: Chromium, tmp_path: Path, server: Backend) -> None:
    browser.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), browserContextId=page.context
    )
    server.answers = [saying("An **answer**.")]
    send(page, "Tell: me / this")
    page.click("#chats [title=Export]")
    file = tmp_path / "Tell-me-this.json"
    for _ in range(500):
        if file.exists() and file.stat().st_size:
            break
        time.sleep(0.02)
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert [m["content"] for m in saved["conversations"][0]["messages"]] == ["Tell: me / this", "An **answer**."]
    with browser.page() as other:
        other.goto(server.url)
        for text, count in (("nothing", 0), (file.read_text(), 1)):
            (tmp_path / "in.json").write_text(text)
            root = other.call("DOM.getDocument")["root"]["nodeId"]
            field = other.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
            other.call("DOM.setFileInputFiles", files=[str(tmp_path / "in.json")], nodeId=field)
            other.until(f"document.querySelectorAll('#chats li').length === {count}")
            if not count:
                other.says("#notes", "holds no conversations")
        other.click("#chats .title")
        assert other.text(f"{LAST} strong") == "answer"


def test_answers_go_on_while_another_conversation_is_read(page: Page, server: Backend) -> None:
    gate = Gate()
    server.answers = [saying("Begun", gate, " and ended.")]
    send(page, "slow", wait=False)
    page.says(f"{LAST} .body", "Begun")
    page.press("Ctrl+k")
    send(page, "quick")
    assert shown(page)[-1] == ["assistant", "Fine."]
    page.click("#chats li:nth-child(2) .title")
    page.says(f"{LAST} .body", "Begun")
    assert page.evaluate("document.body.classList.contains('running')") is True
    gate.open()
    done(page)
    assert shown(page)[-1] == ["assistant", "Begun and ended."]


def test_what_came_before_the_page_was_left_is_kept(page: Page, server: Backend) -> None:
    server.answers = [saying("Half", Gate())]
    send(page, "go", wait=False)
    page.says(f"{LAST} .body", "Half")
    page.reload()
    assert shown(page)[-1] == ["assistant", "Half"]
    page.says(f"{LAST} .state", "The page was left")


def test_a_full_storage_is_told(page: Page) -> None:
    page.evaluate("localStorage.filler = 'x'.repeat(5 * 2 ** 20 - 200 - JSON.stringify(localStorage).length)")
    send(page, "y" * 2000)
    page.says("#notes", "storage is full")
    assert shown(page)[-1] == ["assistant", "Fine."]
