"""`make bench-gateway`: our gateway beside the proxies that people would otherwise put in front of models.

One run, in turns: each proxy alone on one core, the callers and the model server (small C programs, compiled on the
spot) on the other, everything on loopback. `__main__` is the run, `peers` and `ours` say how each proxy is started,
`measure` what is asked of it, `changes` how long an event takes to become a route, `report` prints it beside the goals.
"""
