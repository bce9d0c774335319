"""What `/v1/events` and `/v1/webhooks` stand on besides the plane."""

from collections.abc import Callable

import msgspec

from events.log.feed import Feed
from events.signals.deliveries import Deliveries
from gateway.secrets import SecretFiles
from gateway.webhooks.targets import Lookup, Targets
from projections.view import View
from projections.webhooks import Webhooks


class Subscriptions(msgspec.Struct, frozen=True):
    webhooks: View[Webhooks]
    """Folded by the same follower as the control API's other views."""
    feed: Feed
    deliveries: Deliveries
    secrets: SecretFiles
    """Where what signs lies: apart from the secrets of models, which models may ask for."""
    targets: Targets
    lookup: Lookup
    ending: Callable[[], bool]
    """This gateway is to be replaced: whoever streams goes to another one."""
