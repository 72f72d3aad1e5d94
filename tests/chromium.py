"""A headless Chromium that tests drive through its debugging pipe: no driver, no port."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_LIMIT_S = 60.0


class Chromium:
    """One page. profile: a folder for what the browser keeps."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM
        browser_reads, self._writes = os.pipe()
        self._reads, browser_writes = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        flags += [f"--user-data-dir={profile}", "--window-size=1400,800", "--disable-dev-shm-usage", "about:blank"]
        shell = f'exec "$0" "$@" 3<&{browser_reads} 4>&{browser_writes}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, PROGRAM, *flags],
            pass_fds=[browser_reads, browser_writes],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(browser_reads)
        os.close(browser_writes)
        self._number, self._said, self._session = 0, b"", ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, address: str) -> None:
        self._call("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str, within_s: float = _LIMIT_S) -> None:
        until_s = time.monotonic() + within_s
        while not self.evaluate(expression):
            assert time.monotonic() < until_s, f"not true within {within_s:g} s: {expression}"
            time.sleep(0.1)

    def screenshot(self) -> bytes:
        return base64.b64decode(self._call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._writes)
        os.close(self._reads)

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        until_s = time.monotonic() + _LIMIT_S
        while True:
            head, mark, rest = self._said.partition(b"\0")
            if mark:
                self._said = rest
                answer = json.loads(head)
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer
                    result: dict[str, Any] = answer["result"]
                    return result
                continue
            assert select.select([self._reads], [], [], max(0.0, until_s - time.monotonic()))[0], f"no answer: {method}"
            part = os.read(self._reads, 1 << 20)
            assert part, "Chromium has ended"
            self._said += part
