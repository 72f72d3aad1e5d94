"""Serves metrics and health on loopback: `/metrics` for Prometheus, `/health` for a supervisor."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from realtime_polyp.operations.errors import OperationsError, require
from realtime_polyp.outputs.base import reason_of
from realtime_polyp.telemetry.board import Board
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.telemetry.summary import package_version

HOST = "127.0.0.1"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_CLIENT_LIMIT_S = 10.0
_CLOSE_S = 2.0

Page = Callable[[], tuple[int, str, bytes]]
"""Returns status code, content type and body."""


class OperationsServer:
    """Answers on a thread of its own, at low priority, until it is closed. port: 0 takes a free one.

    Raises OperationsError where the package or the port is not to be had.
    """

    def __init__(self, board: Board, port: int) -> None:
        require("--metrics", ("prometheus_client",), "metrics")
        from realtime_polyp.operations.metrics import open_registry, text_of  # needs the extra

        registry, began_s = open_registry(board), time.monotonic()
        pages: dict[str, Page] = {
            "/metrics": lambda: (200, _TEXT, text_of(registry)),
            "/health": lambda: _health(board, time.monotonic() - began_s),
        }
        try:
            self._server = _Server((HOST, port), _handler(pages))
        except (OSError, OverflowError) as error:
            reason = reason_of(error)
            raise OperationsError(f"cannot serve metrics on port {port} of {HOST}: {reason}") from error
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it answers, without a path."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_CLOSE_S)

    def _serve(self) -> None:
        lower_thread_priority()
        self._server.serve_forever(poll_interval=0.2)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away says nothing about the program."""


def health(board: Board, uptime_s: float) -> dict[str, Any]:
    """What /health answers, as JSON types. "bad": a stream shows nothing, or nothing of it is analysed."""
    statuses = board.snapshot()
    bad = any(one.condition.tone == "bad" for one in statuses)
    return {
        "status": "bad" if bad else "ok",
        "version": package_version(),
        "uptime_s": round(uptime_s, 1),
        "streams": [one.to_dict() for one in statuses],
    }


def _health(board: Board, uptime_s: float) -> tuple[int, str, bytes]:
    content = health(board, uptime_s)
    return 503 if content["status"] == "bad" else 200, "application/json", f"{json.dumps(content)}\n".encode()


def _handler(pages: dict[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_LIMIT_S
        server_version, sys_version = "realtime-polyp", ""

        def do_GET(self) -> None:
            if not _is_loopback(self.headers.get("Host", "")):  # a name of elsewhere that leads here
                self._answer(403, "text/plain", b"ask for localhost\n")
                return
            page = pages.get(self.path.partition("?")[0])
            self._answer(*(page() if page else (404, "text/plain", b"/metrics and /health are here\n")))

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Standard error is for people."""

    return Handler


def _is_loopback(host: str) -> bool:
    name = host if host.startswith("[") and host.endswith("]") else host.rpartition(":")[0] or host
    return name.lower() in _LOOPBACK_NAMES
