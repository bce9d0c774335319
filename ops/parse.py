"""How the text of a setting becomes its value. Each raises ValueError for what it cannot take."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit


def path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not (parts.netloc or parts.query):
            raise ValueError
        return text.rstrip("/")

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return parse


def domain(text: str) -> str:
    if not text or "/" in text or ":" in text or " " in text:
        raise ValueError
    return text.lower().strip(".")


def networks(text: str) -> str:
    """Kept as it was written: CIDR blocks."""
    for each in text.split(","):
        ip_network(each.strip())
    return text


def rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < float("inf"):
        raise ValueError
    return rate


def hosts(text: str) -> str:
    """Kept as it was written: `host=model` pairs."""
    for pair in text.split(","):
        host, mark, model = pair.strip().partition("=")
        if not mark or not model.strip() or domain(host.strip()) != host.strip().lower():
            raise ValueError
    return text


def bucket(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError
    return text.rstrip("/")


def folders(text: str) -> str:
    """Kept as it was written."""
    if not all(each.startswith("/") for each in text.split(":")):
        raise ValueError
    return text
