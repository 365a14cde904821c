"""Headless Chromium, spoken to through chromedriver's own protocol (W3C WebDriver, JSON over HTTP)."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
)
PATIENCE = 60.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window of Chromium."""

    def __init__(self, port: int, profile: Path, *, dark: bool = False) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        flags = [*FLAGS, f"--user-data-dir={profile}"]
        capabilities = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._session = ""
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{answer['sessionId']}"
        self.emulate(dark=dark)

    def open(self, page: Path) -> None:
        """Load a file, and wait until its scripts are done."""
        self.logged("browser"), self.logged("performance")
        self._call("POST", "/url", {"url": page.resolve().as_uri()})
        self.wait("return document.documentElement.dataset.ready === 'yes'")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and return what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str) -> Any:
        """Run a script until it returns something true."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.run(script)
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"never true: {script}; console: {self.logged('browser')}")
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click an element as a person would: it must be visible and not covered."""
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def point(self, x: float, y: float, *, press: bool = False) -> None:
        """Move the mouse to a place in the window, and click there if asked."""
        moves = [
            {"type": "pointerMove", "duration": 0, "x": round(x) - 9, "y": round(y) - 9},
            {"type": "pointerMove", "duration": 60, "x": round(x), "y": round(y)},
        ]
        presses = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}] if press else []
        mouse = {
            "type": "pointer",
            "id": "mouse",
            "parameters": {"pointerType": "mouse"},
            "actions": moves + presses,
        }
        self._call("POST", "/actions", {"actions": [mouse]})

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """Return what was logged since this was asked last: `browser` is the console."""
        entries: list[dict[str, Any]] = self._call("POST", "/se/log", {"type": kind})
        return entries

    def requested(self) -> list[str]:
        """Return the addresses that pages have asked for since this was asked last."""
        messages = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def emulate(self, *, dark: bool = False, width: int = 1280, height: int = 1000) -> None:
        """Set what the page is told of the person's taste, and the window's size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what the window shows, or the whole page, as a PNG."""
        answer = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": whole, "format": "png"})
        path.write_bytes(base64.b64decode(answer["data"]))

    def printed(self) -> bytes:
        """Return the page as a PDF."""
        return base64.b64decode(self._devtools("Page.printToPDF", {"printBackground": True})["data"])

    def close(self) -> None:
        """Close the window."""
        self._call("DELETE", "", None)

    def _find(self, selector: str) -> str:
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _devtools(self, command: str, parameters: Mapping[str, Any]) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, f"{self._session}{path}", text, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        value = json.loads(response.read())["value"]
        if response.status != 200:
            raise AssertionError(f"{path}: {value.get('message', value)}")
        return value


@contextmanager
def browsing() -> Iterator[Browser]:
    """Start chromedriver and a window of its own; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="browser-") as folder:
        log = Path(folder) / "driver.log"
        with log.open("wb") as output:
            driver = subprocess.Popen([DRIVER or "chromedriver", "--port=0"], stdout=output, stderr=output)
        try:
            browser = Browser(_port(log, driver), Path(folder) / "profile")
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
            driver.wait(timeout=PATIENCE)


def _port(log: Path, driver: subprocess.Popen[bytes]) -> int:
    """Return the port that chromedriver says it has chosen."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and driver.poll() is None:
        for line in log.read_text(errors="replace").splitlines():
            if "started successfully on port" in line:
                return int(line.rpartition(" ")[2].rstrip("."))
        time.sleep(0.02)
    raise AssertionError(f"chromedriver did not start: {log.read_text(errors='replace')}")
