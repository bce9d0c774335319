"""What the nodes of a plane know each other by, and what links to weights are signed with."""

from secrets import token_hex

from ops.config import Settings
from ops.local.files import read_or_none
from projections.stores.whole import write_whole


def peer_secret(settings: Settings) -> bytes:
    """The one that was given, else the state folder's own, which is made when it is first asked for."""
    if settings.peer_secret is not None:
        return settings.peer_secret.encode()
    file = settings.folder("run") / "peer-secret"
    known = read_or_none(file)
    if known is None:
        write_whole(file, token_hex(32).encode())
        return peer_secret(settings)
    return known
