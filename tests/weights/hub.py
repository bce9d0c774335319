"""A hub as huggingface_hub expects one, for tests: repositories in memory, every byte that it serves counted.

It can be private or gated, rename a repository, answer 500, cut a connection, flip a bit, or be slow.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

from aiohttp import web

COMMIT = hashlib.sha1(b"first commit").hexdigest()
SECOND = hashlib.sha1(b"second commit").hexdigest()


@dataclass
class Repo:
    commits: dict[str, dict[str, bytes]] = field(repr=False)
    """Commit -> path -> content. The last is `main`."""
    token: str | None = None
    gated: bool = False


@dataclass
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)
    """Bytes by path."""
    asked: list[str] = field(default_factory=list)
    failures: int = 0
    """So many of the next requests for a file are answered 503."""
    cuts: int = 0
    """So many of the next answers end in the middle."""
    flips: set[str] = field(default_factory=set)
    """Paths whose content comes with a wrong bit."""
    pause_s: float = 0.0
    """Before each part of a file."""
    down: bool = False
    url: str = ""

    @property
    def bytes(self) -> int:
        return sum(self.served.values())

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/models/{repo:[^/]+/[^/]+}", self.info)
        app.router.add_get("/api/models/{repo:[^/]+/[^/]+}/revision/{revision}", self.info)
        app.router.add_get("/api/models/{repo:[^/]+/[^/]+}/tree/{revision}", self.tree)
        app.router.add_get("/{repo:[^/]+/[^/]+}/resolve/{revision}/{path:.+}", self.resolve)
        return app

    async def info(self, request: web.Request) -> web.Response:
        name = request.match_info["repo"]
        if name in self.renamed:
            raise web.HTTPTemporaryRedirect(str(request.rel_url).replace(name, self.renamed[name]))
        found = self._open(request)
        if isinstance(found, web.Response):
            return found
        commit = self._commit(found, request.match_info.get("revision", "main"))
        if commit is None:
            return _error(404, "RevisionNotFound")
        siblings = [{"rfilename": path} for path in found.commits[commit]]
        return web.json_response({"id": name, "_id": "x", "sha": commit, "siblings": siblings})

    async def tree(self, request: web.Request) -> web.Response:
        found = self._open(request)
        if isinstance(found, web.Response):
            return found
        commit = self._commit(found, request.match_info["revision"])
        if commit is None:
            return _error(404, "RevisionNotFound")
        return web.json_response([_entry(path, body) for path, body in found.commits[commit].items()])

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        found, path = self._open(request), request.match_info["path"]
        if isinstance(found, web.Response):
            return found
        if self.failures > 0:
            self.failures -= 1
            return _error(503, "")
        body = found.commits[request.match_info["revision"]].get(path)
        if body is None:
            return _error(404, "EntryNotFound")
        if path in self.flips:
            body = body[:-1] + bytes([body[-1] ^ 1])
        part = request.http_range
        start, stop = part.start or 0, min(len(body) if part.stop is None else part.stop, len(body))
        answer = web.StreamResponse(
            status=206 if "Range" in request.headers else 200,
            headers={"ETag": f'"{_sha256(body)}"', "Content-Length": str(stop - start)},
        )
        if answer.status == 206:
            answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        await answer.prepare(request)
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        if self.cuts > 0:
            self.cuts -= 1
            await answer.write(body[start : (start + stop) // 2])
            assert request.transport is not None
            request.transport.close()
            return answer
        await answer.write(body[start:stop])
        self.served[path] += stop - start
        return answer

    def _open(self, request: web.Request) -> Repo | web.Response:
        self.asked.append(request.path)
        if self.down:
            return _error(503, "")
        repo = self.repos.get(request.match_info["repo"])
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None or (repo.token is not None and not repo.gated and token != repo.token):
            return _error(404 if token else 401, "RepoNotFound")
        if repo.gated and token != repo.token:
            return _error(403, "GatedRepo")
        return repo

    @staticmethod
    def _commit(repo: Repo, revision: str) -> str | None:
        if revision == "main":
            return list(repo.commits)[-1]
        return revision if revision in repo.commits else None


@cache
def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _entry(path: str, body: bytes) -> dict[str, object]:
    oid = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(body), "oid": oid}
    if path.endswith((".safetensors", ".bin")):
        entry["lfs"] = {"oid": _sha256(body), "size": len(body), "pointerSize": 134}
    return entry


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": code or "try later"}, status=status, headers={"X-Error-Code": code})


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[Hub]:
    runner = web.AppRunner(hub.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield hub
    finally:
        await runner.cleanup()
