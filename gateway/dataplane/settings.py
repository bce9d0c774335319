"""What the operator may set of the data plane, and the bounds that it keeps."""

import msgspec

from gateway.bucket import RateLimit
from gateway.circuit import CircuitSettings
from gateway.dataplane.limits import Limits


class DataPlaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    domain: str = "localhost"
    """Models answer on `model-<id>.<domain>`."""
    hosts: dict[str, str] = {}
    """Hosts of the operator's own, each with the model (name or id) or `model/environment` that it reaches."""
    rate_limit: RateLimit | None = None
    """Of each API key, in each worker; None: none."""
    prefix_affinity_bytes: int = 0
    """Requests whose prompts begin with the same so many bytes go to the same replica; 0: off."""
    body_bytes_max: int = 100 * 1024 * 1024
    park_deadline_s: float = 1200.0
    call_deadline_s: float = 1200.0
    """From the first attempt to the head of the answer, without the time that it waits for a slot."""
    idle_timeout_s: float = 1200.0
    """A body, an answer or a WebSocket of which nothing arrives for so long is cut."""
    total_deadline_s: float | None = None
    """From the first attempt to the end of the answer; None: as long as bytes come."""
    parked_requests_max: int = 5000
    parked_bytes_max: int = 256 * 1024 * 1024
    replay_bytes_max: int = 1024 * 1024
    """A body up to this size is kept until its answer begins, so that it can be sent to another replica."""
    retry_delay_s: float = 0.5
    retry_growth: float = 1.5
    retry_delay_cap_s: float = 10.0
    attempts_max: int = 16
    circuit: CircuitSettings = CircuitSettings()
    connect_timeout_s: float = 5.0
    upstream_idle_s: float = 4.0
    """Below the 5 s after which uvicorn, which model servers run on, closes an idle connection."""
    keep_alive_s: float = 75.0
    head_timeout_s: float = 30.0
    linger_s: float = 10.0
    """How long a refused caller may go on sending its body, so that it gets to read why."""
    load_every_s: float = 1.0
    yield_s: float = 0.03
    """How long a free slot is left to a request that came earlier, to another worker."""

    @property
    def limits(self) -> Limits:
        """Of requests whose environment says nothing of its own."""
        return Limits(
            self.park_deadline_s,
            self.call_deadline_s,
            self.idle_timeout_s,
            self.total_deadline_s,
            self.prefix_affinity_bytes,
        )
