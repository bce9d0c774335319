"""Azure Blob Storage as its client expects it, for tests: blobs in memory, with their versions where it keeps them.

It lists two blobs a page. A private account wants a signature by its key, or a shared access signature.
"""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote
from xml.sax.saxutils import escape

from aiohttp import web

ACCOUNT = "models"
KEY = base64.b64encode(b"the key of the account").decode()
SAS = "sv=2025-01-05&ss=b&sp=rl&sig=given"
PAGE = 2
_SIGNED = (
    "Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date",
    "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range",
)  # fmt: skip


@dataclass
class Blob:
    number: int
    body: bytes
    md5: bool = True
    encoding: str = ""

    @property
    def etag(self) -> str:
        return f"0x8DE{self.number:012X}"

    @property
    def version(self) -> str:
        return f"2026-11-22T05:00:00.{self.number:07}Z"


@dataclass
class AzureBlobs:
    containers: dict[str, dict[str, list[Blob]]] = field(default_factory=dict)
    """Container -> name -> versions; the last is current."""
    versioned: bool = False
    private: bool = False
    failures: int = 0
    """So many of the next requests are answered 503."""
    url: str = ""
    """With the account, as an emulator has it."""
    _number: int = 0

    def put(self, container: str, name: str, body: bytes, *, md5: bool = True, encoding: str = "") -> None:
        self._number += 1
        versions = self.containers.setdefault(container, {}).setdefault(name, [])
        if not self.versioned:
            versions.clear()
        versions.append(Blob(self._number, body, md5, encoding))

    async def page(self, request: web.Request) -> web.Response:
        blobs, prefix = self._container(request), request.query.get("prefix", "")
        assert (request.query["restype"], request.query["comp"]) == ("container", "list")
        names = sorted(name for name in blobs if name.startswith(prefix))
        start = int(request.query.get("marker") or 0)
        following = str(start + PAGE) if start + PAGE < len(names) else ""
        entries = "".join(self._entry(name, blobs[name][-1]) for name in names[start : start + PAGE])
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="{self.url}" '
            f'ContainerName="{request.match_info["container"]}"><Prefix>{escape(prefix)}</Prefix>'
            f"<Blobs>{entries}</Blobs><NextMarker>{following}</NextMarker></EnumerationResults>"
        )
        return web.Response(body=text.encode(), content_type="application/xml")

    async def content(self, request: web.Request) -> web.Response:
        versions = self._container(request).get(request.match_info["name"], [])
        wanted = request.query.get("versionid")
        found = next((each for each in reversed(versions) if wanted in (None, each.version)), None)
        if found is None:
            raise _error(404, "BlobNotFound")
        if request.headers.get("If-Match", f'"{found.etag}"') != f'"{found.etag}"':
            raise _error(412, "ConditionNotMet")
        first, _, last = request.headers["x-ms-range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, len(found.body))
        if start >= len(found.body):
            raise _error(416, "InvalidRange")
        headers = {
            "ETag": f'"{found.etag}"', "Content-Range": f"bytes {start}-{stop - 1}/{len(found.body)}",
            "Last-Modified": "Sun, 22 Nov 2026 05:00:00 GMT", "x-ms-blob-type": "BlockBlob",
        }  # fmt: skip
        if found.encoding:
            headers["Content-Encoding"] = found.encoding
        return web.Response(status=206, body=found.body[start:stop], headers=headers)

    def _entry(self, name: str, blob: Blob) -> str:
        md5 = base64.b64encode(hashlib.md5(blob.body).digest()).decode()
        version = f"<VersionId>{blob.version}</VersionId><IsCurrentVersion>true</IsCurrentVersion>"
        return (
            f"<Blob><Name>{escape(name)}</Name>{version if self.versioned else ''}<Properties>"
            f"<Last-Modified>Sun, 22 Nov 2026 05:00:00 GMT</Last-Modified><Etag>{blob.etag}</Etag>"
            f"<Content-Length>{len(blob.body)}</Content-Length><Content-Type>application/octet-stream</Content-Type>"
            f"{f'<Content-MD5>{md5}</Content-MD5>' if blob.md5 else '<Content-MD5 />'}<BlobType>BlockBlob</BlobType>"
            f"</Properties></Blob>"
        )

    def _container(self, request: web.Request) -> dict[str, list[Blob]]:
        if self.failures > 0:
            self.failures -= 1
            raise _error(503, "ServerBusy")
        if self.private:
            _check(request)
        if request.match_info["container"] not in self.containers:
            raise _error(404, "ContainerNotFound")
        return self.containers[request.match_info["container"]]


def _check(request: web.Request) -> None:
    """Signed with the account's key, or by a shared access signature."""
    said = request.headers.get("Authorization", "")
    if said:
        expected = base64.b64encode(hmac.digest(base64.b64decode(KEY), _to_sign(request).encode(), "sha256")).decode()
        if said != f"SharedKey {ACCOUNT}:{expected}":
            raise _error(403, "AuthenticationFailed")
    elif "sig" not in request.query:
        raise _error(404, "ResourceNotFound")  # As Azure hides what is private.
    elif request.query["sig"] != "given":
        raise _error(403, "AuthenticationFailed")


def _to_sign(request: web.Request) -> str:
    standard = [request.method, *(request.headers.get(name, "") for name in _SIGNED)]
    ms = sorted((name.lower(), text) for name, text in request.headers.items() if name.lower().startswith("x-ms-"))
    query = sorted((name.lower(), unquote(text)) for name, text in request.query.items())
    return (
        "\n".join(standard) + "\n" + "".join(f"{name}:{text}\n" for name, text in ms)
        + f"/{ACCOUNT}{request.rel_url.raw_path}" + "".join(f"\n{name}:{text}" for name, text in query)
    )  # fmt: skip


def _error(status: int, code: str) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPException]] = {
        403: web.HTTPForbidden, 404: web.HTTPNotFound, 412: web.HTTPPreconditionFailed,
        416: web.HTTPRequestRangeNotSatisfiable, 503: web.HTTPServiceUnavailable,
    }  # fmt: skip
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return kinds[status](text=text, content_type="application/xml", headers={"x-ms-error-code": code})


@asynccontextmanager
async def running(blobs: AzureBlobs) -> AsyncIterator[AzureBlobs]:
    app = web.Application()
    app.router.add_get(f"/{ACCOUNT}/{{container}}", blobs.page)
    app.router.add_get(f"/{ACCOUNT}/{{container}}/{{name:.+}}", blobs.content)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        blobs.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{ACCOUNT}"
        yield blobs
    finally:
        await runner.cleanup()
