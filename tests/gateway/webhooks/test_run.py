"""A small run of what `make webhooks` does with 10,000 events."""

from pathlib import Path

from tests.gateway.webhooks.run import run


async def test_twenty_webhooks_on_jetstream_one_of_them_dead(tmp_path: Path) -> None:
    outcome = await run(200, 20, tmp_path)
    assert (outcome.missing, outcome.out_of_order, outcome.given_up_by_the_dead) == (0, 0, 0)
    assert outcome.delivered >= 19 * 200
