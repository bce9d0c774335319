"""Google Cloud Storage as its client expects it, for tests: objects in memory with all their generations.

It lists two objects a page. A private bucket wants a token, which is given for a service account's signed assertion.
"""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google_crc32c import value as crc32c

PAGE = 2
TOKEN = "ya29.given"
MAIL = "reader@project.iam.gserviceaccount.com"


@dataclass
class Object:
    generation: int
    body: bytes
    composed: bool = False
    """Of parts: it has no MD5."""
    encoding: str = ""


@dataclass
class Gcs:
    buckets: dict[str, dict[str, list[Object]]] = field(default_factory=dict)
    """Bucket -> name -> generations; the last is live."""
    versioned: bool = True
    private: bool = False
    failures: int = 0
    """So many of the next requests are answered 503."""
    forbids: bool = False
    """Whoever has a token may not read all the same."""
    asked: list[str] = field(default_factory=list)
    url: str = ""
    _generation: int = 1_700_000_000_000_000

    @cached_property
    def _pair(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    def put(self, bucket: str, name: str, body: bytes, *, composed: bool = False, encoding: str = "") -> None:
        self._generation += 1
        generations = self.buckets.setdefault(bucket, {}).setdefault(name, [])
        if not self.versioned:
            generations.clear()
        generations.append(Object(self._generation, body, composed, encoding))

    def secret(self, **but: str) -> str:
        """The JSON key of a service account, as its owner gets it."""
        pem = self._pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return json.dumps(
            {
                "type": "service_account", "project_id": "project", "private_key_id": "1", "private_key": pem,
                "client_email": MAIL, "token_uri": f"{self.url}/token", **but,
            }
        )  # fmt: skip

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        try:
            said = jwt.decode(
                str(form["assertion"]), self._pair.public_key(), algorithms=["RS256"], audience=f"{self.url}/token"
            )
        except jwt.PyJWTError as error:
            return web.json_response({"error": "invalid_grant", "error_description": str(error)}, status=400)
        if said["iss"] != MAIL or not said["scope"].endswith("devstorage.read_only"):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})

    async def page(self, request: web.Request) -> web.Response:
        names = sorted(name for name in self._bucket(request) if name.startswith(request.query.get("prefix", "")))
        start = int(request.query.get("pageToken") or 0)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if found := names[start : start + PAGE]:
            answer["items"] = [_described(name, self._bucket(request)[name][-1]) for name in found]
        if start + PAGE < len(names):
            answer["nextPageToken"] = str(start + PAGE)
        return web.json_response(answer)

    async def content(self, request: web.Request) -> web.Response:
        assert request.query["alt"] == "media"
        generations = self._bucket(request).get(request.match_info["name"], [])
        wanted = [each for each in generations if str(each.generation) == request.query["generation"]]
        if not wanted:
            raise web.HTTPNotFound(text="No such object")
        body, part = wanted[0].body, request.http_range
        if (part.start or 0) >= len(body):
            raise web.HTTPRequestRangeNotSatisfiable
        start, stop = part.start or 0, min(len(body) if part.stop is None else part.stop, len(body))
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}
        if wanted[0].encoding:
            headers["Content-Encoding"] = wanted[0].encoding
        return web.Response(status=206, body=body[start:stop], headers=headers)

    def _bucket(self, request: web.Request) -> dict[str, list[Object]]:
        self.asked.append(request.path_qs)
        if self.failures > 0:
            self.failures -= 1
            raise web.HTTPServiceUnavailable
        said = request.headers.get("Authorization", "")
        if self.private and said != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized(text="Anonymous caller does not have storage.objects.list access")
        if self.forbids:
            raise web.HTTPForbidden(text="does not have storage.objects.list access")
        if request.match_info["bucket"] not in self.buckets:
            raise web.HTTPNotFound(text="The specified bucket does not exist.")
        return self.buckets[request.match_info["bucket"]]


def _described(name: str, stored: Object) -> dict[str, str]:
    described = {
        "name": name, "size": str(len(stored.body)), "generation": str(stored.generation),
        "crc32c": base64.b64encode(crc32c(stored.body).to_bytes(4)).decode(),
    }  # fmt: skip
    if not stored.composed:
        described["md5Hash"] = base64.b64encode(hashlib.md5(stored.body).digest()).decode()
    return described


@asynccontextmanager
async def running(gcs: Gcs) -> AsyncIterator[Gcs]:
    app = web.Application()
    app.router.add_post("/token", gcs.token)
    app.router.add_get("/storage/v1/b/{bucket}/o", gcs.page)
    app.router.add_get("/storage/v1/b/{bucket}/o/{name:.+}", gcs.content)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gcs.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield gcs
    finally:
        await runner.cleanup()
