"""The part of S3 that truss and other stock clients use to send an archive, and presigned GETs to fetch one.

Every request is checked against its signature before a byte of its body is read, its key against what the credentials
were issued for, and its body against the signed hash and the size bound while it streams to disk.
"""

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO
from xml.sax.saxutils import escape

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from events.base import BlobDigest
from gateway.control import sigv4
from gateway.control.aws_chunks import TRAILER, BadChunks, unframed
from gateway.control.uploads import BLOBS, BUCKET, PLANE_KEY_ID, NoUpload, UploadArea
from gateway.numbers import whole
from projections.stores.blobs import CHUNK_BYTES, FolderBlobs

PART_MAX = 10_000
DRAIN_BYTES = 64 << 20
FRAMING_BYTES = 1 << 20
"""What the frames of a framed body may add."""
_PART = re.compile(r"<Part>(.*?)</Part>", re.DOTALL)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_HASH = re.compile(r"[0-9a-f]{64}")
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_STATUS = {
    "AccessDenied": 403, "RequestTimeTooSkewed": 403, "SignatureDoesNotMatch": 403, "ExpiredToken": 403,
    "NoSuchKey": 404, "NoSuchBucket": 404, "NoSuchUpload": 404, "MethodNotAllowed": 405, "InvalidRange": 416,
    "NotImplemented": 501,
}  # fmt: skip


