"""A toolchain of a few lines: the same command line and bundle as ops/truss_tools/context.py, without truss.

It keeps the server's 55 packages out of tests of the builder itself; one test uses the real tools. The config is JSON,
which is YAML too.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

project, out = Path(sys.argv[1]), Path(sys.argv[2])
config_file = project / "config.yaml"
try:
    config = json.loads(config_file.read_text())
except (OSError, ValueError) as error:
    refusal = {"field": "config.yaml", "message": f"cannot be read ({error})", "fix": "write valid YAML"}
    print(json.dumps({"errors": [refusal], "warnings": [], "error": refusal}))
    sys.exit(2)
print("laying the project out")
shutil.copytree(project, out / "app", symlinks=True)
(out / "packages").mkdir()
bundle = {
    "truss_hash": hashlib.sha256(config_file.read_bytes()).hexdigest(),
    "truss_signature": "{}",
    "python_version": None, "requirements": [], "constraints": [], "overrides": [], "system_packages": [],
    "build_commands": [], "build_secrets": {}, "external_data": [], "environment_variables": {},
    **config,
}  # fmt: skip
(out / "bundle.json").write_text(json.dumps(bundle, indent=1, sort_keys=True))
print(json.dumps({"errors": [], "warnings": ["a warning of the tools"]}))
