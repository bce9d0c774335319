"""Which of the plane's surrounding variables a build's child may see: those that let it reach package indexes.

Nothing is inherited. What is not named here, our own settings and the operator's credentials above all, does not exist
for a build.
"""

from collections.abc import Mapping
from pathlib import Path

_NETWORK = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip
_UV = (
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX", "UV_FIND_LINKS", "UV_OFFLINE", "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS", "UV_INSECURE_HOST", "UV_HTTP", "UV_CONFIG_FILE", "UV_KEYRING", "UV_EXCLUDE_NEWER",
)  # fmt: skip
_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT", "PIP_TRUSTED_HOST")


def for_uv(surroundings: Mapping[str, str], work: Path) -> dict[str, str]:
    """uv's environment: indexes, certificates, proxies; a home and a scratch folder below `work`."""
    return {
        **{name: value for name, value in surroundings.items() if name in _NETWORK or name.startswith(_UV)},
        **({"NETRC": surroundings["NETRC"]} if "NETRC" in surroundings else {}),
        **_basics(surroundings, work),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
    }


def for_commands(surroundings: Mapping[str, str], work: Path) -> dict[str, str]:
    """The environment of a user's build commands: as uv's, without credentials for indexes."""
    return {
        **{name: value for name, value in surroundings.items() if name in _NETWORK or name in _PIP},
        **_basics(surroundings, work),
    }


def _basics(surroundings: Mapping[str, str], work: Path) -> dict[str, str]:
    return {
        "PATH": surroundings.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "tmp"),
    }
