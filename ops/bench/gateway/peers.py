"""The proxies to compare with: what each needs, and how it is told to balance over the same two model servers.

Each is set up as its manual says for throughput on one core, with streaming unbuffered and no access log. None of them
checks keys or says where an answer came from, as ours does.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ops.bench.gateway.venvs import environment

CHAT = "/v1/chat/completions"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Place:
    """Where a proxy is to work."""

    folder: Path
    port: int
    spare_port: int
    replicas: tuple[int, ...]
    load_core: int


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = CHAT
    headers: str = ""


@dataclass(frozen=True)
class Peer:
    name: str
    missing: Callable[[], str | None]
    """Why it cannot be measured here."""
    begin: Callable[[Place], Command]
    is_slow: bool = False
    """Thousands of times: one round only, and no ten thousand connections."""
    start_deadline_s: float = 60.0


def _nginx(place: Place) -> Command:
    servers = " ".join(f"server 127.0.0.1:{port};" for port in place.replicas)
    temporary = "\n".join(f"    {kind}_temp_path {place.folder};" for kind in _NGINX_KINDS)
    _write(
        place.folder / "nginx.conf",
        f"""daemon off; master_process off; pid {place.folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 15000; }}
http {{
    access_log off;
{temporary}
    keepalive_requests 1000000000; keepalive_timeout 600s;
    upstream replicas {{ {servers} keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{place.port} backlog=4096;
        location / {{
            proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
        }}
    }}
}}
""",
    )
    return Command(("nginx", "-p", str(place.folder), "-c", str(place.folder / "nginx.conf")))


_NGINX_KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _haproxy(place: Place) -> Command:
    servers = "\n".join(f"    server r{port} 127.0.0.1:{port}" for port in place.replicas)
    _write(
        place.folder / "haproxy.cfg",
        f"""global
    nbthread 1
    no strict-limits
    maxconn 14000
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    http-reuse always
frontend front
    bind 127.0.0.1:{place.port} backlog 4096
    default_backend replicas
backend replicas
    balance leastconn
{servers}
""",
    )
    return Command(("haproxy", "-db", "-f", str(place.folder / "haproxy.cfg")))


def _envoy(place: Place) -> Command:
    endpoints = "".join(f"\n            - endpoint: {{ address: {_envoy_address(port)} }}" for port in place.replicas)
    unlimited = "{ max_connections: 20000, max_pending_requests: 20000, max_requests: 20000 }"
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    _write(
        place.folder / "envoy.yaml",
        f"""static_resources:
  listeners:
  - address: {_envoy_address(place.port)}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {http}
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: replicas, timeout: 0s }} }} ]
          http_filters: [ {{ name: router, typed_config: {{ "@type": {router} }} }} ]
  clusters:
  - name: replicas
    type: STATIC
    lb_policy: LEAST_REQUEST
    circuit_breakers: {{ thresholds: [ {unlimited} ] }}
    load_assignment:
      cluster_name: replicas
      endpoints:
      - lb_endpoints:{endpoints}
""",
    )
    program = str(environment("routers").program("envoy"))
    words = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
    return Command((program, "-c", str(place.folder / "envoy.yaml"), *words))


def _envoy_address(port: int) -> str:
    return f"{{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}"


def _router(program: str, *words: str) -> Callable[[Place], Command]:
    def begin(place: Place) -> Command:
        urls = tuple(f"http://127.0.0.1:{port}" for port in place.replicas)
        where = ("--host", "127.0.0.1", "--port", str(place.port), "--prometheus-port", str(place.spare_port))
        more = ("--prometheus-host", "127.0.0.1", "--policy", "round_robin", "--worker-urls", *urls)
        return Command((str(environment("routers").program(program)), *words, *where, *more))

    return begin


def _litellm(place: Place) -> Command:
    models = "".join(
        f"""
  - model_name: m
    litellm_params: {{ model: openai/m, api_base: "http://127.0.0.1:{port}/v1", api_key: none }}"""
        for port in place.replicas
    )
    _write(place.folder / "litellm.yaml", f"model_list:{models}\n")
    program = str(environment("litellm").program("litellm"))
    words = ("--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1")
    return Command(
        (program, *words, "--telemetry", "False"),
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
    )


def _ray(place: Place) -> Command:
    python = str(environment("ray").program("python"))
    words = (str(HERE / "ray_serve.py"), str(place.port), str(place.load_core), str(place.folder))
    return Command((python, *words), {"RAY_USAGE_STATS_ENABLED": "0"})


def _of_debian(program: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        # Debian has servers in /usr/sbin, which a user's PATH may lack.
        return None if shutil.which(program) else f"not installed: apt-get install {program}"

    return missing


def _of_wheels(name: str, program: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        found = environment(name).program(program).exists()
        return None if found else "not installed: make bench-gateway PEERS=all"

    return missing


def _write(file: Path, text: str) -> None:
    file.write_text(text)


PEERS = (
    Peer("nginx", _of_debian("nginx"), _nginx),
    Peer("HAProxy", _of_debian("haproxy"), _haproxy),
    Peer("Envoy", _of_wheels("routers", "envoy"), _envoy),
    Peer("vLLM router", _of_wheels("routers", "vllm-router"), _router("vllm-router", "--log-level", "error")),
    Peer(
        "SGLang router",
        _of_wheels("routers", "sglang-router"),
        _router("sglang-router", "launch", "--log-level", "error"),
    ),
    Peer("LiteLLM", _of_wheels("litellm", "litellm"), _litellm, is_slow=True, start_deadline_s=180),
    Peer("Ray Serve", _of_wheels("ray", "serve"), _ray, is_slow=True, start_deadline_s=240),
)
