"""TensorBoard as a person starts it, and its answers as their browser gets them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 120


class Server:
    """A TensorBoard that listens on a port of this machine."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/data/"

    def ask(self, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Any:
        """Give the answer: JSON, or the bytes of an image."""
        url = f"{self.address}{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            content = answer.read()
        return json.loads(content) if answer.headers.get_content_type() == "application/json" else content

    def wait(self, path: str, enough: Callable[[Any], Any]) -> Any:
        """Ask again and again until the answer is enough: files are loaded after the server has begun."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.ask(path)
            except OSError:
                answer = None
            if answer is not None and enough(answer):
                return answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)


@contextmanager
def tensorboard(folder: Path) -> Iterator[Server]:
    """Start a TensorBoard on a folder of runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            yield Server(port)
        finally:
            process.send_signal(signal.SIGTERM)
