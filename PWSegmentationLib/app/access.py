"""Who may use the server: a token where others could reach it, and no pages of other sites in the user's browser."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The browser goes on from here by itself. A redirection would still be the step of whoever had the link, as a mail, and
# the cookie is not sent with steps of others.
_LET_IN = """<!doctype html><title>PWSegmentation</title><script>
const here = new URL(location.href);
here.searchParams.delete("token");
location.replace(here);
</script>"""

_REFUSED = """<!doctype html><title>PWSegmentation</title>
<body style="background:#14171c;color:#d5d9e0;font:16px system-ui;display:grid;place-items:center;height:90vh"><div>
<h2>This page needs its token</h2><p>Open the whole address that <code>pwseg app</code> has printed.</p></div>"""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host in ("localhost", ""):
        return host == "localhost"
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def cookie_name(token: str) -> str:
    """Of the cookie with the token. Servers on one host share cookies, whatever their ports: each needs its own."""
    return f"pwsegmentation_{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def guard(token: str | None, host: str) -> Any:
    """A middleware that lets in who shows ``token``, once in the address and then by a cookie.

    Without a token (on this machine only) the address in the browser must be this machine's, so that no other site
    can pretend to be this one; and in any case what a page of another site sends is refused.
    """
    local = is_loopback(host)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = urlsplit(f"//{request.host}").hostname or ""
        if local and not is_loopback(name):
            raise web.HTTPForbidden(text="This server is for this computer only.")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="Requests from other sites are refused.")
        if token is None:
            return _hardened(await handler(request))
        shown = request.query.get("token")
        if shown is not None and _same(shown, token):
            # Out of the address, the history and the log, into a cookie that no script can read.
            answer = web.Response(text=_LET_IN, content_type="text/html", headers={"Cache-Control": "no-store"})
            secure = "https" in (request.scheme, request.headers.get("X-Forwarded-Proto"))
            answer.set_cookie(cookie_name(token), token, httponly=True, samesite="Strict", path="/", secure=secure)
            return _hardened(answer)
        if not _same(request.cookies.get(cookie_name(token), ""), token):
            return web.Response(status=403, text=_REFUSED, content_type="text/html")
        return _hardened(await handler(request))

    return check


def _same(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode(), token.encode())


def _hardened(answer: web.StreamResponse) -> web.StreamResponse:
    if not answer.prepared:
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        answer.headers.setdefault("X-Frame-Options", "DENY")
        answer.headers.setdefault("Referrer-Policy", "no-referrer")
    return answer
