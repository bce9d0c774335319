"""Where archives arrive: one folder an upload, entered only with the credentials that were issued for it.

Credentials carry what they allow (bucket, key, until when) under our own seal, so they survive a restart of the
gateway and need no table. An upload goes from parts or a draft to `object` (whole), then, once it has been taken
into the blobs, to `taken` (its digest): a push that is sent again finds the digest and pushes nothing twice.
"""

import asyncio
import hmac
import os
import re
import shutil
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_hex

import msgspec

from events.base import BlobDigest
from projections.stores.blobs import FolderBlobs

BUCKET = "causeway_uploads"
"""No valid host name, so that every S3 client puts it into the path."""
BLOBS = "causeway_blobs"
"""Read only, by presigned URLs."""
REGION = "us-east-1"
PLANE_KEY_ID = "causeway"
ARCHIVE_MAX_BYTES = 20 << 30
CREDENTIALS_TTL_S = 6 * 3600
KEEP_S = 24 * 3600
_KEY = re.compile(r"models/([0-9a-f]{32})/truss\.tgz")


class Credentials(msgspec.Struct, frozen=True):
    s3_bucket: str
    s3_key: str
    aws_access_key_id: str
    aws_secret_access_key: str
    aws_session_token: str


class Grant(msgspec.Struct, frozen=True):
    """What a session token says."""

    access_key_id: str
    bucket: str
    key: str
    until: float


class NoUpload(LookupError):
    """Nothing whole lies under the key."""


class UploadArea:
    def __init__(self, root: Path, now: Callable[[], datetime], max_bytes: int = ARCHIVE_MAX_BYTES) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.now = now
        self._seal = _seal_of(root)
        self._swept_at = float("-inf")

    def issue(self) -> Credentials:
        self._sweep_sometimes()
        key = f"models/{token_hex(16)}/truss.tgz"
        access_key_id = f"CWY{token_hex(8).upper()}"
        grant = Grant(access_key_id, BUCKET, key, self.now().timestamp() + CREDENTIALS_TTL_S)
        body = urlsafe_b64encode(msgspec.json.encode(grant))
        token = f"{body.decode()}.{self._mac(b'token', body)}"
        return Credentials(BUCKET, key, access_key_id, self.secret_of(access_key_id), token)

    def secret_of(self, access_key_id: str) -> str:
        return self._mac(b"secret", access_key_id.encode())

    def grant_of(self, token: str) -> Grant | None:
        """None: not ours, or over."""
        body, _, mac = token.partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(b"token", body.encode()).encode()):
            return None
        grant = msgspec.json.decode(urlsafe_b64decode(body), type=Grant)
        return grant if grant.until > self.now().timestamp() else None

    def folder(self, key: str) -> Path:
        """Raises NoUpload for a key that we never issue, so no name leaves the area."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise NoUpload(f"{key!r} is not the s3_key of an upload here: use the one that came with the credentials")
        return self.root / match[1]

    def object(self, key: str) -> Path:
        return self.folder(key) / "object"

    async def take(self, key: str, blobs: FolderBlobs, check: Callable[[Path], None]) -> BlobDigest:
        """The upload as a blob; the same again when asked again. `check` raises for what must not be taken."""
        taken, path = self.folder(key) / "taken", self.object(key)
        if not taken.exists():
            try:
                await asyncio.to_thread(check, path)
                digest = await blobs.put(path)
            except FileNotFoundError:
                if not taken.exists():  # Or the same push, sent twice, was quicker.
                    why = f"nothing was uploaded under s3_key {key!r}, or it has expired: upload the archive again"
                    raise NoUpload(why) from None
            else:
                aside = taken.with_name(f".taken-{token_hex(8)}")
                aside.write_text(digest)
                aside.replace(taken)
                path.unlink(missing_ok=True)
        return BlobDigest(taken.read_text())

    def _sweep_sometimes(self) -> None:
        if time.monotonic() - self._swept_at > 600:
            self._swept_at = time.monotonic()
            self.sweep()

    def sweep(self, older_than_s: float = KEEP_S) -> int:
        """Removes uploads that nobody has touched for so long: unfinished, never pushed, or long since taken."""
        removed = 0
        for folder in self.root.glob("*/"):
            if time.time() - _last_touched(folder) > older_than_s:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed

    def _mac(self, purpose: bytes, text: bytes) -> str:
        return urlsafe_b64encode(hmac.digest(self._seal, purpose + b":" + text, "sha256")).decode().rstrip("=")


def _last_touched(folder: Path) -> float:
    try:
        return max(each.stat().st_mtime for each in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return time.time()  # Somebody is at it.


def _seal_of(root: Path) -> bytes:
    """Random bytes, made once and kept beside the uploads; several gateways on one folder share them."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = root / ".seal"
    if not path.exists():
        aside = root / f".seal-{token_hex(8)}"
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(token_bytes(32))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass  # Another gateway was first; its seal counts.
        finally:
            aside.unlink()
    return sha256(path.read_bytes()).digest()
