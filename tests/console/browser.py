"""Drives Chromium by its DevTools protocol, over a pipe: no driver and no package is needed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.tools import require_program

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1200,900",
    "--remote-debugging-pipe",
)
TIMEOUT_SECONDS = 60


class Browser:
    """One page. `requests`: the addresses that it asked for; `messages`: what its console says."""

    def __init__(self, write_to: int, read_from: int) -> None:
        self._write_to, self._read_from = write_to, read_from
        self._buffer, self._number, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.messages: list[str] = []
        self._has_loaded = False
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, address: str) -> None:
        self._has_loaded = False
        self._call("Page.navigate", url=address)
        self._wait_for_load()

    def follow(self) -> None:
        """Follows the link that has the focus, by Enter."""
        self._has_loaded = False
        self.press("Enter", 13)
        self._wait_for_load()

    def _wait_for_load(self) -> None:
        while not self._has_loaded:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; a promise is awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **about)

    def screenshot(self) -> bytes:
        """The page as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot")["data"])

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def without_script(self, is_disabled: bool) -> None:
        self._call("Emulation.setScriptExecutionDisabled", value=is_disabled)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write_to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read_from, 1 << 16)
            assert part, "the browser has ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        match message:
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}:
                self.requests.append(url)
            case {"method": "Log.entryAdded", "params": {"entry": {"text": entry}}}:
                self.messages.append(entry)
            case {"method": "Page.loadEventFired"}:
                self._has_loaded = True
        return message


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser of its own, with an empty profile."""
    program = require_program("chromium")
    to_read, to_write = os.pipe(), os.pipe()

    def place() -> None:
        """Puts the pipes where Chromium expects them. 3 and 4 may be one of them already."""
        source, sink = os.dup2(to_write[0], 103), os.dup2(to_read[1], 104)
        os.dup2(source, 3)
        os.dup2(sink, 4)

    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}"],
        preexec_fn=place,
        pass_fds=(3, 4),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)},
    )
    try:
        os.close(to_write[0])
        os.close(to_read[1])
        yield Browser(to_write[1], to_read[0])
    finally:
        os.close(to_write[1])
        process.terminate()
        process.wait(TIMEOUT_SECONDS)
        os.close(to_read[0])
