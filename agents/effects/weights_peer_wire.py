"""What nodes that share weights say to each other: how chunks are named, and proofs that both are of one plane.

They know each other by a key derived from the plane's secret. Each request carries a proof for this pair of nodes,
compared in constant time, and each answer carries one back; what is answered is checked by its hash anyway.
"""

from collections.abc import Mapping
from hmac import compare_digest

import blake3

from agents.weights.manifest import Chunk
from events.base import NodeId
from events.weights import ManifestId

FROM, PROOF, MORE = "X-Causeway-Node", "X-Causeway-Proof", "X-Causeway-More"
_CONTEXT = "causeway 2026 weights between nodes"


class Keyring:
    """Proofs between nodes of one plane."""

    def __init__(self, me: NodeId, secret: bytes) -> None:
        self.me = me
        self._key = blake3.blake3(secret, derive_key_context=_CONTEXT).digest()

    def proof(self, kind: str, sender: str, receiver: str) -> str:
        """That `sender` knows the secret, good for `receiver` only."""
        return blake3.blake3(f"{kind}\n{sender}\n{receiver}".encode(), key=self._key).hexdigest()

    def link(self, manifest_id: ManifestId, number: int, until_s: int) -> str:
        """Path and query by which anybody gets that file of a manifest from any node, until then."""
        path = f"/files/{manifest_id}/{number}"
        return f"{path}?until={until_s}&proof={self.proof('link', path, str(until_s))}"

    def is_link(self, path: str, until_s: str, given: str) -> bool:
        return compare_digest(given.encode(), self.proof("link", path, until_s).encode())

    def asks(self, node: NodeId) -> dict[str, str]:
        return {FROM: self.me, PROOF: self.proof("ask", self.me, node)}

    def is_asked_by(self, headers: Mapping[str, str]) -> bool:
        given = headers.get(PROOF, "")
        return compare_digest(given.encode(), self.proof("ask", headers.get(FROM, ""), self.me).encode())

    def answers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {PROOF: self.proof("answer", self.me, headers.get(FROM, ""))}

    def is_answered_by(self, node: NodeId, given: str) -> bool:
        return compare_digest(given.encode(), self.proof("answer", node, self.me).encode())


def asking(chunk: Chunk) -> str:
    return f"{chunk.hash}/{chunk.size}"
