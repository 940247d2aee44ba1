"""A real Chromium without a window, driven by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import aiohttp
from support.waiting import wait_until

START_S = 30
ANSWER_S = 30
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip


def chromium() -> str | None:
    """Give the program, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page in a browser of its own, which is killed at the end of the block.

    complaints: what the page wrote to the console, was refused or failed at.
    requests: every address that was asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Start it; folder is for its profile, and must be empty."""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            [chromium() or "chromium", *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        port = folder / "DevToolsActivePort"
        try:
            wait_until(lambda: port.exists() and port.read_text().count("\n"), "port", START_S)
            self._loop.run_until_complete(self._connect(port.read_text().split()[0]))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if hasattr(self, "_session"):
            self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.kill()
        self._process.wait()

    def open(self, path: Path) -> None:
        """Show a file, and wait until it is there as a whole."""
        self.tell("Page.navigate", url=path.absolute().as_uri())
        self.ask("new Promise(go => document.readyState == 'complete' ? go() : onload = go)")

    def resize(self, width: int, height: int) -> None:
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Prefer light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.tell("Emulation.setEmulatedMedia", features=[feature])

    def press_tab(self) -> None:
        for kind in ("keyDown", "keyUp"):
            self.tell("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)

    def screenshot(self, path: Path) -> None:
        """Write all of the page as PNG."""
        taken = self.tell("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def ask(self, expression: str) -> Any:
        """Give the value of an expression of JavaScript."""
        answer = self.tell(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol, and give its result."""
        return self._loop.run_until_complete(
            asyncio.wait_for(self._tell(method, parameters), ANSWER_S)
        )

    async def _connect(self, port: str) -> None:
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            [page] = [one for one in await answer.json() if one["type"] == "page"]
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._tell(f"{domain}.enable", {})

    async def _tell(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        match message["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(str(message["params"]))
