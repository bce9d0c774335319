"""The gateway under load while everything around it, and it itself, is killed, drained, moved and replaced."""

from pathlib import Path

from tests.gateway.chaos.run import chaos

CALLERS = 12


async def test_no_request_fails_but_those_that_a_killed_process_was_answering(tmp_path: Path) -> None:
    outcome = await chaos(tmp_path, requests=5000, callers=CALLERS, broker_away_s=2)
    account = outcome.account
    assert account.wrong == []
    assert outcome.unexcused() == []
    assert outcome.misrouted() == []
    assert account.done >= 5000
    assert len(outcome.killed_ports) > 0
    assert len(account.broken) <= 2 * CALLERS
    assert account.stale > 0
    assert outcome.stale_metric_s > 0
    assert len(outcome.workers) > 1
    assert account.told_to_close > 0
    replicas = {replica for _, _, replica in account.routed}
    assert replicas == {"one-a", "one-b", "one-c", "two-a", "two-b"}
