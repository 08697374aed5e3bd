"""Chromium without a window, driven over a pipe by its DevTools protocol: no driver, no port, no library.

Not for: other browsers.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import scripts.browser

__all__ = ["Chromium", "Page", "chromium"]

FLAGS = (
    "--headless", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--mute-audio", "--password-store=basic", "--force-color-profile=srgb", "about:blank",
)  # fmt: skip
# The browser reads commands from descriptor 3 and writes to 4.
LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
WAIT = 30.0
"""Seconds for anything that is waited for."""
KEYS: Mapping[str, tuple[str, int, str]] = {
    "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "ArrowUp": ("ArrowUp", 38, ""), "Tab": ("Tab", 9, ""),
    "k": ("KeyK", 75, "k"),
}  # fmt: skip
MODIFIERS = {"Alt": 1, "Ctrl": 2, "Meta": 4, "Shift": 8}


class Chromium:
    """One browser."""

    def __init__(self, program: str, profile: Path) -> None:
        into, commands = os.pipe()
        answers, out = os.pipe()
        # Above what the child's own descriptors are moved to.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (into, out)]
        flags = [*FLAGS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        command = [sys.executable, "-S", "-c", LAUNCH, *map(str, ends), program, *flags]
        self._process = subprocess.Popen(
            command, pass_fds=ends, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (into, out, *ends):
            os.close(end)
        self._commands, self._answers = commands, answers
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self.pages: dict[str, Page] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of one command."""
        number = next(self._numbers)
        answer = self._waiting[number] = queue.SimpleQueue()
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        try:
            told = answer.get(timeout=WAIT)
        except queue.Empty:
            raise TimeoutError(f"the browser did not answer {method}; it ended with {self._process.poll()}") from None
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']['message']}")
        result: dict[str, Any] = told["result"]
        return result

    def _read(self) -> None:
        buffer = b""
        while part := os.read(self._answers, 1 << 16):
            *messages, buffer = (buffer + part).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._waiting.pop(message["id"]).put(message)
                elif (page := self.pages.get(message.get("sessionId", ""))) is not None:
                    page.heard(message["method"], message["params"])

    @contextmanager
    def page(self, *, width: int = 1280, height: int = 800, dark: bool = False, phone: bool = False) -> Iterator[Page]:
        """A page with a storage of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        try:
            page = Page(self, context)
            page.size(width, height, phone=phone)
            page.prefer(dark=dark)
            yield page
        finally:
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        """End it."""
        self._waiting[0] = queue.SimpleQueue()
        os.write(self._commands, b'{"id": 0, "method": "Browser.close"}\0')
        try:
            self._process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(WAIT)
        for end in (self._commands, self._answers):
            os.close(end)


class Page:
    """One page. `trouble`: what the console said of errors, exceptions and violations of the page's policy."""

    def __init__(self, browser: Chromium, context: str) -> None:
        self._browser = browser
        self.context = context
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.trouble: list[str] = []
        self._loads = 0
        browser.pages[self._session] = self
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one command for this page."""
        return self._browser.call(method, self._session, **params)

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """An event of the page."""
        if method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            self.trouble.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.trouble.append(str([arg.get("description", arg.get("value")) for arg in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.trouble.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """The window's size in CSS pixels."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, *, dark: bool) -> None:
        """The colours that the system asks for."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def goto(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self._leave("Page.navigate", url=url)

    def reload(self) -> None:
        """Load the page again."""
        self._leave("Page.reload")

    def _leave(self, method: str, **params: Any) -> None:
        before = self._loads
        self.call(method, **params)
        _wait(lambda: self._loads > before, f"{method} {params}")

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript, promises awaited."""
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(told["exceptionDetails"]["exception"].get("description", "an exception"))
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until JavaScript gives something true, and return it."""
        return _wait(lambda: self.evaluate(expression), expression)

    def text(self, selector: str) -> str:
        """What an element shows."""
        found: str = self.until(f"document.querySelector({json.dumps(selector)}) && {{t: {_text(selector)}}}")["t"]
        return found

    def says(self, selector: str, words: str) -> None:
        """Wait until an element shows words."""
        self.until(f"{_text(selector)}?.includes({json.dumps(words)})")

    def count(self, selector: str) -> int:
        """How many elements there are."""
        found: int = self.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")
        return found

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element, which must be what is seen there."""
        name = json.dumps(selector)
        place = self.until(
            f"(() => {{ const e = document.querySelector({name}); if (!e) return null;"
            " e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            " const [x, y] = [r.x + r.width / 2, r.y + r.height / 2]; const hit = document.elementFromPoint(x, y);"
            " return r.width && e.contains(hit) && !e.disabled ? [x, y] : null; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **button)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, keys: str) -> None:
        """Press a key, such as ``Enter`` or ``Ctrl+k``."""
        *held, key = keys.split("+")
        code, number, text = KEYS[key]
        modifiers = sum(MODIFIERS[name] for name in held)
        base = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        typed = {"text": text} if text and not modifiers & ~MODIFIERS["Shift"] else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if typed else "rawKeyDown", **base, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **base)

    def fill(self, selector: str, text: str) -> None:
        """Replace what is in a field."""
        name = json.dumps(selector)
        self.until(f"(() => {{ const e = document.querySelector({name}); e?.focus(); e?.select(); return !!e; }})()")
        if text:
            self.type(text)
        else:
            self.evaluate(f"document.querySelector({name}).value = ''")
            self.evaluate(f"document.querySelector({name}).dispatchEvent(new Event('input', {{bubbles: true}}))")

    def screenshot(self, path: Path) -> None:
        """Save what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def _text(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})?.innerText"


def _wait(found: Any, what: str) -> Any:
    end = time.monotonic() + WAIT
    while not (value := found()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {WAIT:.0f} s for {what}")
        time.sleep(0.02)
    return value


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """A browser while the block runs."""
    found = scripts.browser.chromium()
    assert found is not None, "Chromium is needed to try the chat page: `make browser` installs Debian's"
    browser = Chromium(found, profile)
    try:
        yield browser
    finally:
        browser.close()
