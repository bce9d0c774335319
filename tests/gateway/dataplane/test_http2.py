"""HTTP/2 and gRPC with prior knowledge are refused in words that their clients understand."""

import pytest

from gateway.dataplane.http2 import REFUSAL
from tests.gateway.dataplane.stage import request, staged

OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.mark.parametrize("cut", [3, 17, 18, 20, len(OPENING)])
async def test_an_http2_client_is_told_to_use_http_1_1(cut: int) -> None:
    async with staged() as stage:
        caller = await stage.caller()
        caller.send(OPENING[:cut])
        caller.send(OPENING[cut:])
        said = await caller.ended()
        assert said == REFUSAL
        assert said[:9] == b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", "SETTINGS comes first"
        goaway = said[9:]
        assert goaway[3] == 7 and len(goaway) == 9 + int.from_bytes(goaway[:3], "big")
        assert int.from_bytes(goaway[13:17], "big") == 0x0D and b"use HTTP/1.1" in goaway


async def test_an_upgrade_to_http2_is_not_taken_up_and_the_request_is_served() -> None:
    async with staged() as stage:
        await stage.serving()
        caller = await stage.caller()
        more = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
        caller.send(request("/model-m1/predict", b"one", more=more))
        assert (await caller.got()).body == b"one"
