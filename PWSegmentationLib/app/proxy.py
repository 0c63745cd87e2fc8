"""Hands requests and web sockets on to the process of a session."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp import web

from PWSegmentationLib.app.worker import KEY_HEADER
from PWSegmentationLib.app.workers import Worker

# Of a connection, not of what is sent.
_HOP_BY_HOP = {
    "connection",
    "content-encoding",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
# Pictures of large views, and what trame sends at the start.
_MESSAGE_BYTES = 64 * 1024**2


async def hand_on(
    request: web.Request, worker: Worker, port: int, path: str, client: aiohttp.ClientSession
) -> web.StreamResponse:
    """Let the worker answer."""
    url = f"http://127.0.0.1:{port}/{path}"
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return await _socket(request, worker, url, client)
    headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP and k.lower() != "cookie"}
    headers[KEY_HEADER] = worker.key
    body = request.content if request.can_read_body else None
    async with client.request(
        request.method, url, params=request.query, headers=headers, data=body, allow_redirects=False
    ) as answer:
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        if answer.content_length is not None and "Content-Encoding" not in answer.headers:
            response.content_length = answer.content_length
        await response.prepare(request)
        async for block in answer.content.iter_chunked(1 << 16):
            await response.write(block)
        await response.write_eof()
        return response


async def _socket(request: web.Request, worker: Worker, url: str, client: aiohttp.ClientSession) -> web.StreamResponse:
    here = web.WebSocketResponse(max_msg_size=_MESSAGE_BYTES, compress=False, heartbeat=30)
    await here.prepare(request)
    worker.sockets.add(here)
    try:
        async with client.ws_connect(
            url, headers={KEY_HEADER: worker.key}, max_msg_size=_MESSAGE_BYTES, compress=0
        ) as there:
            ways = [asyncio.ensure_future(_copy(here, there)), asyncio.ensure_future(_copy(there, here))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
    except aiohttp.ClientError:
        pass
    finally:
        worker.sockets.discard(here)
        await here.close()
    return here


async def _copy(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse[Any],
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse[Any],
) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
