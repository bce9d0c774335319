"""Measurements on this machine, each beside the limit it could at best reach, in one run."""
