"""The live page of a run, served to this machine alone, and as a file when the run is over.

The server listens on the loopback address, under a random path that nobody else knows; it answers
only to the name that it was reached by when the address was printed, so that no other site can ask
through the reader's browser; it reads the run's files and writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

from sounding.view.live_data import Cursor
from sounding.view.live_ranks import Stories
from sounding.view.page import page
from sounding.watch.file import as_json
from sounding.watch.reader import Reader

HOST = "127.0.0.1"
TICK = 0.5  # seconds between two looks at the file
QUIET = 15.0  # seconds after which an idle stream says that it is alive


def serve(
    path: str | os.PathLike[str], *, port: int = 0, said: Callable[[str], None] = lambda _: None
) -> None:
    """Show the run in `path` at an address that `said` is told, until interrupted.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of a run.
        OSError: If the port is taken.
    """
    import uvicorn

    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader(path))
        listening = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(16)  # whoever opens the address at once waits, and is not refused
        port = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        stack.callback((stories := Stories(reader)).close)
        config = uvicorn.Config(
            application(stories, token, port, lambda: server.should_exit),
            log_level="critical",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,  # a page that is open does not keep the program alive
        )
        server = uvicorn.Server(config)
        said(f"http://{HOST}:{port}/{token}/")
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def application(
    stories: Stories, token: str, port: int, ending: Callable[[], bool] = lambda: False
) -> Any:
    """The server as an ASGI application: the page and its stream of events, nothing else.

    A stream ends as soon as `ending` says so.
    """
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, Response, StreamingResponse
    from starlette.routing import Route

    names = {f"{HOST}:{port}", f"localhost:{port}"}

    def refused(request: Request) -> Response | None:
        if request.headers.get("host") not in names:
            return Response("This page answers on the loopback address only.", 421)
        if not secrets.compare_digest(request.path_params["token"].encode(), token.encode()):
            return Response("Not found.", 404)
        return None

    async def show(request: Request) -> Response:
        if answer := refused(request):
            return answer
        stories.refresh()
        text = page(stories.result(), stream=True, judged=stories.judged())
        return HTMLResponse(text, headers=HEADERS)

    async def events(request: Request) -> Response:
        if answer := refused(request):
            return answer
        rank = request.query_params.get("rank", "0")
        if not (rank.isascii() and rank.isdigit() and len(rank) < 8):
            return Response("Not found.", 404)
        return StreamingResponse(
            _told(stories, int(rank), request.is_disconnected, ending),
            headers=HEADERS,
            media_type="text/event-stream",
        )

    return Starlette(
        routes=[
            Route("/{token}/", show, methods=["GET"]),
            Route("/{token}/events", events, methods=["GET"]),
        ]
    )


HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest stands in the page itself
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def _told(
    stories: Stories, rank: int, gone: Callable[[], Any], ending: Callable[[], bool]
) -> AsyncIterator[str]:
    """One event for every time that something new stands in a file."""
    cursor, quiet = Cursor(rank=rank), 0.0
    while not ending() and not await gone():
        stories.refresh()
        news = stories.since(cursor)
        if news is not None:
            quiet = 0.0
            yield f"data: {as_json(news)}\n\n"
        elif quiet >= QUIET:
            quiet = 0.0
            yield ": nothing new\n\n"
        await asyncio.sleep(TICK)
        stories.look()  # a page that has just been opened need not wait for it
        quiet += TICK
