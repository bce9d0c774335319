"""Frozen bytes of every event type that ever shipped, and the values they must decode to."""