class S3Error(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def install(app: FastAPI, area: UploadArea, blobs: FolderBlobs) -> None:
    async def serve(request: Request, bucket: str, key: str) -> Response:
        try:
            return await _serve(request, bucket, key, area, blobs)
        except (S3Error, sigv4.BadSignature) as error:
            return _xml_error(request, error.code, str(error))
        except NoUpload as error:
            return _xml_error(request, "NoSuchKey", str(error))

    methods = ["GET", "HEAD", "PUT", "POST", "DELETE"]
    app.add_api_route("/s3/{bucket}/{key:path}", serve, methods=methods, include_in_schema=False)


async def _serve(request: Request, bucket: str, key: str, area: UploadArea, blobs: FolderBlobs) -> Response:
    payload_hash = _admit(request, bucket, key, area)
    method, query = request.method, request.query_params
    if bucket == BLOBS:
        return _send(request, _blob_path(key, blobs))
    if method in ("GET", "HEAD"):
        return _send(request, area.object(key))
    folder = area.folder(key)
    if method == "PUT" and "uploadId" not in query:
        etag = await _receive(request, payload_hash, area, folder, folder / "object")
        return Response(headers={"ETag": f'"{etag}"'})
    if method == "POST" and "uploads" in query:
        return await _begin_parts(bucket, key, folder)
    parts = folder / f"parts-{_upload_id(query.get('uploadId', ''))}"
    if not parts.is_dir():
        raise S3Error("NoSuchUpload", "there is no such multipart upload: it was completed, aborted or has expired")
    if method == "PUT":
        return await _put_part(request, payload_hash, area, parts)
    if method == "POST":
        return await _complete(request, key, area, folder, parts)
    await asyncio.to_thread(shutil.rmtree, parts)
    return Response(status_code=204)


def _admit(request: Request, bucket: str, key: str, area: UploadArea) -> str:
    """Returns the hash that the body must have, or one of the words that S3 has in its place."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
    path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
    signed = sigv4.Request(request.method, path, request.url.query, headers)
    claim = sigv4.claim_of(signed)
    if claim.access_key_id == PLANE_KEY_ID:
        if bucket != BLOBS or claim.expires_s is None or request.method not in ("GET", "HEAD"):
            raise S3Error("AccessDenied", "presigned URLs are for reading blobs only")
    else:
        grant = area.grant_of(claim.token)
        if grant is None or grant.access_key_id != claim.access_key_id:
            raise S3Error("ExpiredToken", "the upload credentials are wrong or have expired: ask for new ones")
        if (grant.bucket, grant.key) != (bucket, key):
            raise S3Error("AccessDenied", f"these credentials are for {grant.bucket}/{grant.key} only")
    sigv4.verify(signed, claim, area.secret_of(claim.access_key_id), area.now())
    if not (_HASH.fullmatch(claim.payload_hash) or claim.payload_hash in (sigv4.UNSIGNED, TRAILER)):
        raise S3Error("NotImplemented", f"x-amz-content-sha256 {claim.payload_hash!r}: send the body's hash")
    if bucket not in (BUCKET, BLOBS):
        raise S3Error("NoSuchBucket", f"there is no bucket {bucket!r}")
    return claim.payload_hash


def _blob_path(key: str, blobs: FolderBlobs) -> Path:
    parts = key.split("/")
    if len(parts) != 3 or parts[0] != "sha256" or not _HASH.fullmatch(parts[1]):
        raise S3Error("NoSuchKey", f"there is no blob {key!r}")
    return blobs.path(BlobDigest(f"sha256:{parts[1]}"))


def _send(request: Request, path: Path) -> Response:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise S3Error("NoSuchKey", "there is no such object") from None
    size = path.stat().st_size
    try:
        first, last = _range(request.headers.get("range"), size)
    except S3Error:
        file.close()
        raise
    headers = {"Content-Length": str(last - first + 1), "Accept-Ranges": "bytes", "ETag": f'"{path.name}"'}
    status = 200
    if "range" in request.headers:
        status, headers["Content-Range"] = 206, f"bytes {first}-{last}/{size}"
    if request.method == "HEAD":
        file.close()
        return Response(None, status, headers, "application/octet-stream")
    return StreamingResponse(_chunks(file, first, last - first + 1), status, headers, "application/octet-stream")


def _range(text: str | None, size: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(text or "bytes=0-")
    if match is None or match.group(0) == "bytes=-":
        raise S3Error("InvalidRange", f"a range is like bytes=0-99, not {text!r}")
    if match[1] == "":
        first, last = max(size - int(match[2]), 0), size - 1
    else:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    if text is not None and first > last:
        raise S3Error("InvalidRange", f"{text} lies outside of the {size} bytes")
    return first, last


async def _chunks(file: BinaryIO, first: int, left: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(first)
        while left > 0 and (chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


async def _receive(request: Request, payload_hash: str, area: UploadArea, folder: Path, target: Path) -> str:
    """Streams the body to `target`, which appears whole or not at all. Returns its MD5, S3's ETag."""
    folder.mkdir(parents=True, exist_ok=True)
    room = area.max_bytes - _bytes_in(target.parent, but=target)
    if int(request.headers.get("content-length", "0")) > room + FRAMING_BYTES * (payload_hash == TRAILER):
        raise _too_large(room)
    draft = folder / f".draft-{token_hex(8)}"
    body = unframed(request.stream()) if payload_hash == TRAILER else request.stream()
    try:
        sha, md5 = await _write(body, draft, room)
        if _HASH.fullmatch(payload_hash) and sha != payload_hash:
            raise S3Error("XAmzContentSHA256Mismatch", "the body is not the one that was signed: send it again")
        draft.replace(target if target.name == "object" else target.with_name(f"{target.name}.{md5}"))
    except BadChunks as error:
        raise S3Error("IncompleteBody", str(error)) from error
    finally:
        draft.unlink(missing_ok=True)
    return md5


def _too_large(room: int) -> S3Error:
    return S3Error("EntityTooLarge", f"there is room for {room} bytes only: leave large files out")


async def _drain(body: AsyncIterator[bytes]) -> None:
    """A client that is still sending reads no answer: take some more of it first."""
    left = DRAIN_BYTES
    async for chunk in body:
        left -= len(chunk)
        if left < 0:
            return


def _bytes_in(folder: Path, but: Path) -> int:
    return sum(each.stat().st_size for each in folder.glob("*.*") if each.stem != but.name and each.suffix)


async def _write(body: AsyncIterator[bytes], draft: Path, most: int) -> tuple[str, str]:
    sha, md5, size, buffer = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0, bytearray()

    def flush(chunk: bytes) -> None:
        sha.update(chunk)
        md5.update(chunk)
        file.write(chunk)

    with draft.open("xb") as file:
        async for chunk in body:
            size += len(chunk)
            if size > most:
                await _drain(body)
                raise _too_large(most)
            buffer += chunk
            if len(buffer) >= CHUNK_BYTES:
                await asyncio.to_thread(flush, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(flush, bytes(buffer))
    return sha.hexdigest(), md5.hexdigest()


async def _begin_parts(bucket: str, key: str, folder: Path) -> Response:
    upload_id = token_hex(16)
    (folder / f"parts-{upload_id}").mkdir(parents=True)
    fields = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    return _xml("InitiateMultipartUploadResult", fields)


def _upload_id(text: str) -> str:
    if not _UPLOAD_ID.fullmatch(text):
        raise S3Error("NoSuchUpload", "uploadId is missing or none of ours")
    return text


async def _put_part(request: Request, payload_hash: str, area: UploadArea, parts: Path) -> Response:
    text = request.query_params.get("partNumber", "")
    number = whole(text)
    if number is None or not 1 <= number <= PART_MAX:
        raise S3Error("InvalidArgument", f"partNumber must be from 1 to {PART_MAX}, not {text[:40]!r}")
    etag = await _receive(request, payload_hash, area, parts, parts / str(number))
    return Response(headers={"ETag": f'"{etag}"'})


async def _complete(request: Request, key: str, area: UploadArea, folder: Path, parts: Path) -> Response:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > 4 << 20:
            raise S3Error("MalformedXML", "the list of parts is too long")
    names = [_part_name(each) for each in _PART.findall(body.decode("utf-8", "replace"))]
    if not names or [int(n.split(".")[0]) for n in names] != sorted({int(n.split(".")[0]) for n in names}):
        raise S3Error("InvalidPartOrder", "name every part once, in ascending order")
    if any(not (parts / name).is_file() for name in names):
        raise S3Error("InvalidPart", "a part is missing, or its ETag is not that of the part we have")
    if sum((parts / name).stat().st_size for name in names) > area.max_bytes:
        raise _too_large(area.max_bytes)
    await asyncio.to_thread(_join, [parts / name for name in names], folder)
    digests = b"".join(bytes.fromhex(name.split(".")[1]) for name in names)
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(names)}"
    await asyncio.to_thread(shutil.rmtree, parts)
    return _xml("CompleteMultipartUploadResult", {"Bucket": BUCKET, "Key": key, "ETag": f'"{etag}"'})


def _part_name(xml: str) -> str:
    number = re.search(r"<PartNumber>\s*(\d{1,5})\s*</PartNumber>", xml)
    etag = re.search(r"<ETag>\s*(?:&quot;|\"|&#34;)?([0-9a-f]{32})", xml)
    if number is None or etag is None:
        raise S3Error("MalformedXML", "each Part needs its PartNumber and its ETag")
    return f"{int(number[1])}.{etag[1]}"


def _join(parts: list[Path], folder: Path) -> None:
    draft = folder / f".draft-{token_hex(8)}"
    try:
        with draft.open("xb") as whole:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, whole, CHUNK_BYTES)
        draft.replace(folder / "object")
    finally:
        draft.unlink(missing_ok=True)


def _xml(root: str, fields: dict[str, str], status: int = 200) -> Response:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inner}</{root}>'
    return Response(text, status, media_type="application/xml")


def _xml_error(request: Request, code: str, message: str) -> Response:
    answer = _xml("Error", {"Code": code, "Message": message}, _STATUS.get(code, 400))
    if "expect" in request.headers:
        answer.headers["Connection"] = "close"  # Nobody can tell whether the body will still come.
    return answer
