"""Ten-second records of load."""

from datetime import UTC, datetime

from events.base import DeploymentId
from events.signals import Load
from handlers.load_digest import LoadDigest

D, AT = DeploymentId("d"), datetime(2026, 1, 1, tzinfo=UTC)


def load(number: int, in_flight: int, mean: float, worker: str = "w", parked: int = 0, peak: int = 0) -> Load:
    return Load(
        worker=worker,
        number=number,
        deployment_id=D,
        in_flight=in_flight,
        parked=parked,
        mean=mean,
        peak=peak,
        span_s=1.0 if number > 1 else 0.0,
        at=AT,
    )


def test_a_record_holds_mean_and_maxima_of_all_workers_and_what_is_idle_is_forgotten() -> None:
    digest = LoadDigest()
    digest.hear(load(1, 4, 0.0), 100.0)
    for second in range(1, 11):
        digest.hear(load(second + 1, 4 if second < 10 else 0, 4.0, peak=6), 100.0 + second)
    digest.hear(load(1, 0, 0.0, worker="v", parked=2), 109.0)
    digest.hear(load(2, 0, 2.0, worker="v"), 110.0)
    (record,) = digest.flush(110.0)
    assert (record.mean, record.peak, record.parked_peak, record.last) == (4.2, 8, 2, 0)
    assert digest.flush(120.0) == ()
    assert digest.busy == {}


def test_a_worker_that_fell_silent_counts_until_it_expires() -> None:
    digest = LoadDigest()
    digest.hear(load(1, 2, 0.0), 100.0)
    (record,) = digest.flush(110.0)
    assert (record.mean, record.last) == (1.0, 0)
