"""Settings: every knob of a Causeway process, read once from `CAUSEWAY_*` variables, and nowhere else.

The fields below are the documented list (`causeway doctor --settings` prints it): one variable a field, its
default and one sentence. A variable that does not parse, or that nobody knows, is refused with its name, its
value and what to write instead. `Settings.environ()` renders the same variables again, so that a supervisor
can resolve what was left open (ports, addresses of the children) and hand the result to its children.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ops import parse

PREFIX = "CAUSEWAY_"
CHECKOUT = Path(__file__).resolve().parent.parent
STATE_FOLDERS = (
    "nats", "postgres", "blobs", "environments", "bundles", "replicas",
    "logs", "run", "secrets", "snapshots", "cursors", "archive", "weights",
)  # fmt: skip
SANDBOXES = ("auto", "bubblewrap", "process")
LOG_LEVELS = ("debug", "info", "warning", "error")

# What a child needs of its surroundings to find tools, certificates, proxies and package indexes.
INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "TERM", "NO_COLOR", "NETRC",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_SERVICE_ENDPOINT",
)  # fmt: skip
INHERITED_PREFIXES = ("LC_", "XDG_", "PIP_", "UV_", "HF_", "AWS_", "GOOGLE_", "OTEL_")


class BadSetting(ValueError):
    """A variable that cannot be used; the message names it, its value and the fix."""

    def __init__(self, variable: str, value: str, fix: str) -> None:
        self.variable, self.value, self.fix = variable, re.sub(r"//[^/@]*@", "//…@", value), fix
        super().__init__(f"{variable}={self.value!r}: {fix}")


def _setting(parser: Callable[[str], Any], want: str, about: str, default: Any = MISSING) -> Any:
    # An address may hold a password: never in a repr, which ends up in logs.
    return field(
        default=default,
        repr="user:password" not in want,
        metadata={"parse": parser, "want": want, "about": about},
    )


def _path_to(about: str) -> Any:
    return _setting(parse.path, "a path", about, None)


def _duration(default: float, about: str) -> Any:
    return _setting(parse.seconds, "seconds, as a number >= 0, for example 2.5", about, default)


@dataclass(frozen=True)
class Settings:
    """One process's settings. `None` means: not given, so the local stack starts or picks it."""

    state: Path = _setting(
        parse.path, "a folder", "Folder that holds everything this stack writes.", CHECKOUT / ".causeway"
    )
    cache: Path = _setting(
        parse.path,
        "a folder",
        "Folder of downloads that builds share; may be deleted at any time.",
        CHECKOUT / ".cache" / "builds",
    )
    port: int | None = _setting(
        parse.port,
        "a port number 1-65535 that must be free, or 0 to pick any free one",
        "Public port. Not given: the port of the last run, else 8000, else a free one.",
        None,
    )
    bind: str = _setting(str.strip, "an address", "Address the public port listens on.", "127.0.0.1")
    public_url: str | None = _setting(
        parse.url("http", "https"),
        "a URL such as https://models.example.com",
        "URL users reach the gateway by. Not given: http://<bind>:<port>.",
        None,
    )
    domain: str = _setting(
        parse.domain, "a host name without scheme or port", "Models answer on model-<id>.<domain>.", "localhost"
    )
    url: str | None = _setting(
        parse.url("http", "https"),
        "a URL such as https://models.example.com",
        "Plane that the command line talks to. Not given: the local stack.",
        None,
    )
    api_key: str | None = field(
        default=None,
        repr=False,
        metadata={"parse": str.strip, "want": "an API key", "about": "Key the command line presents."},
    )
    nats_url: str | None = _setting(
        parse.url("nats", "tls", "ws", "wss"),
        "a URL such as nats://user:password@host:4222",
        "NATS server to use. Not given: one is started as a child.",
        None,
    )
    nats_monitor_url: str | None = _setting(
        parse.url("http", "https"),
        "a URL such as http://host:8222",
        "Monitoring address of that server, where it is checked that writes are synced before they are acknowledged.",
        None,
    )
    postgres_url: str | None = _setting(
        parse.url("postgresql", "postgres"),
        "a URL such as postgresql://user:password@host/database",
        "PostgreSQL to use. Not given: one is started as a child.",
        None,
    )
    nats_server: Path | None = _path_to("nats-server binary. Not given: the one of the virtual environment.")
    capsule: Path | None = _path_to("A capsule that the command line asks instead of the plane's history.")
    postgres_bin: Path | None = _path_to("Folder with postgres and initdb. Not given: the bundled one.")
    uv: Path | None = _path_to("uv binary. Not given: the one of the virtual environment.")
    bubblewrap: Path | None = _path_to("bwrap binary. Not given: looked up on PATH.")
    truss_venv: Path = _setting(
        parse.path, "a folder", "Virtual environment that holds the stock truss client.", CHECKOUT / ".venv-truss"
    )
    sandbox: str = _setting(
        parse.one_of(*SANDBOXES),
        f"one of {', '.join(SANDBOXES)}",
        "How replicas and builds are fenced. auto: bubblewrap where it works, else a plain process.",
        "auto",
    )
    peer_secret: str | None = field(
        default=None,
        repr=False,
        metadata={
            "parse": str.strip,
            "want": "a long random word, the same for every node",
            "about": "What nodes that give each other weights know each other by. Not given: of the state folder.",
        },
    )
    weights_cache: Path | None = _path_to(
        "Folder of this node's weights, best on a fast disk of its own. Not given: in the state folder."
    )
    weights_cache_bytes: int | None = _setting(
        parse.positive, "a number of bytes >= 1", "What they may take of it. Not given: half of that disk.", None
    )
    weights_port: int = _setting(
        parse.port,
        "a port number 1-65535 that must be free, or 0 to pick any free one",
        "Port at which this node gives weights to others. Not given: the port of the last run, else any free one.",
        0,
    )
    weights_verify: str = _setting(
        parse.one_of("changed", "always"),
        "changed or always",
        "Which weights are read and checked again at each start of a replica: those whose files changed, or all.",
        "changed",
    )
    cpu_overcommit: float = _setting(
        parse.seconds,
        "a number, for example 4",
        "How many times over this machine's CPUs are promised to replicas.",
        4.0,
    )
    log_level: str = _setting(
        parse.one_of(*LOG_LEVELS), f"one of {', '.join(LOG_LEVELS)}", "Least severe line that is logged.", "info"
    )
    log_max_bytes: int = _setting(
        parse.positive, "a number of bytes >= 1", "Size at which a child's log file is rotated.", 16 * 1024 * 1024
    )
    log_files: int = _setting(parse.positive, "a number >= 1", "Rotated log files kept of each child.", 3)
    ready_fd: int | None = _setting(
        parse.positive, "a file descriptor", "Set by the supervisor: where a child says that it is ready.", None
    )
    model_hosts: str | None = _setting(
        parse.hosts,
        "host=model or host=model/environment, several separated by commas",
        "Hosts of your own, each reaching one environment of a model (production, if none is named).",
        None,
    )
    rate_limit_per_s: float | None = _setting(
        parse.rate,
        "a number above 0, for example 100",
        "Requests a second that one API key may send. Not given: any.",
        None,
    )
    rate_limit_burst: int | None = _setting(
        parse.positive, "a number >= 1", "Requests that it may send at once. Not given: those of one second.", None
    )
    weights_store: str | None = _setting(
        parse.bucket,
        "an address such as s3://bucket/prefix",
        "Bucket for mirrored weights; credentials and endpoint from AWS_*. Not given: the state folder.",
        None,
    )
    archive_store: str | None = _setting(
        parse.bucket,
        "an address such as s3://bucket/prefix",
        "Bucket for the log's archive; credentials and endpoint from AWS_*. Not given: the state folder.",
        None,
    )
    weights_folders: str | None = _setting(
        parse.folders,
        "absolute folders, several separated by colons",
        "Folders of this machine that `file://` weights may come from. Not given: none.",
        None,
    )
    park_deadline_s: float = _duration(1200.0, "Longest wait of a request for a replica or for a slot at one.")
    call_deadline_s: float = _duration(1200.0, "Longest wait for the first byte of a model's answer.")
    idle_timeout_s: float = _setting(
        parse.rate,
        "seconds, as a number above 0",
        "A stream or WebSocket in which nothing moves for so long is cut.",
        1200.0,
    )
    total_deadline_s: float | None = _setting(
        parse.rate,
        "seconds, as a number above 0",
        "Longest whole call, streams too. Not given: as long as it moves.",
        None,
    )
    body_bytes_max: int = _setting(
        parse.positive, "a number of bytes >= 1", "Largest body of a request to a model.", 100 * 1024 * 1024
    )
    prefix_affinity_bytes: int = _setting(
        parse.count,
        "a number of bytes, 0 for off",
        "LLM requests whose prompts begin with the same so many bytes go to the same replica.",
        0,
    )
    webhook_networks: str | None = _setting(
        parse.networks,
        "networks such as 10.1.0.0/16, several separated by commas",
        "Internal networks that webhooks may reach. Not given: public addresses only.",
        None,
    )
    gateway_workers: int = _setting(
        parse.positive,
        "a number of processes >= 1",
        "Gateway processes that share the public port. One keeps a core busy; more only help on a machine with more.",
        1,
    )
    gateway_worker: int = _setting(
        parse.positive, "a number >= 1", "Set by the supervisor: which of them this one is.", 1
    )
    access_log_sample: float = _setting(
        parse.share,
        "a number from 0 to 1, for example 0.01",
        "Share of requests in the gateway's access log; those that fail on our side are always in it.",
        0.01,
    )
    trace_sample: float = _setting(
        parse.share,
        "a number from 0 to 1, for example 0.01",
        "Share of requests without a trace for which the gateway begins one. Spans go to OTEL_EXPORTER_OTLP_ENDPOINT.",
        0.0,
    )
    listen_fd: int | None = _setting(
        parse.positive,
        "a file descriptor",
        "A listening socket to serve, in place of the port: set by the supervisor, or 3 under systemd's .socket units.",
        None,
    )
    start_deadline_s: float = _duration(120.0, "Time every child has to become ready for the first time.")
    stop_deadline_s: float = _duration(15.0, "Time a child has to stop before it is killed.")
    drain_deadline_s: float = _duration(3600.0, "Time a replaced gateway process has to finish running calls.")
    restart_delay_s: float = _duration(0.2, "Wait before a dead child is restarted; doubles each time.")
    restart_delay_cap_s: float = _duration(15.0, "Longest wait between two restarts of a child.")
    healthy_after_s: float = _duration(30.0, "A child alive this long has its restart delay forgotten.")
    inherited_env: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def folder(self, name: str) -> Path:
        """One folder of the state folder, made if missing. Secrets and run files are the owner's only."""
        if name not in STATE_FOLDERS:
            raise ValueError(f"unknown state folder {name!r}; known: {', '.join(STATE_FOLDERS)}")
        path = self.state / name
        path.mkdir(parents=True, exist_ok=True, mode=0o700 if name in ("secrets", "run") else 0o755)
        return path

    @property
    def weights_at(self) -> str:
        """The blob store of weights: a bucket, or the folder of all blobs."""
        return self.weights_store or str(self.folder("blobs"))

    @property
    def archive_at(self) -> str:
        """Where the sealed segments of the log are kept: a bucket, or a folder of their own."""
        return self.archive_store or str(self.folder("archive"))

    @property
    def origin(self) -> str:
        """Where users reach the gateway; only known once a port is."""
        if self.public_url is not None:
            return self.public_url
        if not self.port:
            raise BadSetting(PREFIX + "PORT", str(self.port), "no port is picked yet; run `causeway up`")
        host = "127.0.0.1" if self.bind in ("0.0.0.0", "::", "") else self.bind
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def but(self, **changes: Any) -> "Settings":
        """The same settings with some fields replaced."""
        return replace(self, **changes)

    def environ(self) -> dict[str, str]:
        """The variables that make a child read these same settings, with what it inherits of ours."""
        rendered = {
            PREFIX + each.name.upper(): str(value)
            for each in fields(self)
            if each.metadata and (value := getattr(self, each.name)) is not None
        }
        return dict(self.inherited_env) | rendered


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the variables of this process (or those given); raises `BadSetting`."""
    given = os.environ if environ is None else environ
    known = {PREFIX + each.name.upper(): each for each in fields(Settings) if each.metadata}
    values: dict[str, Any] = {}
    for variable, text in given.items():
        if not variable.startswith(PREFIX) or text == "":
            continue
        if variable not in known:
            near = get_close_matches(variable, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise BadSetting(variable, text, f"no such setting; {hint}")
        spec = known[variable]
        try:
            values[spec.name] = spec.metadata["parse"](text)
        except ValueError:
            raise BadSetting(variable, text, f"write {spec.metadata['want']}") from None
    return Settings(**values, inherited_env=tuple(sorted(_inherited(given))))


def documented() -> tuple[tuple[str, str, str], ...]:
    """Every variable, its default and what it is for, in the order of the fields."""
    return tuple(
        (
            PREFIX + each.name.upper(),
            "" if each.default is None else str(each.default),
            each.metadata["about"],
        )
        for each in fields(Settings)
        if each.metadata
    )


def _inherited(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (name, value) for name, value in environ.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    ]
