"""Weights on their way: from a source into the blob store (the mirror), from there to nodes (the cache)."""
