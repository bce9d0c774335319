"""A control API that notes what it is asked and answers what it was told to, for tests of what commands ask."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec


class Api:
    """An HTTP server that notes what it is asked and answers what it was told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None, Any]] = []
        self.answer: tuple[int, Any] = (200, {})
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                decoded = msgspec.json.decode(body) if body else None
                api.asked.append((self.command, self.path, self.headers.get("Authorization"), decoded))
                status, content = api.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(msgspec.json.encode(content))

            do_GET = do_POST = do_PATCH = do_DELETE = _any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
