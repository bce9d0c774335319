"""Values of secrets: one file each, readable by the owner only. The log knows their names and versions, never values.

A value is replaced whole and durably: a reader finds the old one or the new one.
"""

from pathlib import Path
from secrets import token_hex

from handlers.deciders.access import SECRET_NAME
from projections.stores.whole import write_whole

VALUE_MAX_BYTES = 1 << 20


class BadSecret(ValueError):
    """A name or a value that is not stored. `field` says which."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class SecretFiles:
    """`folder` is the state folder's `secrets`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self, name: str, value: str) -> str:
        """Returns the new version: random, so that it says nothing of the value. Blocks: for a thread."""
        path = self._path(name)
        content = value.encode()
        if len(content) > VALUE_MAX_BYTES:
            raise BadSecret("value", f"the value has {len(content)} bytes; at most {VALUE_MAX_BYTES} are stored")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, content, durable=True)
        return token_hex(8)

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def read(self, name: str) -> str | None:
        """None: there is none of that name, or cannot be."""
        if not SECRET_NAME.fullmatch(name):
            return None
        try:
            return self._path(name).read_bytes().decode()
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> Path:
        if not SECRET_NAME.fullmatch(name):
            raise BadSecret("name", f"{name!r}: a secret's name has 1 to 128 letters, digits, _ and -")
        return self._folder / name
