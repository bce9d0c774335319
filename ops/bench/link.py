"""Two networks of their own with a link of a known rate between them: what two machines have, on one.

Nothing of the machine's own network is touched. Each network belongs to a process that ends when its input does, so
the kernel removes both, and the link with them, however the bench ends. Needs root, `ip` and `tc` (iproute2), and
`unshare` and `nsenter` (util-linux).
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

NEAR, FAR = "10.255.255.1", "10.255.255.2"


class NoLink(Exception):
    """It cannot be made here."""


class Link(msgspec.Struct, frozen=True):
    near: tuple[str, ...] = ()
    """What runs a command there."""
    far: tuple[str, ...] = ()
    address: str = "127.0.0.1"
    """Of the far side."""


LOOPBACK = Link()


@contextmanager
def shaped(gbits: int) -> Iterator[Link]:
    """What the far side sends gets no faster than that. Raises NoLink."""
    try:
        with _network() as near, _network() as far:
            in_near = ("nsenter", "--target", near, "--net")
            in_far = ("nsenter", "--target", far, "--net")
            _run(*in_near, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far)
            for inside, name, address in ((in_near, "near", NEAR), (in_far, "far", FAR)):
                _run(*inside, "ip", "address", "add", f"{address}/30", "dev", name)
                for each in ("lo", name):
                    _run(*inside, "ip", "link", "set", each, "up")
            shape = ("tbf", "rate", f"{gbits}gbit", "burst", "1mb", "latency", "20ms")
            _run(*in_far, "tc", "qdisc", "add", "dev", "far", "root", *shape)
            yield Link(in_near, in_far, FAR)
    except FileNotFoundError as error:
        raise NoLink(f"{error.filename} is not installed") from error


@contextmanager
def _network() -> Iterator[str]:
    """The process that it belongs to."""
    words, pipe = ("unshare", "--net", "sh", "-c", "echo made; exec cat"), subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin and process.stdout and process.stderr
        try:
            if not process.stdout.readline():
                raise NoLink(process.stderr.read().strip())
            yield str(process.pid)
        finally:
            process.stdin.close()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise NoLink(f"{' '.join(words)}: {done.stderr.strip()}")
