"""WHAT HAPPENED. Facts, their wire form, and the log that keeps them. Imports nothing of ours."""
