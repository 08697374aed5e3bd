"""Keyboard, colours, small screens and names of controls on the chat page."""

from __future__ import annotations

from tests.browser.actions import LAST, done, send, shown
from tests.browser.backend import Backend, Gate, saying
from tests.browser.chromium import Chromium, Page

BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_keys(page: Page, server: Backend) -> None:
    page.type("one")
    page.press("Shift+Enter")
    page.type("two")
    assert page.evaluate("document.querySelector('#input').value") == "one\ntwo"
    assert page.count(".message") == 0
    page.press("Enter")
    page.until("document.querySelectorAll('.message').length === 2")
    done(page)
    assert server.asked[0]["messages"][0]["content"] == "one\ntwo"
    page.press("Ctrl+k")
    assert page.count(".message") == 0
    assert page.evaluate("document.activeElement.id") == "input"
    page.press("Enter")
    page.type("   ")
    page.press("Enter")
    assert page.count(".message") == 0, "nothing is not sent"
    page.press("ArrowUp")
    assert page.count(".edit") == 0


def test_dark_and_light(page: Page) -> None:
    light = page.evaluate(BACKGROUND)
    page.prefer(dark=True)
    dark = page.evaluate(BACKGROUND)
    assert dark != light
    page.click("#theme")  # from the system's to dark, light, the system's
    page.prefer(dark=False)
    assert page.evaluate(BACKGROUND) == dark
    page.reload()
    assert page.evaluate(BACKGROUND) == dark, "the choice is kept"
    page.call("Network.enable")
    page.call("Network.setBlockedURLs", urls=["*/app.js"])
    page.reload()
    assert page.evaluate(BACKGROUND) == dark, "before the page's own script has run: no flash of the other colours"
    page.call("Network.setBlockedURLs", urls=[])
    page.reload()
    page.trouble.clear()
    page.click("#theme")
    page.prefer(dark=True)
    assert page.evaluate(BACKGROUND) == light
    page.click("#theme")
    assert page.evaluate(BACKGROUND) == dark


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_can_be_read_in_both(page: Page, server: Backend) -> None:
    """WCAG AA: a contrast of 4.5."""
    server.answers = [
        saying({"reasoning_content": "x"}, "a [l](https://a.example)\n\n> q\n\n```js\nlet f = g(1, 's') // c\n```")
    ]
    send(page, "go")
    fronts = {
        "body": ("body", ".counts", ".body a", "blockquote", "#foot"),
        ".code": (".bar", ".t-c", ".t-k", ".t-s", ".t-n", ".t-f"),
        ".user .body": (".user .body",),
        "#new": ("#new", "#new kbd"),
        "#side": ("#export", ".brand"),
    }
    pairs = [(front, back) for back, found in fronts.items() for front in found]
    for dark in (False, True):
        page.prefer(dark=dark)
        for front, back in pairs:
            one = page.evaluate(f"getComputedStyle(document.querySelector({front!r})).color")
            other = page.evaluate(f"getComputedStyle(document.querySelector({back!r})).backgroundColor")
            low, high = sorted((luminance(one), luminance(other)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, "dark" if dark else "light", one, other)


def test_every_control_has_a_name(page: Page, server: Backend) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "look", "arguments": "{}"}}
    server.answers = [
        saying(
            {"reasoning_content": "hm"},
            "```py\n1\n```\n\n| a |\n|---|\n| b |",
            {"tool_calls": [call]},
            reason="tool_calls",
        )
    ]
    send(page, "go")
    page.click(".user [title=Edit]")
    for opened in ("", "#gear"):
        if opened:
            page.click(opened)
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = {
            "button",
            "textbox",
            "combobox",
            "spinbutton",
            "link",
            "dialog",
            "navigation",
            "log",
            "article",
            "searchbox",
        }
        named = [
            (n["role"]["value"], n.get("name", {}).get("value")) for n in nodes if not n["ignored"] and "role" in n
        ]
        controls = [(role, name) for role, name in named if role in roles]
        assert len(controls) > 9
        assert [role for role, name in controls if not name] == []


def test_a_phone(browser: Chromium, server: Backend) -> None:
    wide = "| " + " | ".join("a long heading" for _ in range(9)) + " |\n" + "|---" * 9 + "|\n"
    server.answers = [saying(f"{'x' * 300} text\n\n```\n{'y' * 300}\n```\n\n{wide}\n")]
    with browser.page(width=390, height=844, phone=True) as page:
        page.goto(server.url)
        page.until("document.querySelector('#model').value === 'tiny'")
        send(page, "z" * 200)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than the screen"
        assert page.evaluate(
            "[...document.querySelectorAll('.body')].every(e => e.getBoundingClientRect().right <= 390)"
        )
        assert page.evaluate("getComputedStyle(document.querySelector('#side')).visibility") == "hidden"
        page.click("#menu")
        page.until("document.querySelector('#side').getBoundingClientRect().left === 0")
        page.click("#chats .title")
        page.until("getComputedStyle(document.querySelector('#side')).visibility === 'hidden'")
        page.click("#gear")
        assert page.evaluate("document.querySelector('#settings').getBoundingClientRect().width") == 390
        assert page.trouble == []


def test_the_end_stays_in_sight_unless_one_scrolls_away(page: Page, server: Backend) -> None:
    gate, end = Gate(), Gate()
    lines = [f"line {i}\n\n" for i in range(80)]
    server.answers = [saying(*lines, gate, *lines, end, "last")]
    send(page, "go", wait=False)
    at_end = "(e => e.scrollHeight - e.scrollTop - e.clientHeight < 60)(document.querySelector('#scroll'))"
    page.says(f"{LAST} .body", "line 79")
    page.until(at_end)
    page.evaluate("document.querySelector('#scroll').scrollTop = 100")
    page.until("!document.querySelector('#down').hidden")
    gate.open()
    page.until(f"document.querySelectorAll('{LAST} .body p').length === 160")
    assert page.evaluate("document.querySelector('#scroll').scrollTop") == 100
    page.click("#down")
    page.until(at_end)
    end.open()
    page.says(f"{LAST} .body", "last")
    page.until(at_end)
    assert shown(page)[-1][1].endswith("last")


def test_text_can_be_copied(page: Page, browser: Chromium, server: Backend) -> None:
    browser.call(
        "Browser.grantPermissions",
        permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        browserContextId=page.context,
    )
    server.answers = [saying("text\n\n```py\nx = 1\n\ny = 2\n```\n")]
    send(page, "go")
    page.click(f"{LAST} .bar button")
    page.says("#notes", "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "x = 1\n\ny = 2"
    page.click(f"{LAST} footer [title=Copy]")
    page.until("navigator.clipboard.readText().then(t => t.startsWith('text'))")
