"""Rules of seals."""

from events.base import Position
from events.seal import LogSealed, LossAccepted
from handlers.deciders.seal import LOG, AcceptLoss, SealLog
from tests.spec import changed, given, ids

FIRST = LogSealed(first=Position(1), last=Position(10), hash="a", previous_hash="")
SECOND = LogSealed(first=Position(11), last=Position(25), hash="b", previous_hash="a")
SEAL_FIRST = SealLog(**ids(), first=Position(1), last=Position(10), hash="a", previous_hash="")
SEAL_SECOND = SealLog(**ids("c2"), first=Position(11), last=Position(25), hash="b", previous_hash="a")


def test_seals_follow_each_other_from_the_first_event_on() -> None:
    given(LOG).when(SEAL_FIRST).then(FIRST)
    given(LOG, FIRST).when(SEAL_SECOND).then(SECOND)


def test_a_segment_is_sealed_once() -> None:
    given(LOG, FIRST).when(SEAL_FIRST).unchanged()
    given(LOG, FIRST, SECOND).when(SEAL_SECOND).unchanged()
    given(LOG, FIRST, SECOND).when(SEAL_FIRST).refused("conflict", "first")


def test_a_gap_an_overlap_or_another_chain_is_refused() -> None:
    given(LOG).when(SEAL_SECOND).refused("conflict", "first")
    given(LOG, FIRST).when(changed(SEAL_SECOND, first=10)).refused("conflict", "first")
    given(LOG, FIRST).when(changed(SEAL_SECOND, previous_hash="z")).refused("conflict", "previous_hash")
    given(LOG, FIRST).when(changed(SEAL_FIRST, hash="z")).refused("conflict", "first")
    given(LOG, FIRST).when(changed(SEAL_SECOND, last=10)).refused("invalid", "last")


def test_a_loss_is_accepted_once_and_only_behind_what_is_sealed() -> None:
    lost = LossAccepted(first=Position(11), last=Position(14))
    accept = AcceptLoss(**ids(), first=Position(11), last=Position(14))
    given(LOG, FIRST).when(accept).then(lost)
    given(LOG, FIRST, lost).when(accept).unchanged()
    given(LOG, FIRST).when(changed(accept, first=10)).refused("invalid", "first")
    given(LOG, FIRST).when(changed(accept, last=10)).refused("invalid", "first")
    given(LOG, FIRST, lost).when(SEAL_SECOND).then(SECOND)
