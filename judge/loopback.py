"""Serve a web application on this machine alone: for the simulated judge and the labelling page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from equiloss.errors import InputError

_GRACE_S = 1.0  # for answers that are on their way when the application ends


@asynccontextmanager
async def listening(application: web.Application, port: int = 0) -> AsyncGenerator[int]:
    """Listen on a port of 127.0.0.1 (0: a free one, which is what this yields) until the block ends.

    Raises: InputError when the port is taken.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE_S, keepalive_timeout=3600)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise InputError(f"cannot listen on port {port}: {error.strerror}", "choose another --port") from None
        yield site.port
    finally:
        await runner.cleanup()
