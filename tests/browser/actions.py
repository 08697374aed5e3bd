"""What a person does on the chat page, in few words. Not for: what is expected then."""

from __future__ import annotations

import json
from typing import Any

from tests.browser.chromium import Page

__all__ = ["LAST", "done", "kept", "open_settings", "send", "shown"]

LAST = ".message:last-child"
RUNNING = "document.body.classList.contains('running')"


def send(page: Page, text: str, *, wait: bool = True) -> None:
    """Write a message and press Enter; `wait` until the answer is complete."""
    before = page.count(".message")
    page.fill("#input", text)
    page.press("Enter")
    page.until(f"document.querySelectorAll('.message').length === {before + 2}")
    if wait:
        done(page)


def done(page: Page) -> None:
    """Wait until no answer is coming."""
    page.until(f"!{RUNNING} && !document.querySelector('[aria-busy]')")


def shown(page: Page) -> list[list[str]]:
    """Role and text of each message."""
    found: list[list[str]] = page.evaluate(
        "[...document.querySelectorAll('.message')].map(m => [m.classList[1], m.querySelector('.body').innerText])"
    )
    return found


def kept(page: Page) -> list[dict[str, Any]]:
    """The conversations in the browser's storage."""
    found: list[dict[str, Any]] = page.evaluate(
        "Object.keys(localStorage).filter(k => k.startsWith('llama_bind.chat.')).map(k => JSON.parse(localStorage[k]))"
    )
    return found


def open_settings(page: Page, **values: str) -> None:
    """Open the settings, fill fields in, and close them."""
    page.click("#gear")
    for name, value in values.items():
        page.fill(f"[name={json.dumps(name)}]", value)
    page.click("#fields button.main")
    page.until("!document.querySelector('dialog[open]')")
