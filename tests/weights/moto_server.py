"""moto as an S3 server in this process, on a free port: quick, and forgets everything."""

from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

KEYS = {"access_key_id": "AKIATEST", "secret_access_key": "secret"}


class Moto:
    def __init__(self, url: str) -> None:
        self.url = url

    def client(self) -> dict[str, Any]:
        return {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "aws_access_key_id": KEYS["access_key_id"],
            "aws_secret_access_key": KEYS["secret_access_key"],
        }

    def surroundings(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEYS["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": KEYS["secret_access_key"],
        }


@pytest.fixture
def moto_server() -> Iterator[Moto]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")):
            pass  # Its memory is the process's: an earlier test may have been here.
        yield Moto(f"http://{host}:{port}")
    finally:
        server.stop()
