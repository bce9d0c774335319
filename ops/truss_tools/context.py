"""Turns an unpacked truss project into what a replica runs: OUT/app, OUT/packages and OUT/bundle.json.

    context.py PROJECT OUT [--uv PATH]     lay the bundle out; PROJECT is only read
    context.py --check-config FILE|-       say what is wrong with a config, and nothing else

truss's own build-context code decides what goes where, so a project runs here as on the hosted platform. What
the user got wrong is printed as one JSON object and ends in exit code 2; bundle.json is written last, so a
folder without it is not a bundle. Executed inside `.venv-truss`.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from config_problems import BadConfig, Findings, Problem, findings, read_config  # type: ignore[import-not-found]
from weights_config import weights_of  # type: ignore[import-not-found]

REFUSED = 2


def check_config(source: str) -> Findings:
    found: Findings = findings(sys.stdin.read() if source == "-" else Path(source).read_text())
    return found


def build_bundle(project: Path, out: Path, uv: str) -> list[str]:
    """Lays the bundle out and returns the warnings; what the project lacks is a `BadConfig`."""
    text = _config_text(project)
    found: Findings = findings(text)
    if found.errors:
        raise BadConfig(*found.errors)
    from truss.base.truss_config import TrussConfig  # type: ignore[import-not-found]

    config = TrussConfig.from_yaml(project / "config.yaml")
    _require_model(project, config)
    bundle = {
        # First, for truss's own signature breaks on a requirements file that cannot be read.
        **_python_requirements(project, config, uv),
        **_identity(project),
        "python_version": config.canonical_python_version if "python_version" in read_config(text) else None,
        **_settings(config),
        "warnings": list(found.warnings),
    }
    _lay_out(project, out)
    (out / "bundle.json").write_text(json.dumps(bundle, indent=1, sort_keys=True) + "\n")
    warnings: list[str] = found.warnings
    return warnings


def _config_text(project: Path) -> str:
    path = project / "config.yaml"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BadConfig(
                Problem(field="config.yaml", message=f"is not UTF-8: {error}", fix="save it as UTF-8")
            ) from error
    renamed = (project / "config.yml").is_file()
    raise BadConfig(
        Problem(
            field="config.yaml",
            message="is not in the project" + (", config.yml is" if renamed else ""),
            fix="name the project's config file config.yaml, at the top of the project",
        )
    )


def _require_model(project: Path, config: Any) -> None:
    for field, path in (
        ("model_class_filename", Path(config.model_module_dir) / config.model_class_filename),
        ("requirements_file", config.requirements_file),
    ):
        if path is not None and not (project / path).is_file():
            raise BadConfig(
                Problem(
                    field=field,
                    message=f"{path} is not in the project",
                    fix=f"add {path}, or name the right file (what .truss_ignore lists is not uploaded)",
                )
            )


def _identity(project: Path) -> dict[str, str]:
    """Hash and signature of what was pushed; live reload compares them with what the client has on disk."""
    import truss  # type: ignore[import-not-found]
    from truss.truss_handle.patch.hash import directory_content_hash  # type: ignore[import-not-found]
    from truss.truss_handle.patch.signature import calc_truss_signature  # type: ignore[import-not-found]

    return {
        "truss_version": str(truss.__version__),
        "truss_hash": directory_content_hash(project),
        "truss_signature": json.dumps(calc_truss_signature(project).to_dict()),
    }


def _settings(config: Any) -> dict[str, Any]:
    resources, runtime = config.resources, config.runtime
    return {
        "model_name": config.model_name,
        "environment_variables": dict(config.environment_variables),
        "secrets": sorted(config.secrets),
        "build_commands": list(config.build_commands),
        "build_secrets": dict(config.build.secret_to_path_mapping),
        "system_packages": list(config.system_packages),
        "predict_concurrency": runtime.predict_concurrency,
        "streaming_read_timeout": runtime.streaming_read_timeout,
        "transport": runtime.transport.kind,
        "resources": {
            "cpu_millicores": _millicores(resources.cpu),
            "memory_bytes": resources.memory_in_bytes,
            "accelerator": resources.accelerator.model_dump(mode="json"),
            "instance_type": resources.instance_type,
        },
        "model_server": config.build.model_server.value,
        "docker_server": None,
        "health_checks": runtime.health_checks.model_dump(mode="json"),
        "weights": weights_of(config),
        "external_data": [
            item.model_dump(mode="json") for item in (config.external_data.items if config.external_data else [])
        ],
    }


def _millicores(cpu: str) -> int:
    return math.ceil(float(cpu[:-1]) if cpu.endswith("m") else float(cpu) * 1000)


def _python_requirements(project: Path, config: Any, uv: str) -> dict[str, list[str]]:
    from requirement_lines import ServerLines, UserLines, combine  # type: ignore[import-not-found]
    from truss.base.constants import SERVER_CODE_DIR  # type: ignore[import-not-found]

    server = ServerLines.read(SERVER_CODE_DIR)
    user = UserLines.read(project, config.requirements, config.requirements_file, uv)
    combined: dict[str, list[str]] = combine(server, user)
    return combined


def _lay_out(project: Path, out: Path) -> None:
    from truss.base.truss_config import ModelCache
    from truss.contexts.image_builder.serving_image_builder import (  # type: ignore[import-not-found]
        ServingImageBuilder,
    )

    class Context(ServingImageBuilder):  # type: ignore[misc]
        def _setup_build_hash_directory(self, build_dir: Path) -> None:
            """A second copy of everything, which only Docker's layer cache would use."""

    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        sys.exit(f"{out} is not empty: a bundle needs a folder of its own")
    with tempfile.TemporaryDirectory(dir=out, prefix=".context-") as scratch:
        context = Path(scratch)
        builder = Context(project)
        config = builder._spec.config
        # A control server, where one is wanted, stands before the model server and is no part of the bundle.
        config.live_reload = False
        config.model_cache = ModelCache([])  # The builder mirrors it; truss would ask the hub while it builds.
        builder.prepare_image_build_dir(context)
        _move(context / "server", out / "app")
        for source, target in (
            ("config.yaml", "app/config.yaml"),
            (config.model_module_dir, "app/model"),
            (config.data_dir, "app/data"),
            (config.bundled_packages_dir, "packages"),
        ):
            _move(context / source, out / target)
    # The server makes data/ when it is missing, which a read-only app folder would not let it.
    for folder in ("app/data", "packages"):
        (out / folder).mkdir(exist_ok=True)


def _move(source: Path, target: Path) -> None:
    if source.exists():
        shutil.move(source, target)


def _report(errors: Iterable[Problem], warnings: list[str]) -> int:
    errors = list(errors)
    report: dict[str, Any] = {"errors": errors, "warnings": warnings}
    if errors:
        report["error"] = errors[0]
    print(json.dumps(report))
    return REFUSED if errors else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Lay out a truss project as a runnable bundle.")
    parser.add_argument("project", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--check-config", metavar="FILE", help="only check this config; - reads standard input")
    parser.add_argument("--uv", default="uv", help="the uv that reads uv.lock (default: the one on PATH)")
    wanted = parser.parse_args()
    if wanted.check_config:
        return _report(*check_config(wanted.check_config))
    if wanted.project is None or wanted.out is None:
        parser.error("give PROJECT and OUT, or --check-config FILE")
    # The whole package, before config_problems would load a part of it.
    import truss  # noqa: F401

    try:
        return _report([], build_bundle(wanted.project.resolve(), wanted.out.resolve(), wanted.uv))
    except BadConfig as bad:
        return _report(bad.problems, [])


if __name__ == "__main__":
    sys.exit(main())
