"""Empty databases on the PostgreSQL that a test module shares."""

from uuid import uuid4

import asyncpg

from ops.config import Settings
from ops.local.attach import attached


async def new_database(settings: Settings) -> str:
    """URL of an empty one."""
    url = attached(settings).postgres_url
    assert url is not None
    name = f"audit_{uuid4().hex}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"create database {name}")
    await connection.close()
    return url.replace("/postgres?", f"/{name}?")
