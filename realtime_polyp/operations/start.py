"""Starts what was asked for, and closes it with the program."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_polyp.console import EXIT_FAILED
from realtime_polyp.messages import printable
from realtime_polyp.telemetry.board import Board

if TYPE_CHECKING:
    from realtime_polyp.remote.server import RemoteServer


@dataclass(frozen=True)
class OperationsConfig:
    """What watches the program; None: not that.

    Attributes:
        metrics: port of metrics and health on loopback; 0: a free one.
        log: file of JSON lines.
        remote: port of the remote page; 0: a free one. remote_host: the address that it listens on.
        remote_token: file with its token; None: the user's own.
        blank_outside: leave everything outside the field of view out of the remote page's picture.
    """

    metrics: int | None = None
    log: Path | None = None
    remote: int | None = None
    remote_host: str = "127.0.0.1"
    remote_token: Path | None = None
    blank_outside: bool = True


class Operations:
    """The board, and the exit code that the log will name. code: set before the end."""

    def __init__(self) -> None:
        self.board = Board()
        self.code = EXIT_FAILED


@contextmanager
def open_operations(config: OperationsConfig) -> Iterator[Operations]:
    """Start everything, and close it at the end of the block. Raises OperationsError, with nothing left open."""
    operations = Operations()
    with ExitStack() as stack:
        if config.metrics is not None:
            from realtime_polyp.operations.pages import OperationsServer  # what nobody asked for is not imported

            server = OperationsServer(operations.board, config.metrics)
            stack.callback(server.close)
            say(f"metrics at {server.address}/metrics, health at {server.address}/health")
        if config.log is not None:
            from realtime_polyp.operations.event_log import EventLog
            from realtime_polyp.operations.watch import LogWriter

            writer = LogWriter(operations.board, EventLog(config.log))
            stack.callback(lambda: writer.close(operations.code))
        if config.remote is not None:
            stack.callback(_open_remote(config, operations.board).close)
        yield operations


def _open_remote(config: OperationsConfig, board: Board) -> "RemoteServer":
    from realtime_polyp.remote.server import RemoteServer

    assert config.remote is not None
    where = {"host": config.remote_host, "token_file": config.remote_token}
    server = RemoteServer(board, config.remote, **where, blank=config.blank_outside)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        say(f"remote page at {server.address}?token={server.token}")
    else:  # a file or a journal, which others may read
        say(f"remote page at {server.address}; its token is in {printable(server.token_file)}")
    if server.is_open:
        say("the remote page is open to the network, and its picture is not encrypted")
    return server


def say(text: str) -> None:
    """On standard error, which holds nothing of the results."""
    print(f"realtime-polyp: {text}", file=sys.stderr)
