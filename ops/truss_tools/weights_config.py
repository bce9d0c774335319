"""`weights` of a truss config, and the older `model_cache`, in one shape; what truss lets pass that nobody can mount.

Executed inside `.venv-truss`.
"""

import re
from pathlib import PurePosixPath
from typing import Any

CACHE = "/app/model_cache"
SCHEMES = {"hf": "hf", "s3": "s3", "gcs": "gs", "azure": "azure"}
"""Of a `model_cache` entry's kind."""
ONLY_SECRETS = "write `auth_method: CUSTOM_SECRET` and name a secret as `auth_secret_name`"
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "packages", "proc", "run", "sbin", "sys", "usr", "var")
FREE = "write a folder of its own, such as /weights/model"
_BUCKET = re.compile(r"[\w.:-]+(/.*)?")
SHAPES = {
    "s3": (_BUCKET, "s3://bucket/path"),
    "cw": (_BUCKET, "cw://bucket/path"),
    "gs": (_BUCKET, "gs://bucket/path"),
    "hf": (re.compile(r"[\w.-]+(/[\w.-]+)?(@.+)?"), "hf://owner/repo@revision"),
    "r2": (re.compile(r"[^./]+\.[^/]+(/.*)?"), "r2://account_id.bucket/path"),
    "azure": (re.compile(r"[^/]+/+[^/]+.*"), "azure://account/container/path"),
}
"""What truss lets pass of a source, the mirror would refuse."""


def weights_of(config: Any) -> list[dict[str, Any]]:
    """As the builder reads them."""
    return [
        {
            "source": source.source,
            "mount_location": str(PurePosixPath(source.mount_location)),
            "secret": source.auth_secret_name or (source.auth.auth_secret_name if source.auth else None),
            "allow": source.allow_patterns,
            "ignore": source.ignore_patterns or [],
        }
        for source in config.weights.sources
    ] + [
        {
            "source": _cache_source(repo),
            "mount_location": f"{CACHE}/{repo.volume_folder}",
            "secret": _cache_secret(repo, config),
            "allow": repo.allow_patterns,
            "ignore": repo.ignore_patterns or [],
        }
        for repo in config.model_cache.models
    ]


def _cache_source(repo: Any) -> str:
    """Buckets may stand there with their scheme; they have no revision."""
    scheme = f"{SCHEMES[repo.kind.value]}://"
    revision = f"@{repo.revision}" if repo.revision and scheme == "hf://" else ""
    return f"{scheme}{repo.repo_id.removeprefix(scheme)}{revision}"


def _cache_secret(repo: Any, config: Any) -> str | None:
    """The default name means a token only where the config declares that there is one."""
    name: str = repo.runtime_secret_name
    return name if name != "hf_access_token" or name in config.secrets else None


def weights_problems(raw: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Field, message, fix. What has not even the right shape is truss's to say."""
    found: list[tuple[str, str, str]] = []
    mounts: list[tuple[str, PurePosixPath]] = []
    for index, entry in _entries(raw, "weights"):
        field = f"weights.{index}"
        auth = entry.get("auth")
        method = auth.get("auth_method") if isinstance(auth, dict) else None
        if method not in (None, "CUSTOM_SECRET"):
            found.append((f"{field}.auth.auth_method", f"{method} is not supported by this version", ONLY_SECRETS))
        mounts.append((f"{field}.mount_location", PurePosixPath(str(entry.get("mount_location", "")))))
        secret = entry.get("auth_secret_name") or (auth.get("auth_secret_name") if isinstance(auth, dict) else None)
        found += _source_problems(field, str(entry.get("source", "")), secret)
        found += _pattern_problems(field, entry)
    for index, entry in _entries(raw, "model_cache"):
        field = f"model_cache.{index}"
        if not entry.get("use_volume"):
            fix = "write `use_volume: true` and a `volume_folder`, or use `weights`"
            found.append((f"{field}.use_volume", "weights are not baked into an image here", fix))
        found += _pattern_problems(field, entry)
        mounts.append((f"{field}.volume_folder", PurePosixPath(CACHE, str(entry.get("volume_folder") or f"-{index}"))))
    return found + _mount_problems(mounts)


def _source_problems(field: str, source: str, secret: object) -> list[tuple[str, str, str]]:
    scheme, _, rest = source.partition("://")
    if scheme == "cw" and not secret:
        fix = "name a secret, JSON with access_key_id, secret_access_key and endpoint_url"
        return [(f"{field}.auth_secret_name", "cw:// says not where the store is", fix)]
    if scheme not in SHAPES or not rest or SHAPES[scheme][0].fullmatch(rest):
        return []
    return [(f"{field}.source", f"{source!r} is not the address of weights", f"write {SHAPES[scheme][1]}")]


def _pattern_problems(field: str, entry: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Patterns that no path of a source can meet."""
    found = []
    if entry.get("allow_patterns") == []:
        found.append(
            (f"{field}.allow_patterns", "an empty list lets no file through", "name patterns, or leave it out")
        )
    for name in ("allow_patterns", "ignore_patterns"):
        given = entry.get(name)
        for pattern in given if isinstance(given, list) else ():
            if isinstance(pattern, str) and (pattern.startswith(("/", "./")) or ".." in pattern.split("/")):
                fix = "write it as the path is below the source, such as *.safetensors or onnx/"
                found.append((f"{field}.{name}", f"{pattern!r} can match no file", fix))
    return found


def _entries(raw: dict[str, Any], field: str) -> list[tuple[int, dict[str, Any]]]:
    entries = raw.get(field)
    if not isinstance(entries, list):
        return []
    return [(index, entry) for index, entry in enumerate(entries) if isinstance(entry, dict)]


def _mount_problems(mounts: list[tuple[str, PurePosixPath]]) -> list[tuple[str, str, str]]:
    found = []
    for number, (field, place) in enumerate(mounts):
        if not place.is_absolute() or ".." in place.parts:
            found.append((field, f"{place} is not a plain absolute path", FREE))
        elif len(place.parts) == 1 or place.parts[1] in SYSTEM or place == PurePosixPath("/app"):
            found.append((field, f"{place} is the system's or the model's own", FREE))
        for _, other in mounts[:number]:
            if place.is_relative_to(other) or other.is_relative_to(place):
                found.append((field, f"{place} and {other} lie within each other", FREE))
    return found
