"""Small truss projects, written where a test wants them. Those without requirements share one environment."""

import json
import shutil
from pathlib import Path

from ops.config import CHECKOUT

WHEEL_TEST_DATA = next((CHECKOUT / ".venv-truss").glob("lib/python3*/site-packages/truss/tests/test_data"), None)
FIXTURES = Path(__file__).parent / "fixtures"
ECHO = "class Model:\n    def predict(self, model_input):\n        return model_input\n"
RESOURCES = "resources:\n  cpu: 250m\n  memory: 512Mi\n"


def project(folder: Path, name: str, model: str = ECHO, config: str = "") -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"model_name: {json.dumps(name)}\n{RESOURCES}{config}")
    (folder / "model" / "__init__.py").touch()
    (folder / "model" / "model.py").write_text(model)
    return folder


def version(folder: Path, name: str, says: str, config: str = "") -> Path:
    """A model that answers with its version, so that it shows which one a URL reaches."""
    source = f"class Model:\n    def predict(self, model_input):\n        return {{'version': {says!r}}}\n"
    return project(folder, name, source, config)


def from_wheel(name: str, into: Path) -> Path:
    """A copy of one of truss's own test models, which the truss client may write to."""
    assert WHEEL_TEST_DATA is not None, "`make setup` brings the truss wheel"
    return Path(shutil.copytree(WHEEL_TEST_DATA / name, into / name, ignore=shutil.ignore_patterns("__pycache__")))
