"""A package index of a folder: tiny real wheels and source distributions, so that builds need no network."""

import base64
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = (), code: str = "") -> None:
    """Zip times are fixed: the same wheel has the same hash."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code or f"version = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {each}\n" for each in requires),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = "".join(f"{path},sha256={_hash(body)},{len(body.encode())}\n" for path, body in files.items())
    files[f"{about}/RECORD"] = f"{records}{about}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, body in files.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), body)


def source_distribution(folder: Path, name: str, backend: str, version: str = "1.0") -> None:
    """A package whose build runs `backend`, a module with PEP 517's hooks."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        f"[project]\nname = '{name}'\ndynamic = ['version', 'dependencies']\n",
        "backend.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(folder / f"{name}-{version}.tar.gz", "w:gz") as tar:
        for path, body in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(body.encode())
            tar.addfile(member, io.BytesIO(body.encode()))


def index_variables(folder: Path) -> dict[str, str]:
    """What makes uv look here and nowhere else."""
    config = folder / "uv.toml"
    config.write_text("no-index = true\n")
    return {"UV_CONFIG_FILE": str(config), "UV_FIND_LINKS": str(folder)}


def _hash(body: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest()).rstrip(b"=").decode()
