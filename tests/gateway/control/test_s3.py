"""The S3 subset against the S3 client that truss itself uses, and against what a hostile one would send."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control import sigv4
from gateway.control.aws_chunks import BadChunks, unframed
from gateway.control.uploads import BLOBS, BUCKET, UploadArea
from tests.gateway.control.served import program, served
from tests.gateway.control.stand import ARCHIVE_MAX_BYTES, TOOLCHAIN, Stand, archive

SCRIPT = Path(__file__).with_name("boto.py")
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
MIB = 1 << 20


async def boto(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    python = str(TOOLCHAIN / "bin" / "python")
    code, out, err = await program(python, str(SCRIPT), stdin=json.dumps(steps).encode())
    assert code == 0, err
    answers: list[dict[str, Any]] = json.loads(out)
    return answers


def step(stand: Stand, url: str, do: str, **more: Any) -> dict[str, Any]:
    issued = stand_credentials(stand)
    creds = {name: value for name, value in issued.items() if name.startswith("aws_")} | {"endpoint_url": f"{url}/s3"}
    whole = {"do": do, "creds": creds, "bucket": issued["s3_bucket"], "key": issued["s3_key"]}
    return whole | more


def stand_credentials(stand: Stand) -> dict[str, str]:
    area = UploadArea(stand.state / "uploads", lambda: datetime.now(UTC), ARCHIVE_MAX_BYTES)
    issued = area.issue()
    return {name: getattr(issued, name) for name in issued.__struct_fields__}


def same(first: dict[str, Any], do: str, **more: Any) -> dict[str, Any]:
    return {**first, "do": do, "creds": dict(first["creds"]), **more}


async def test_the_stock_client_puts_reads_and_presigns(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, url):
        put = step(stand, url, "put", body="hello, iris")
        ranged = {"Range": "bytes=7-10"}
        answers = await boto(
            put,
            same(put, "get"),
            same(put, "get", more=ranged),
            same(put, "get", more={"Range": "bytes=-4"}),
            same(put, "get", more={"Range": "bytes=99-"}),
            same(put, "head"),
            same(put, "presign"),
        )
        presigned = answers[-1]["ok"]
        async with httpx.AsyncClient(timeout=60) as anybody:
            read = await anybody.get(presigned)
            forged = await anybody.get(presigned.replace("Expires=60", "Expires=61"))
    assert answers[0]["ok"].startswith('"')
    assert [each.get("ok") for each in answers[1:4]] == ["hello, iris", "iris", "iris"]
    assert answers[4]["code"] == "InvalidRange"
    assert answers[5]["ok"] == 11
    assert (read.status_code, read.text) == (200, "hello, iris")
    assert forged.status_code == 403 and "SignatureDoesNotMatch" in forged.text


async def test_the_stock_client_sends_a_large_file_in_parts(tmp_path: Path) -> None:
    whole = bytes(range(256)) * 4096 * 3
    (tmp_path / "whole.bin").write_bytes(whole)
    async with served(tmp_path / "state") as (stand, url):
        upload = step(stand, url, "upload_file", path=str(tmp_path / "whole.bin"), part=MIB)
        answers = await boto(upload, same(upload, "head"), step(stand, url, "abort"))
        folder = stand.state / "uploads" / upload["key"].split("/")[1]
        assert [path.name for path in folder.iterdir()] == ["object"]
        assert (folder / "object").read_bytes() == whole
    assert [each.get("ok") for each in answers[:2]] == ["uploaded", len(whole)]
    assert answers[2]["code"] == "NoSuchUpload"


async def test_credentials_open_their_own_key_only_and_nothing_without_the_secret(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, url):
        put = step(stand, url, "put", body="x")
        other = step(stand, url, "put", body="x")["key"]
        wrong_secret = {**put["creds"], "aws_secret_access_key": "wrong"}
        wrong_token = {**put["creds"], "aws_session_token": put["creds"]["aws_session_token"][:-4] + "AAAA"}
        answers = await boto(
            same(put, "put", key=other),
            same(put, "put", bucket=BLOBS),
            same(put, "put", key=put["key"] + "/../../escape"),
            same(put, "put", key="../../escape"),
            same(put, "put", creds=wrong_secret),
            same(put, "put", creds=wrong_token),
            same(put, "put", creds={**put["creds"], "signature_version": "s3"}),
        )
        too_large = await boto(same(put, "put", body="x" * (ARCHIVE_MAX_BYTES + 1)))
        left = [path for path in (stand.state / "uploads").rglob("*") if path.is_file() and path.name != ".seal"]
    codes = [each.get("code") for each in answers]
    assert codes == [
        "AccessDenied", "AccessDenied", "AccessDenied", "AccessDenied", "SignatureDoesNotMatch", "ExpiredToken",
        "AccessDenied",
    ]  # fmt: skip
    assert too_large[0]["code"] == "EntityTooLarge"
    assert left == []


async def test_parts_together_are_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "whole.bin").write_bytes(b"x" * (ARCHIVE_MAX_BYTES + MIB))
    async with served(tmp_path / "state") as (stand, url):
        upload = step(stand, url, "upload_file", path=str(tmp_path / "whole.bin"), part=MIB)
        code, _, err = await program(
            str(TOOLCHAIN / "bin" / "python"), str(SCRIPT), stdin=json.dumps([upload]).encode()
        )
        folder = stand.state / "uploads" / upload["key"].split("/")[1]
        assert not (folder / "object").exists()
    assert code != 0 and "EntityTooLarge" in err


async def test_a_deployments_archive_is_downloaded_by_a_presigned_url(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, _):
        pushed = await stand.pushed()
        path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['id']}/download"
        url = (await stand.client.get(path)).json()["download_url"]
        async with httpx.AsyncClient(timeout=60) as anybody:
            whole = await anybody.get(url)
            partly = await anybody.get(url, headers={"Range": "bytes=0-9"})
            written = await anybody.put(url, content=b"x")
            other = await anybody.get(url.replace("/sha256/", "/sha256/0"))
    assert whole.content == archive()
    assert (partly.status_code, partly.content) == (206, archive()[:10])
    assert written.status_code == 403 and other.status_code == 403


async def test_an_unsigned_request_and_one_whose_body_changed_are_refused(stand: Stand) -> None:
    issued = stand_credentials(stand)
    path = f"/s3/{BUCKET}/{issued['s3_key']}"
    assert (await stand.client.put(path, content=b"x")).status_code == 403
    assert "AccessDenied" in (await stand.client.get("/s3/other/x")).text
    now = datetime.now(UTC)
    for at, body, said in [
        (now, b"another body", "XAmzContentSHA256Mismatch"),
        (now - timedelta(hours=1), b"body", "RequestTimeTooSkewed"),
        (now + timedelta(hours=1), b"body", "RequestTimeTooSkewed"),
    ]:
        answer = await stand.client.put(path, content=body, headers=signed_put(path, issued, b"body", at))
        assert said in answer.text
    good = await stand.client.put(path, content=b"body", headers=signed_put(path, issued, b"body", now))
    assert good.status_code == 200, good.text


def signed_put(path: str, issued: dict[str, str], body: bytes, at: datetime) -> dict[str, str]:
    headers = {
        "host": "plane",
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": f"{at:%Y%m%dT%H%M%SZ}",
        "x-amz-security-token": issued["aws_session_token"],
    }
    names = tuple(sorted(headers))
    scope = f"{at:%Y%m%d}/us-east-1/s3/aws4_request"
    request = sigv4.Request("PUT", path, "", tuple(headers.items()))
    claim = sigv4.Claim(
        issued["aws_access_key_id"], scope, names, "", headers["x-amz-date"], None, headers["x-amz-content-sha256"], ""
    )
    signature = sigv4.signature(request, claim, issued["aws_secret_access_key"])
    credential = f"{issued['aws_access_key_id']}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return headers


def test_signatures_are_those_that_amazon_publishes() -> None:
    """The examples of the S3 developer guide, "Signature calculations": a GET with a range, and a presigned GET."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    at = datetime(2013, 5, 24, tzinfo=UTC)
    request = sigv4.Request(
        "GET",
        "/test.txt",
        "",
        (
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", empty),
            ("x-amz-date", "20130524T000000Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
        ),
    )
    claim = sigv4.claim_of(request)
    sigv4.verify(request, claim, SECRET, at)
    with pytest.raises(sigv4.BadSignature):
        sigv4.verify(request._replace(path="/other.txt"), claim, SECRET, at)
    url = sigv4.presign(
        "https://examplebucket.s3.amazonaws.com/test.txt", "AKIAIOSFODNN7EXAMPLE", SECRET, at, 86400, "us-east-1"
    )
    assert "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404" in url
    query = url.partition("?")[2].replace("/", "%2F")
    presigned = sigv4.Request("GET", "/test.txt", query, (("host", "examplebucket.s3.amazonaws.com"),))
    sigv4.verify(presigned, sigv4.claim_of(presigned), SECRET, at + timedelta(hours=23))
    with pytest.raises(sigv4.BadSignature):
        sigv4.verify(presigned, sigv4.claim_of(presigned), SECRET, at + timedelta(hours=25))


def test_credentials_survive_a_restart_expire_and_cannot_be_made_up(tmp_path: Path) -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    issued = UploadArea(tmp_path, lambda: now[0]).issue()
    restarted = UploadArea(tmp_path, lambda: now[0])
    grant = restarted.grant_of(issued.aws_session_token)
    assert grant is not None and grant.key == issued.s3_key
    assert restarted.secret_of(grant.access_key_id) == issued.aws_secret_access_key
    for forged in ("", ".", issued.aws_session_token + "x", "e30=.", "ü.ü"):
        assert restarted.grant_of(forged) is None
    now[0] += timedelta(days=1)
    assert restarted.grant_of(issued.aws_session_token) is None
    assert UploadArea(tmp_path / "other", lambda: now[0]).grant_of(issued.aws_session_token) is None


def test_uploads_that_nobody_touches_are_swept(tmp_path: Path) -> None:
    area = UploadArea(tmp_path, lambda: datetime.now(UTC))
    folder = area.folder(area.issue().s3_key)
    (folder / "parts-1").mkdir(parents=True)
    assert (area.sweep(), area.sweep(older_than_s=-1)) == (0, 1)
    assert not folder.exists()


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_framed_bodies_are_read_however_they_are_cut(size: int) -> None:
    framed = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"

    async def cut(body: bytes) -> Any:
        for start in range(0, len(body), size):
            yield body[start : start + size]
            await asyncio.sleep(0)

    assert b"".join([chunk async for chunk in unframed(cut(framed))]) == b"hello world"
    for broken in (framed[:20], b"zz\r\n", b"2\r\nhello\r\n0\r\n\r\n", b"x" * 10_000):
        with pytest.raises(BadChunks):
            _ = [chunk async for chunk in unframed(cut(broken))]
