"""AWS Signature Version 4 as S3 uses it: check a request's signature (in its headers or its query), and presign a URL.

Pure: the time and the secret arrive as arguments. Everything that the signature covers is taken as it was sent.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
SKEW = timedelta(minutes=15)
EXPIRES_MAX_S = 7 * 24 * 3600


class BadSignature(Exception):
    """A request that is not signed as it must be. `code` is S3's name for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Request(NamedTuple):
    method: str
    path: str
    """As sent, percent-encoded."""
    query: str
    """As sent, without the question mark."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""

    def header(self, name: str) -> str:
        return ",".join(" ".join(value.split()) for key, value in self.headers if key == name)

    def parameters(self) -> list[tuple[str, str]]:
        pairs = [pair.partition("=") for pair in self.query.split("&") if pair]
        return [(unquote(name), unquote(value)) for name, _, value in pairs]


class Claim(NamedTuple):
    """What a request says of its signature."""

    access_key_id: str
    scope: str
    """date/region/service/aws4_request"""
    signed_headers: tuple[str, ...]
    signature: str
    at: str
    """Like 20261121T194200Z."""
    expires_s: int | None
    """Only presigned requests have it."""
    payload_hash: str
    token: str


def claim_of(request: Request) -> Claim:
    """Raises BadSignature when the request carries no complete signature."""
    query = dict(request.parameters())
    try:
        if "X-Amz-Signature" in query:
            algorithm, given = query["X-Amz-Algorithm"], query["X-Amz-Credential"]
            claim = Claim(
                *_split(given), tuple(query["X-Amz-SignedHeaders"].split(";")), query["X-Amz-Signature"],
                query["X-Amz-Date"], int(query["X-Amz-Expires"]), UNSIGNED, query.get("X-Amz-Security-Token", ""),
            )  # fmt: skip
        else:
            algorithm, _, rest = request.header("authorization").partition(" ")
            parts = dict(part.strip().split("=", 1) for part in rest.split(","))
            claim = Claim(
                *_split(parts["Credential"]), tuple(parts["SignedHeaders"].split(";")), parts["Signature"],
                request.header("x-amz-date"), None, request.header("x-amz-content-sha256"),
                request.header("x-amz-security-token"),
            )  # fmt: skip
        if algorithm != ALGORITHM:
            raise ValueError(algorithm)
    except (KeyError, ValueError) as error:
        raise BadSignature("AccessDenied", f"sign the request with {ALGORITHM} (S3, Signature Version 4)") from error
    return claim


def _split(credential: str) -> tuple[str, str]:
    access_key_id, _, scope = credential.partition("/")
    if not access_key_id or len(scope.split("/")) != 4:
        raise ValueError(credential)
    return access_key_id, scope


def verify(request: Request, claim: Claim, secret: str, now: datetime) -> None:
    """Raises BadSignature when the signature is not the secret's, or its time is over."""
    try:
        at = datetime.strptime(claim.at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise BadSignature("AccessDenied", "x-amz-date must be like 20261121T194200Z") from None
    if claim.scope.split("/")[0] != claim.at[:8] or "host" not in claim.signed_headers:
        raise BadSignature("AccessDenied", "sign the host header, and with the date of x-amz-date")
    if at - now > SKEW or (claim.expires_s is None and now - at > SKEW):
        message = f"the request's time is {claim.at}, ours {now:%Y%m%dT%H%M%SZ}: set the clock"
        raise BadSignature("RequestTimeTooSkewed", message)
    if claim.expires_s is not None:
        until = at + timedelta(seconds=min(claim.expires_s, EXPIRES_MAX_S))
        if claim.expires_s > EXPIRES_MAX_S or now > until:
            raise BadSignature("AccessDenied", "the presigned URL has expired: ask for a new one")
    if not hmac.compare_digest(signature(request, claim, secret).encode(), claim.signature.encode()):
        raise BadSignature("SignatureDoesNotMatch", "the signature is not that of this request and key")


def signature(request: Request, claim: Claim, secret: str) -> str:
    headers = "".join(f"{name}:{request.header(name)}\n" for name in claim.signed_headers)
    parameters = sorted((_quote(k), _quote(v)) for k, v in request.parameters() if k != "X-Amz-Signature")
    canonical = "\n".join(
        (
            request.method,
            request.path,
            "&".join(f"{name}={value}" for name, value in parameters),
            headers,
            ";".join(claim.signed_headers),
            claim.payload_hash,
        )
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join((ALGORITHM, claim.at, claim.scope, hashed))
    key = f"AWS4{secret}".encode()
    for part in claim.scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def presign(url: str, access_key_id: str, secret: str, now: datetime, expires_s: int, region: str = "us-east-1") -> str:
    """A URL that anyone may GET until it expires."""
    origin, host, path = _parts(url)
    at = f"{now:%Y%m%dT%H%M%SZ}"
    scope = f"{at[:8]}/{region}/s3/aws4_request"
    query = "&".join(
        f"{name}={_quote(value)}"
        for name, value in (
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", f"{access_key_id}/{scope}"),
            ("X-Amz-Date", at),
            ("X-Amz-Expires", str(expires_s)),
            ("X-Amz-SignedHeaders", "host"),
        )
    )
    request = Request("GET", path, query, (("host", host),))
    claim = Claim(access_key_id, scope, ("host",), "", at, expires_s, UNSIGNED, "")
    return f"{origin}{path}?{query}&X-Amz-Signature={signature(request, claim, secret)}"


def _parts(url: str) -> tuple[str, str, str]:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}", host, quote(slash + path, safe="/-_.~")


def _quote(text: str) -> str:
    return quote(text, safe="-_.~")
