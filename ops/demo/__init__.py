"""`causeway demo`: the main job from nothing to the end, with the commands that a user would type and what they print.

It runs on a state folder of its own, stops everything at its end, and fails loudly at the first step that is not as
promised. Nothing is printed that was not measured or read.
"""

import json
import shutil
import threading
import time
from typing import Any

from rich.console import Console

from ops.config import CHECKOUT, Settings
from ops.demo.hands import DemoFailed, Hands
from ops.local import attach
from ops.operator_key import kept_key

__all__ = ["DemoFailed", "run_demo"]

EXAMPLES = CHECKOUT / "examples"
FLOWERS = {"instances": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}
SPECIES = ["setosa", "virginica"]
SENTENCES = ["A cat sits on the mat.", "A kitten rests on the rug.", "The stock market fell today."]

Pushed = dict[str, Any]


def run_demo(settings: Settings, console: Console) -> None:
    """Raises DemoFailed, and leaves the state folder for a look, when a step is not as promised."""
    own = settings.but(state=settings.state.with_name(f"{settings.state.name}-demo"))
    if attach.status(own) is not None:
        raise DemoFailed(f"a demo runs already on {own.state}: wait for it, or stop it with `causeway down`")
    shutil.rmtree(own.state, ignore_errors=True)
    hands, began = Hands(own, console), time.monotonic()
    try:
        start(hands)
        iris = push_iris(hands)
        push_minilm(hands)
        to_zero_and_back(hands, iris)
        promote(hands, iris)
        look_back(hands, iris)
    except BaseException:
        hands.say(f"what happened is in {own.state / 'logs'}", style="red")
        raise
    finally:
        hands.stop_following()
        hands.title("Stop: every process ends, in order")
        attach.down(own)
    shutil.rmtree(own.state, ignore_errors=True)
    hands.say(f"\nDone in {time.monotonic() - began:.0f} s. Nothing is left running.", style="bold green")


def start(hands: Hands) -> None:
    hands.title("Start the plane: NATS, PostgreSQL, gateway, control, builder, node")
    hands.causeway("up", "--detach")
    hands.settings = attach.attached(hands.settings).but(state=hands.settings.state)
    hands.url = hands.settings.origin
    hands.key = kept_key(hands.settings.folder("run")) or ""
    hands.follow_events()


def push_iris(hands: Hands) -> Pushed:
    hands.title("Push a scikit-learn model with the stock truss client; every event is shown as it happens")
    pushed = hands.push(EXAMPLES / "iris")
    hands.wait_for("production", lambda: _current(hands, pushed) == pushed["model_version_id"])
    answer, headers = hands.post(f"/model-{pushed['model_id']}/production/predict", FLOWERS)
    hands.expect(answer["predictions"] == SPECIES, answer)
    hands.expect(headers["x-causeway-deployment"] == pushed["model_version_id"], headers)
    return pushed


def push_minilm(hands: Hands) -> None:
    hands.title("Push a sentence embedding model with its real weights, and call it as OpenAI clients do")
    pushed = hands.push(EXAMPLES / "minilm")
    hands.wait_for("production", lambda: _current(hands, pushed) == pushed["model_version_id"])
    hands.say(f"$ curl {hands.url}/model-{pushed['model_id']}/v1/embeddings …  # {SENTENCES}", style="cyan")
    answer, _ = hands.call("POST", f"/model-{pushed['model_id']}/v1/embeddings", {"input": SENTENCES})
    cat, kitten, market = (row["embedding"] for row in answer["data"])
    near, far = _dot(cat, kitten), _dot(cat, market)
    hands.say(f"  {len(cat)} dimensions; cat and kitten {near:.2f}, cat and stock market {far:.2f}")
    hands.expect(near > 0.5 > far, (near, far))


def to_zero_and_back(hands: Hands, pushed: Pushed) -> None:
    hands.title("Scale to zero after two quiet seconds; the next request is parked and answered")
    path = f"/v1/models/{pushed['model_id']}/deployments/production/autoscaling_settings"
    hands.call("PATCH", path, {"scale_down_delay": 2})
    hands.wait_for("SCALED_TO_ZERO", lambda: _status(hands, pushed) == "SCALED_TO_ZERO")
    began = time.monotonic()
    answer, headers = hands.post(f"/model-{pushed['model_id']}/production/predict", FLOWERS)
    took_s, parked_s = time.monotonic() - began, int(headers["x-causeway-parked-ms"]) / 1000
    hands.expect(answer["predictions"] == SPECIES and parked_s > 0, (answer, headers))
    hands.say(f"  answered from zero after {took_s:.1f} s, of which {parked_s:.1f} s parked")
    hands.call("PATCH", path, {"scale_down_delay": 900})


def promote(hands: Hands, first: Pushed) -> None:
    hands.title("Change the model, push it, promote it, under load: the address stays and no request is lost")
    changed = hands.settings.state / "iris-v2"
    shutil.copytree(EXAMPLES / "iris", changed)
    code = changed / "model" / "model.py"
    code.write_text(code.read_text().replace('"predictions":', '"version": 2, "predictions":'))
    load = Load(hands, first)
    with load:
        second = hands.push(changed, "--promote")
        hands.wait_for("the switch", lambda: _current(hands, first) == second["model_version_id"])
    answer, _ = hands.post(f"/model-{first['model_id']}/production/predict", FLOWERS)
    hands.expect(answer.get("version") == 2 and not load.failures, (answer, load.failures[:3]))
    hands.say(f"  {load.answered} requests were answered meanwhile, {len(load.failures)} failed")
    hands.wait_for("the old deployment at zero", lambda: _status(hands, first) == "SCALED_TO_ZERO")


def look_back(hands: Hands, first: Pushed) -> None:
    hands.stop_following()
    hands.title("Look back: the whole life of the first deployment, with durations and causes")
    hands.causeway("timeline", first["model_version_id"])
    found = hands.causeway("events", "--type", "PromotionCompleted", "--output", "json", shown=False)
    switch = json.loads(found.splitlines()[-1])["position"]
    hands.title("The environments before the promotion and after it, and what it changed in the routing table")
    hands.causeway("state", "environments", "--at", str(switch - 1))
    hands.causeway("state", "environments", "--at", str(switch))
    hands.causeway("diff", str(switch - 1), str(switch), "routing")
    hands.title("Why, who, and what is true now")
    hands.causeway("why", str(switch))
    hands.causeway("audit", "--type", "Promotion*")
    hands.causeway("deployments")


class Load:
    """Asks the model again and again while something else happens."""

    def __init__(self, hands: Hands, pushed: Pushed) -> None:
        self._hands, self._path = hands, f"/model-{pushed['model_id']}/production/predict"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answered, self.failures = 0, list[str]()

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            try:
                self._hands.call("POST", self._path, FLOWERS)
                self.answered += 1
            except (DemoFailed, OSError) as error:
                self.failures.append(str(error))


def _status(hands: Hands, pushed: Pushed) -> str:
    path = f"/v1/models/{pushed['model_id']}/deployments/{pushed['model_version_id']}"
    return str(hands.call("GET", path)[0]["status"])


def _current(hands: Hands, pushed: Pushed) -> str | None:
    environment = hands.call("GET", f"/v1/models/{pushed['model_id']}/environments/production")[0]
    current = environment["current_deployment"]
    return None if current is None else str(current["id"])


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
