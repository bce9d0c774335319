"""Weights from the Hugging Face Hub, or from any endpoint that speaks as it does (`HF_ENDPOINT`).

huggingface-hub resolves names, revisions, files and their hashes. The bytes are read in ranges, because its download
would put them on disk first and checks none of them. The pin is a commit.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._headers import build_hf_headers

from agents.effects.weights_http import read_range, session
from agents.effects.weights_sources import (
    Access,
    Listing,
    Source,
    SourceFailed,
    SourceFile,
    Stated,
    pipelined,
    said,
    tried,
)
from agents.weights.wanted import Address

T = TypeVar("T")
_TOKEN = "name a secret that holds a token with access to it as `auth_secret_name`"


@asynccontextmanager
async def hub(source: str, address: Address, access: Access) -> AsyncIterator[Source]:
    token = access.secret.strip() if access.secret else False
    endpoint = access.surroundings.get("HF_ENDPOINT") or None
    api = HfApi(endpoint=endpoint, token=token, library_name="causeway")
    async with session(build_hf_headers(token=token, library_name="causeway")) as client:
        yield Hub(source, address, api, client)


class Hub:
    def __init__(self, source: str, address: Address, api: HfApi, client: aiohttp.ClientSession) -> None:
        self._source = source
        self._repo = address.place
        self._wanted = address.revision
        self._api = api
        self._client = client

    async def pin(self, revision: str | None) -> Listing:
        asked = revision or self._wanted
        found = await tried(lambda: self._ask(lambda: self._api.model_info(self._repo, revision=asked), revision))
        if not found.sha:
            raise SourceFailed("invalid", f"{self._source}: the endpoint names no commit, so nothing can be pinned")
        if revision is not None and found.sha != revision:
            raise SourceFailed("changed", f"{self._source}: commit {revision} has become {found.sha}: push again")
        commit = found.sha
        files = await tried(
            lambda: self._ask(
                lambda: [
                    self._file(entry, found.id, commit)
                    for entry in self._api.list_repo_tree(found.id, recursive=True, revision=commit)
                    if isinstance(entry, RepoFile)
                ],
                commit,
            )
        )
        renamed = found.id != self._repo
        notes = (f"{self._repo} is called {found.id} now: better name that in config.yaml",) if renamed else ()
        return Listing(commit, tuple(files), notes)

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        async def read(at: int, length: int) -> bytes:
            return await read_range(self._client, file, at, length)

        async for body in pipelined(read, start, file.size):
            yield body

    def _file(self, entry: RepoFile, repo: str, commit: str) -> SourceFile:
        sha256 = entry.lfs.sha256 if entry.lfs is not None else None
        return SourceFile(
            entry.path,
            entry.size,
            identity=f"sha256:{sha256}" if sha256 else f"git:{entry.blob_id}",
            location=hf_hub_url(repo, entry.path, revision=commit, endpoint=self._api.endpoint),
            stated=Stated("sha256", sha256) if sha256 else Stated("git", entry.blob_id),
        )

    async def _ask(self, ask: Callable[[], T], pinned: str | None) -> T:
        name = self._source
        try:
            return await asyncio.to_thread(ask)
        except GatedRepoError as error:
            raise SourceFailed("private", f"{name} is gated: accept its terms on the hub, then {_TOKEN}") from error
        except RepositoryNotFoundError as error:
            how = "and the secret does not open it" if self._api.token else f"if it is private, {_TOKEN}"
            raise SourceFailed("missing", f"{name} does not exist, or is private: check the name; {how}") from error
        except RevisionNotFoundError as error:
            if pinned is not None:
                raise SourceFailed("changed", f"{name}: the pinned commit {pinned} is gone: push again") from error
            raise SourceFailed("missing", f"{name} has no revision {self._wanted or 'main'}: check it") from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise SourceFailed("private", f"{name} may not be read ({status}): {_TOKEN}") from error
            passing = status == 429 or status >= 500
            raise SourceFailed("unavailable" if passing else "invalid", f"{name}: {error}") from error
        except HFValidationError as error:
            raise SourceFailed("invalid", f"{name}: {error}") from error
        except (OSError, _transport_error()) as error:
            raise SourceFailed("unavailable", f"{name}: the hub cannot be reached: {said(error)}") from error


def _transport_error() -> type[Exception]:
    """What its HTTP client raises when there is no answer at all."""
    import httpx2

    kind: type[Exception] = httpx2.HTTPError
    return kind
