"""Which of the plane's surrounding variables a build's child may see: those that let it reach package indexes.

Nothing is inherited. What is not named here, our own settings and the operator's credentials above all, does not exist
for a build.
"""

from collections.abc import Mapping
from pathlib import Path

_CHOSEN = (
    "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip
_UV = (
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX", "UV_FIND_LINKS", "UV_OFFLINE", "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS", "UV_INSECURE_HOST", "UV_HTTP", "UV_CONFIG_FILE", "UV_KEYRING", "UV_EXCLUDE_NEWER",
)  # fmt: skip
_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT", "PIP_TRUSTED_HOST")


def reaching_indexes(surroundings: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in surroundings.items() if name in _CHOSEN or name.startswith(_UV)}


def for_uv(surroundings: Mapping[str, str], work: Path) -> dict[str, str]:
    """uv's environment: indexes, certificates, proxies; a home and a scratch folder below `work`."""
    return {
        **reaching_indexes(surroundings),
        "PATH": surroundings.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "tmp"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }


def for_commands(surroundings: Mapping[str, str], work: Path) -> dict[str, str]:
    """The environment of a user's build commands: as uv's, and what pip knows of indexes."""
    pip = {name: value for name, value in surroundings.items() if name in _PIP}
    return for_uv(surroundings, work) | pip


def named_paths(env: Mapping[str, str]) -> list[Path]:
    """What a child is pointed to, such as certificates: it must be able to read that."""
    return [Path(value) for value in env.values() if value.startswith("/") and ":" not in value]
