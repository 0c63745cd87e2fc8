"""Somebody who talks to the server without a browser: what it answers, in bytes."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from Testing.App.app_server import AppServer
from Testing.timing import PATIENCE_S


@dataclass(frozen=True)
class Answer:
    """Of the server."""

    status: int
    headers: Mapping[str, str]
    text: str


class Visitor:
    """One session of a server; cookies are his own business."""

    def __init__(self, server: AppServer, session: str = "", cookie: str = "") -> None:
        self._server = server
        self._cookie = cookie
        self.session = session or self.ask("GET", "/").headers["Location"].split("/")[2]

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request; redirects are not followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE_S)
        try:
            cookie = {"Cookie": self._cookie} if self._cookie else {}
            connection.request(method, path, body, {**cookie, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode(errors="replace"))
        finally:
            connection.close()

    def ready(self) -> Answer:
        """Wait until the session's process answers, or will not."""
        while (answer := self.ask("GET", f"/sessions/{self.session}/ready")).status == 503:
            pass
        return answer

    def put(self, name: str, content: bytes, batch: str = "") -> tuple[str, Answer]:
        """Send one file of an upload."""
        batch = batch or secrets.token_hex(16)
        return batch, self.ask("PUT", f"/s/{self.session}/upload/{batch}?{urlencode({'name': name})}", content)

    def finish(self, batch: str) -> Answer:
        """Have an upload opened."""
        return self.ask("POST", f"/s/{self.session}/upload/{batch}")

    def upload(self, **files: bytes) -> Answer:
        """Send files, dots in their names as ``__``, and have them opened; the first refusal, else the last answer."""
        batch = ""
        for name, content in files.items():
            batch, answer = self.put(name.replace("__", "."), content, batch)
            if answer.status != 200:
                return answer
        return self.finish(batch)
