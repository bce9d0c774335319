"""What the demo does with: commands as a user types them, requests, waiting, and a live tail of the log."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from ops.config import CHECKOUT, Settings

PATIENCE_S = 900.0


class DemoFailed(RuntimeError):
    """A step was not as promised."""


class Hands:
    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self._console = console
        self._step = 0
        self._tail: subprocess.Popen[str] | None = None
        self.url = self.key = ""

    def title(self, text: str) -> None:
        self._step += 1
        self._console.print(f"\n{self._step}. {text}", style="bold", highlight=False)

    def say(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style, highlight=False, soft_wrap=True)

    def expect(self, holds: bool, what: object) -> None:
        if not holds:
            raise DemoFailed(f"step {self._step} is not as promised: {what}")

    # Commands

    def causeway(self, *arguments: str, shown: bool = True) -> str:
        """Runs a command and shows it with what it printed; gives its standard output."""
        if shown:
            self.say(f"$ causeway {' '.join(arguments)}", style="cyan")
        done = subprocess.run(self._command(arguments), env=self._env(), text=True, stdout=subprocess.PIPE, check=False)
        if shown and done.stdout:
            self.say(done.stdout.rstrip("\n"))
        self.expect(done.returncode == 0, f"`causeway {' '.join(arguments)}` ended with {done.returncode}")
        return done.stdout

    def push(self, project: Path, *options: str) -> dict[str, Any]:
        """The stock client, waiting until the deployment is ACTIVE; gives its JSON answer."""
        shown = project.relative_to(CHECKOUT) if project.is_relative_to(CHECKOUT) else project
        self.say(f"$ causeway truss push {' '.join((str(shown), '--wait', *options))}", style="cyan")
        arguments = ("truss", "push", str(project), "--wait", "--output", "json", *options)
        done = subprocess.run(
            self._command(arguments), env=self._env(), text=True, capture_output=True, stdin=subprocess.DEVNULL
        )
        self.expect(done.returncode == 0, f"{done.stdout}{done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        self.say(f"  model {answer['model_id']}, deployment {answer['model_version_id']}: ACTIVE")
        return answer

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "ops.cli", *arguments]

    def _env(self) -> dict[str, str]:
        width = str(min(self._console.width, 160))
        return self.settings.environ() | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": width}

    # The log, live

    def follow_events(self) -> None:
        """From now on every event is shown as it happens."""
        self._tail = subprocess.Popen(
            self._command(("events", "--follow", "--limit", "1")),
            env=self._env() | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._show_events, args=(self._tail,), daemon=True).start()

    def _show_events(self, tail: "subprocess.Popen[str]") -> None:
        assert tail.stdout is not None
        for line in tail.stdout:
            self.say(f"   {line.strip()}"[: self._console.width - 1], style="dim")

    def stop_following(self) -> None:
        if self._tail is not None:
            self._tail.terminate()
            self._tail.wait()
            self._tail = None

    # Requests

    def post(self, path: str, body: Any, shown: bool = True) -> tuple[Any, dict[str, str]]:
        """POST to the gateway; gives the decoded answer and its headers, in lower case."""
        if shown:
            self.say(f"$ curl {self.url}{path} -H 'Authorization: Api-Key …' -d '{json.dumps(body)}'", style="cyan")
        answer, headers = self.call("POST", path, body)
        if shown:
            self.say(f"  {json.dumps(answer)[:300]}")
        return answer, headers

    def call(self, method: str, path: str, body: Any = None) -> tuple[Any, dict[str, str]]:
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Api-Key {self.key}")
        request.add_header("Content-Type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data=data, timeout=PATIENCE_S) as response:
                return json.loads(response.read()), {name.lower(): value for name, value in response.headers.items()}
        except urllib.error.HTTPError as error:
            raise DemoFailed(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error

    def wait_for(self, what: str, holds: Callable[[], bool]) -> None:
        self.say(f"  waiting for {what} …", style="dim")
        until = time.monotonic() + PATIENCE_S
        while not holds():
            self.expect(time.monotonic() < until, f"{what} did not come within {PATIENCE_S:.0f} s")
            time.sleep(0.2)
