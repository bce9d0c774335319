"""What a call is at, what an attempt at a replica is at, and what may come next.

Call (`call.py`):

PEEKING  -> CHOOSING  the beginning of the body has come, where that tells where to go
CHOOSING -> PARKED    no replica yet, or all full; back to CHOOSING when its turn has come
         -> RESTING   the replica has just failed this request; CHOOSING after a pause, or when the table has news
         -> TRYING    an attempt at the chosen replica
         -> ENDED     refused
TRYING   -> CHOOSING  the attempt failed, and nothing went to the caller
         -> ENDED     answered, or broken off

Attempt (`attempt.py`):

DIALLING  waits for a connection                                        -> SENT | failed
SENT      head and body so far are on the way, the rest as it comes     -> STREAMING | SPLICED | failed
STREAMING the answer's head went on to the caller: no way back          -> over
SPLICED   101: bytes both ways until one side ends                      -> over
"""

from enum import IntEnum


class Phase(IntEnum):
    CHOOSING = 0
    PEEKING = 1
    PARKED = 2
    RESTING = 3
    TRYING = 4
    ENDED = 5


class Progress(IntEnum):
    DIALLING = 0
    SENT = 1
    STREAMING = 2
    SPLICED = 3


CHOOSING, PEEKING, PARKED, RESTING, TRYING, ENDED = Phase
DIALLING, SENT, STREAMING, SPLICED = Progress
"""By themselves: through the class, Python 3.11 takes 150 ns for each look."""
