"""The S3 that tests speak to: moto in this process, quick and forgetful; or the store that `--s3=URL` names.

`make test-s3` names a real Ceph RGW. A store is shared by all tests, so each makes buckets of its own.
"""

import json
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import aioboto3
import pytest
from moto.server import ThreadedMotoServer

from agents.effects.weights_sources import Access

ACCESS_KEY, SECRET_KEY = "CAUSEWAYTESTS0000001", "a+secret/of+the/tests+of/causeway+000001"


class S3:
    def __init__(self, url: str) -> None:
        self.url = url

    def client(self) -> Any:
        """A stock client, as others have one: to be entered."""
        return aioboto3.Session().client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    async def bucket(self) -> str:
        """The name of a new one."""
        name = f"causeway-{token_hex(6)}"
        async with self.client() as client:
            await client.create_bucket(Bucket=name)
        return name

    def surroundings(self, **but: str) -> dict[str, str]:
        """As the plane is told of it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            **but,
        }

    def access(self, **but: str) -> Access:
        """As a source's secret says it."""
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
        return Access(json.dumps({**keys, "endpoint_url": self.url, **but}), {})


@pytest.fixture
def s3(request: pytest.FixtureRequest) -> Iterator[S3]:
    named = request.config.getoption("--s3")
    if named is not None:
        yield S3(named)
        return
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()
