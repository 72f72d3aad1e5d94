"""The connections of the remote page: few are open, and none stays open without a request.

uvicorn limits the requests at a time only. Whoever opens connections and sends nothing would keep everybody else out,
and take the files that a recording needs.
"""

from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def limited_protocol(most: int, request_s: float) -> type[H11Protocol]:
    """Return a protocol for uvicorn. A connection beyond `most` is closed at once, and one that brings no whole request
    is closed after `request_s` to twice that."""

    class LimitedProtocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
                return
            self.loop.call_later(request_s, self._check, None)

        def _check(self, before: object) -> None:
            """Look again every `request_s`. before: the request of the look before."""
            if self.transport.is_closing():
                return
            cycle = self.cycle
            at_work = cycle is not None and not cycle.more_body and not cycle.response_complete
            if not at_work and cycle is before:
                self.transport.abort()
                return
            self.loop.call_later(request_s, self._check, cycle)

    return LimitedProtocol
