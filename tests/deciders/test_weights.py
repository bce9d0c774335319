"""Rules of what the blob store of weights may lose."""

from typing import Any

from events.weights import ManifestId, WeightsDiscarded
from handlers.deciders.weights import WEIGHTS, DiscardWeights
from tests.spec import changed, given, ids

GONE: dict[str, Any] = {
    "manifests": (ManifestId("a" * 64),), "chunks": 3, "bytes": 4_000_000, "older_than_h": 24.0, "needed_manifests": 2,
}  # fmt: skip
DISCARD, DISCARDED = DiscardWeights(**ids(), **GONE), WeightsDiscarded(**GONE)


def test_what_goes_is_named_each_time() -> None:
    given(WEIGHTS).when(DISCARD).then(DISCARDED)
    given(WEIGHTS, DISCARDED).when(changed(DISCARD, manifests=())).then(changed(DISCARDED, manifests=()))


def test_where_nothing_goes_nothing_is_said() -> None:
    given(WEIGHTS).when(changed(DISCARD, manifests=(), chunks=0, bytes=0)).unchanged()


def test_less_than_nothing_is_refused() -> None:
    given(WEIGHTS).when(changed(DISCARD, chunks=-1)).refused("invalid", "chunks")
