"""Fetches a project's `external_data` into its data folder, as an image build would.

What is behind the question mark of an address is often a signature: it is neither printed nor told.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import aiohttp

from agents.effects.context import External
from agents.effects.weights_sources import said, without_query

_CHUNK_BYTES = 1 << 20


class FetchFailed(Exception):
    """An address that gave no file, or a name that leads elsewhere."""


async def fetch(wanted: External, data: Path, on_line: Callable[[str], None]) -> None:
    where = PurePosixPath(wanted.local_data_path)
    if where.is_absolute() or ".." in where.parts or not where.parts:
        raise FetchFailed(f"external_data: local_data_path {where} must be a path below the data folder")
    shown = without_query(wanted.url)
    if not wanted.url.startswith(("https://", "http://")):
        raise FetchFailed(f"external_data: {shown} must begin with https:// or http://")
    target = data / where
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(data.resolve()):
        raise FetchFailed(f"external_data: local_data_path {where} leads out of the data folder through a link")
    on_line(f"fetching {shown} to data/{where}")
    target.unlink(missing_ok=True)  # Never through a link of that name.
    try:
        patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        async with (
            aiohttp.ClientSession(trust_env=True, timeout=patience) as session,
            session.get(wanted.url) as answer,
        ):
            if answer.status != 200:
                raise FetchFailed(f"external_data: {shown} answered {answer.status} {answer.reason}: check its url")
            with target.open("xb") as file:
                async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                    await asyncio.to_thread(file.write, chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        why = said(error).replace(wanted.url, shown)
        raise FetchFailed(f"external_data: {shown} cannot be fetched: {why}: check its url") from error
