"""Tests mirror the code; their names are the promises."""
