"""Is the log what it was? Every message against the seals, and against the archive where that says more.

What cannot be read, what was changed and what is missing is named by segment and position. The archive is checked the
same way, so that one knows what a restore would bring back.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec

from events.base import ORIGIN, Position
from events.codec import CorruptMessage, decode
from events.log.raw import RawLog, RawMessage
from events.log.segments import first_difference, segment_of
from events.seal import LogSealed
from projections.stores.archive import Archive, ArchiveBroken, Kept


class Problem(msgspec.Struct, frozen=True):
    first: Position
    last: Position
    segment: str
    """`5001-10000`, or that it is not sealed yet."""
    what: str
    archive: bool = False
    """It is the archive that is not as it was; the log may be good."""

    def __str__(self) -> str:
        where = f"position {self.first}" if self.first == self.last else f"positions {self.first} to {self.last}"
        return f"{where}, segment {self.segment}: {self.what}"


class Seal(msgspec.Struct, frozen=True):
    """A seal that the log holds, and where."""

    position: Position
    first: Position
    last: Position
    hash: str
    previous_hash: str

    @property
    def name(self) -> str:
        return f"{self.first}-{self.last}"


class Verified(msgspec.Struct, frozen=True):
    after: Position
    """The check began behind this position."""
    head: Position
    sealed: Position
    """Up to here seals vouch for it."""
    sealed_hash: str
    seals: int
    archived: Position
    problems: tuple[Problem, ...]


class Mark(msgspec.Struct, frozen=True):
    """How far the log was found good, so that the next check can begin there."""

    sealed: Position = ORIGIN
    hash: str = ""


class _Check:
    """One pass, in order. Holds the messages that no seal has spoken of yet."""

    def __init__(self, mark: Mark, archive: Archive, files: list[Kept]) -> None:
        self.last = self.sealed = self._trusted = mark.sealed
        self.hash = mark.hash
        self.seals: dict[Position, str] = {}
        """The hash of each seal, by the last position that it speaks of."""
        self.problems: list[Problem] = []
        self._held: dict[Position, RawMessage] = {}
        self._lost: list[tuple[Position, Position, str]] = []
        self._archive = archive
        self._files = files

    async def take(self, message: RawMessage) -> None:
        self.lose(Position(self.last + 1), Position(message.position - 1), "missing, or the server cannot read it")
        self.last = message.position
        self._held[message.position] = message
        try:
            event, _ = decode(message.body)
        except CorruptMessage as error:
            self._lost.append((message.position, message.position, f"not an event of any version: {error}"))
            return
        if isinstance(event, LogSealed):
            await self._seal(Seal(message.position, event.first, event.last, event.hash, event.previous_hash))

    def lose(self, first: Position, last: Position, why: str) -> None:
        if first <= last:
            self._lost.append((first, last, why))

    async def _seal(self, seal: Seal) -> None:
        if seal.last <= self._trusted:
            return  # of what an earlier check has found good; a seal comes a little after its segment
        if seal.first > self.sealed + 1:
            # The seals between are lost with their messages; what they sealed cannot be vouched for, the chain goes on.
            lost = Seal(seal.position, Position(self.sealed + 1), Position(seal.first - 1), "", "")
            await self._report(lost, seals=False)
            self.hash = seal.previous_hash
        elif seal.first != self.sealed + 1 or seal.previous_hash != self.hash:
            what = "its seal does not follow from the seal before it"
            self.problems.append(Problem(seal.position, seal.position, seal.name, what))
        await self._report(seal, seals=True)
        self.sealed, self.hash = seal.last, seal.hash
        self.seals[seal.last] = seal.hash

    async def _report(self, seal: Seal, *, seals: bool) -> None:
        """Everything about the positions of a segment, and then forgets its messages."""
        lost = [each for each in self._lost if each[0] <= seal.last]
        self._lost = [each for each in self._lost if each[0] > seal.last]
        for first, last, why in lost:
            if last > seal.last:  # goes on in the next segment
                self._lost.insert(0, (Position(seal.last + 1), last, why))
            self.problems.append(Problem(max(first, seal.first), min(last, seal.last), seal.name, why))
        held = [self._held.pop(at) for at in sorted(self._held) if at <= seal.last]
        if not lost and seals and _hash_of(held, seal) != seal.hash:
            await self._changed(seal, held)

    async def _changed(self, seal: Seal, held: list[RawMessage]) -> None:
        """The archive, if it has the segment as it was sealed, says where."""
        at = None
        for kept in self._files:
            if (kept.first, kept.last) == (seal.first, seal.last):
                try:
                    segment, messages = await self._archive.read(kept)
                except ArchiveBroken:
                    break  # reported with the archive
                at = first_difference(messages, held) if segment.hash == seal.hash else None
        if at is None:
            what = "an event of it was changed (its archived file could say which): the hash differs from the seal's"
            self.problems.append(Problem(seal.first, seal.last, seal.name, what))
        else:
            self.problems.append(Problem(at, at, seal.name, "changed: it differs from the archive and the seal"))

    async def end(self) -> None:
        """About what no seal of the log speaks of: it may be the seals that are lost, and the archive has it still."""
        for kept in self._files:
            if kept.last > self.sealed:
                await self._beside(kept)
        for first, last, why in self._lost:
            self.problems.append(Problem(first, last, "not sealed yet", why))

    async def _beside(self, kept: Kept) -> None:
        name, rest = f"{kept.first}-{kept.last}", []
        for first, last, why in self._lost:
            begin, end = max(first, kept.first), min(last, kept.last)
            if begin > end:
                rest.append((first, last, why))
                continue
            self.problems.append(Problem(Position(begin), Position(end), name, why))
            if first < begin:
                rest.append((first, Position(begin - 1), why))
            if end < last:
                rest.append((Position(end + 1), last, why))
        self._lost = rest
        try:
            _, messages = await self._archive.read(kept)
        except ArchiveBroken:
            return  # reported with the archive
        for message in messages:
            held = self._held.get(message.position)
            if held is not None and (held.subject, held.body) != (message.subject, message.body):
                what = "changed: it differs from the archive"
                self.problems.append(Problem(message.position, message.position, name, what))


def _hash_of(held: list[RawMessage], seal: Seal) -> str | None:
    """None: the seal names what is not there."""
    return segment_of(held, seal.previous_hash).hash if held and held[0].position == seal.first else None


async def verify(raw: RawLog, archive: Archive, mark: Mark | None = None, *, is_copy: bool = False) -> Verified:
    """From the first event, or from the mark on. `is_copy`: the archive may end earlier than the plane's own.

    Raises LogUnavailable, StoreUnavailable, and LogBroken if there is no log at all.
    """
    head = await raw.raw_head()
    files = await archive.segments()
    archived = max((kept.last for kept in files), default=ORIGIN)
    if archived > head:  # sealed meanwhile, or the log has lost its end
        head = await raw.raw_head()
    if mark is None or mark.sealed > head:  # what was found good is not there any more
        mark = Mark()
    check = _Check(mark, archive, files)
    async with aclosing(raw.raw(mark.sealed, head)) as messages:  # type: ignore[type-var]
        async for message in messages:
            await check.take(message)
    check.lose(Position(check.last + 1), head, "missing, or the server cannot read it")
    check.lose(Position(head + 1), archived, "the log ends before it, but the archive has it: restore the log")
    await check.end()
    of_archive = await _of_archive(archive, files, check, mark)
    if archived < check.sealed and not is_copy:
        what = f"{archive.place} lacks it, though it is sealed"
        of_archive.append(Problem(Position(archived + 1), check.sealed, f"behind {archived}", what, archive=True))
    problems = (*check.problems, *of_archive)
    return Verified(mark.sealed, head, check.sealed, check.hash, len(check.seals), archived, problems)


async def _of_archive(archive: Archive, files: list[Kept], check: _Check, mark: Mark) -> list[Problem]:
    """Every file by itself, that they follow from each other, and that they are what the log has sealed."""
    problems: list[Problem] = []
    seals = {mark.sealed: mark.hash, **check.seals}
    last, previous = ORIGIN, ""

    def tell(first: int, last: int, segment: str, what: str) -> None:
        problems.append(Problem(Position(first), Position(last), segment, what, archive=True))

    for kept in files:
        name = f"{kept.first}-{kept.last}"
        if kept.first != last + 1:
            tell(last + 1, kept.first - 1, f"before {name}", "the archive lacks it")
            previous = ""
        last = kept.last
        try:
            segment, _ = await archive.read(kept)
        except ArchiveBroken as error:
            tell(kept.first, kept.last, name, str(error))
            previous = ""
            continue
        if previous and segment.previous_hash != previous:
            tell(kept.first, kept.last, name, f"{archive.where(kept)} does not follow from the file before it")
        previous = segment.hash
        # Where the log has lost seals, it is the log that is wrong.
        said = seals.get(kept.last, segment.hash if check.problems else "")
        if mark.sealed <= kept.last <= check.sealed and segment.hash != said:
            tell(kept.first, kept.last, name, f"{archive.where(kept)} is not what the log has sealed")
    return problems


async def salvaged(raw: RawLog, after: Position) -> AsyncIterator[RawMessage]:
    """What a damaged log still has behind a position, up to the first event that it has lost, whole decisions only."""
    decision: list[RawMessage] = []
    last = after
    async with aclosing(raw.raw(after, await raw.raw_head())) as messages:  # type: ignore[type-var]
        async for message in messages:
            if message.position != last + 1:
                return
            try:
                _, meta = decode(message.body)
            except CorruptMessage:
                return
            last = message.position
            decision.append(message)
            if meta.index + 1 >= meta.count:
                for each in decision:
                    yield each
                decision = []
