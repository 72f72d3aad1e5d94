"""Serves the remote page from a thread of its own, so that the line never waits for whoever looks."""

import asyncio
import ipaddress
import logging
import socket
import threading
from pathlib import Path

from realtime_polyp.operations.errors import OperationsError, require
from realtime_polyp.outputs.base import reason_of
from realtime_polyp.telemetry.board import Board
from realtime_polyp.telemetry.priority import lower_thread_priority

_CLIENTS = 32
_CONNECTIONS = 2 * _CLIENTS  # those beyond _CLIENTS are told that they are too many
_REQUEST_S = 5.0  # from the beginning of a connection to its first whole request, at most twice that
_SEND_BUFFER = 128 * 1024  # bytes: what waits for a slow client is old when it comes
_CLOSE_S = 3.0


class RemoteServer:
    """Answers until it is closed. port: 0 takes a free one. host: an address of this machine.

    token_file: None: the user's own; it is made where it is missing. blank: everything outside the field of view is
    black. Raises OperationsError where packages, port or token are not to be had.
    """

    def __init__(self, board: Board, port: int, *, host: str, token_file: Path | None, blank: bool) -> None:
        require("--remote", ("starlette", "uvicorn"), "remote")
        import uvicorn  # needs the extra, as does the page

        from realtime_polyp.remote.access import read_or_make_token, token_path
        from realtime_polyp.remote.connections import limited_protocol
        from realtime_polyp.remote.page import RemotePage

        self.token_file = token_file or token_path()
        self.token = read_or_make_token(self.token_file)
        self._socket = _listen(host, port)
        self.host, self.port = host, self._socket.getsockname()[1]
        self._board, self._blank = board, blank
        self._page = RemotePage(board, self.token)
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())  # standard error is for people
        config = uvicorn.Config(
            self._page.app(),
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http=limited_protocol(_CONNECTIONS, _REQUEST_S),
            ws="none",
            limit_concurrency=_CLIENTS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            server_header=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="remote page", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it."""
        return not is_loopback(self.host)

    def close(self) -> None:
        """End it; clients that are being served are cut off."""
        self._server.should_exit = True
        self._thread.join(_CLOSE_S)
        self._socket.close()

    def _run(self) -> None:
        lower_thread_priority()
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        from realtime_polyp.remote.page import Gallery

        self._page.gallery = gallery = Gallery(self._board, blank=self._blank)
        watching = asyncio.create_task(self._close_gallery(gallery))
        await self._server.serve(sockets=[self._socket])
        await watching
        await asyncio.to_thread(gallery.close_makers)

    async def _close_gallery(self, gallery: "object") -> None:
        """Endless answers end when the server is to: it would wait for them."""
        from realtime_polyp.remote.page import Gallery

        assert isinstance(gallery, Gallery)
        while not self._server.should_exit:
            await asyncio.sleep(0.1)
        gallery.close()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    """Raises OperationsError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise OperationsError(f"cannot serve the remote page on port {port} of {host}: {reason_of(error)}") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return listening
