"""What a call is at, and what may come next.

    PEEKING  -> CHOOSING  the beginning of the body has come, where that tells where to go
CHOOSING -> PARKED    no replica yet, or all full; back to CHOOSING when its turn has come
         -> DIALLING  waits for a connection to the chosen replica
         -> ENDED     refused
DIALLING -> SENT      head and body so far are on the way; the rest of the body follows as it comes
         -> CHOOSING  no connection: another replica, or RESTING first
SENT     -> STREAMING the answer's head has come and went on to the caller: no way back from here
         -> CHOOSING  the connection broke, or 502/503/504: once more, as nothing was streamed
         -> SPLICED   101: bytes both ways until one side ends
RESTING  -> CHOOSING  after a pause that grows, or when the table has something new
"""

from enum import IntEnum


class Phase(IntEnum):
    CHOOSING = 0
    PEEKING = 1
    PARKED = 2
    DIALLING = 3
    RESTING = 4
    SENT = 5
    STREAMING = 6
    SPLICED = 7
    ENDED = 8


CHOOSING, PEEKING, PARKED, DIALLING, RESTING, SENT, STREAMING, SPLICED, ENDED = Phase
"""By themselves: through the class, Python 3.11 takes 150 ns for each look."""
