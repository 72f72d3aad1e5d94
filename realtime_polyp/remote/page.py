"""The remote page as an ASGI application: who has the token sees the picture, states, polyps and delays.

Every route reads. All of it runs on the server's thread; pictures come from `PictureMaker`s.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from realtime_polyp.outputs.sharing import CAPTION
from realtime_polyp.remote.access import is_token
from realtime_polyp.remote.pictures import Picture, PictureMaker
from realtime_polyp.telemetry.board import Board, Status, recent_delays
from realtime_polyp.telemetry.histogram import DELAY_PERCENTS

COOKIE = "realtime_polyp_token"
POLL_S = 1.0
"""How long a request for the next picture waits for one, s."""

_WRONG_TOKEN_S = 0.5
_COOKIE_S = 12 * 3600
_FORM_LIMIT = 4096
_DELAYS_S = 10.0  # delays on the page are those of the last seconds
_STATUS_S = 0.8
_BOUNDARY = "picture"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' blob:; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FILES = {"page.js": "text/javascript", "page.css": "text/css"}
Answer = Callable[[Request], Awaitable[Response]]


class Gallery:
    """The newest picture of each stream. Used on the server's thread; `publish` may be called from any."""

    def __init__(self, board: Board, *, blank: bool) -> None:
        self._board, self._blank = board, blank
        self._makers: dict[str, PictureMaker] = {}
        self._newest: dict[str, Picture] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.closed = False

    async def next_picture(self, name: str, after: int, within_s: float) -> Picture | None:
        """The newest picture of a stream, as soon as its number is not `after`; None: there was none in time."""
        self._maker(name).want()
        until_s = self._loop.time() + within_s
        while not self.closed:
            newest = self._newest.get(name)
            if newest and newest.number != after:
                return newest
            left_s = until_s - self._loop.time()
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except TimeoutError:
                return None
        return None

    def close(self) -> None:
        """On the server's thread: nobody waits any more."""
        self.closed = True
        self._changed.set()

    def close_makers(self) -> None:
        """On any thread, once the server has ended."""
        for maker in self._makers.values():
            maker.close()

    def _maker(self, name: str) -> PictureMaker:
        if name not in self._makers:
            self._makers[name] = PictureMaker(
                self._board.stream(name), lambda picture: self._publish(name, picture), blank=self._blank
            )
        return self._makers[name]

    def _publish(self, name: str, picture: Picture | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, name, picture)

    def _take(self, name: str, picture: Picture | None) -> None:
        if picture is None:
            self._newest.pop(name, None)
            return
        self._newest[name] = picture
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class RemotePage:
    """The routes. gallery: set before the first request, by the server's thread."""

    def __init__(self, board: Board, token: str) -> None:
        self.gallery: Gallery | None = None
        self._board, self._token = board, token
        self._earlier: deque[tuple[float, tuple[Status, ...]]] = deque()

    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/", self._page),
            Route("/enter", self._enter, methods=["POST"]),
            Route("/status", self._guarded(self._status)),
            Route("/picture.jpg", self._guarded(self._picture)),
            Route("/stream.mjpeg", self._guarded(self._stream)),
            *(Route(f"/{name}", _file_route(name, kind)) for name, kind in _FILES.items()),
        ]
        return Starlette(routes=routes)

    # Access

    def _is_allowed(self, request: Request) -> bool:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return is_token(request.cookies.get(COOKIE, ""), self._token) or is_token(bearer, self._token)

    def _guarded(self, answer: Answer) -> Answer:
        async def guarded(request: Request) -> Response:
            if not self._is_allowed(request):
                await asyncio.sleep(_WRONG_TOKEN_S)
                return _with_headers(JSONResponse({"error": "the token is missing or wrong"}, 401))
            return _with_headers(await answer(request))

        return guarded

    async def _page(self, request: Request) -> Response:
        """The page; with ?token= it is remembered and leaves the address, which browsers keep."""
        if (given := request.query_params.get("token")) is not None:
            return await self._let_in(given)
        if self._is_allowed(request):
            return _with_headers(_html(_static("page.html").replace("NOTICE", CAPTION)))
        return _with_headers(_html(_static("enter.html"), 401))

    async def _enter(self, request: Request) -> Response:
        """The form of the page without a token: one field, as a browser encodes it."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _FORM_LIMIT:
                return _with_headers(_html(_static("enter.html"), 413))
        return await self._let_in(body.decode("ascii", "replace").partition("token=")[2].strip())

    async def _let_in(self, given: str) -> Response:
        if not is_token(given, self._token):
            await asyncio.sleep(_WRONG_TOKEN_S)
            return _with_headers(_html(_static("enter.html"), 401))
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self._token, max_age=_COOKIE_S, httponly=True, samesite="strict")
        return _with_headers(answer)

    # What is shown

    async def _status(self, request: Request) -> Response:
        statuses = await asyncio.to_thread(self._board.snapshot)
        earlier = {one.stream: one for one in self._before(statuses)}
        return JSONResponse({"streams": [_shown(one, earlier.get(one.stream)) for one in statuses]})

    def _before(self, statuses: tuple[Status, ...]) -> tuple[Status, ...]:
        """The statuses of some seconds ago, or the oldest that are known."""
        now_s = time.monotonic()
        if not self._earlier or now_s - self._earlier[-1][0] >= _STATUS_S:  # many screens may ask
            self._earlier.append((now_s, statuses))
        while len(self._earlier) > 2 and now_s - self._earlier[1][0] > _DELAYS_S:
            self._earlier.popleft()
        if len(self._earlier) > 1 and now_s - self._earlier[0][0] > 2 * _DELAYS_S:  # nobody has looked for long
            self._earlier.popleft()
        return self._earlier[0][1] if len(self._earlier) > 1 else ()

    def _stream_of(self, request: Request) -> str | None:
        name = request.query_params.get("stream", "1")
        return name if name in (*self._board.names(), "1") else None

    async def _picture(self, request: Request) -> Response:
        """The next picture after the one with number `after`; 204: there was none in time."""
        name = self._stream_of(request)
        try:
            after = int(request.query_params.get("after", ""))
        except ValueError:  # no number, or one of more digits than Python converts
            after = -1
        if name is None or self.gallery is None:
            return JSONResponse({"error": "there is no such stream"}, 404)
        picture = await self.gallery.next_picture(name, after, POLL_S)
        if picture is None:
            return Response(status_code=204)
        age_s = time.monotonic() - picture.made_s
        head = {"X-Picture": f"{picture.number}", "X-Age-Ms": f"{age_s * 1e3:.0f}"}
        return Response(picture.jpeg, headers=head, media_type="image/jpeg")

    async def _stream(self, request: Request) -> Response:
        """Motion JPEG. A slow client gets fewer pictures, each the newest when it is sent."""
        name = self._stream_of(request)
        if name is None or self.gallery is None:
            return JSONResponse({"error": "there is no such stream"}, 404)
        return StreamingResponse(
            self._parts(self.gallery, name), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        )

    async def _parts(self, gallery: Gallery, name: str) -> AsyncIterator[bytes]:
        number = -1
        while not gallery.closed:
            picture = await gallery.next_picture(name, number, POLL_S)
            if picture is None:
                continue
            number = picture.number
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
            yield head.encode() + picture.jpeg + b"\r\n"


def _shown(status: Status, before: Status | None) -> dict[str, Any]:
    """What the page shows of a stream: delays are those since `before`."""
    video, annotation = recent_delays(status, before)
    polyps = [
        {
            "number": one.number,
            "first_s": round(one.first_s, 2),
            "last_s": round(one.last_s, 2),
            "score": round(one.score, 3),
            "visible": one.visible and not status.condition.blanks,
        }
        for one in status.shown
    ]
    return {
        **status.to_dict(),
        "video_delay_ms": video.summary(DELAY_PERCENTS),
        "annotation_delay_ms": annotation.summary(DELAY_PERCENTS),
        "position_s": status.position_s,
        "shown": polyps,
    }


def _with_headers(answer: Response) -> Response:
    answer.headers.update(_HEADERS)
    return answer


def _html(text: str, code: int = 200) -> Response:
    return Response(text, code, media_type="text/html")


def _static(name: str) -> str:
    return (resources.files("realtime_polyp.remote") / "static" / name).read_text("utf-8")


def _file_route(name: str, kind: str) -> Answer:
    """Scripts and styles hold no secret."""

    async def answer(request: Request) -> Response:
        return _with_headers(Response(_static(name), media_type=kind))

    return answer
