"""Runs the stock truss command line against our own origin. Runs inside `.venv-truss`: knows nothing of ours.

The client finds its REST address in a fixed table and falls back to the hosted platform, API key included,
for any address that the table lacks. One entry in that table keeps every request on one origin; uploads
follow when the server's credentials name no store of their own. The command line after that is the
client's, untouched.
"""

import os
import sys
from typing import Any

import boto3
from botocore.config import Config

URL_VARIABLE = "CAUSEWAY_URL"


def keep_rest_on_one_origin(url: str) -> None:
    from truss.remote.baseten.api import API_URL_MAPPING  # type: ignore[import-not-found]

    API_URL_MAPPING[url] = url


def keep_uploads_on_one_origin(url: str) -> None:
    stock_resource = boto3.resource

    def resource(service: str, **settings: Any) -> Any:
        if service == "s3":
            settings.setdefault("endpoint_url", f"{url}/s3")
            # Bucket names in the path: a bucket in the host name would leave our origin.
            settings.setdefault("config", Config(s3={"addressing_style": "path"}))
        return stock_resource(service, **settings)

    boto3.resource = resource


def main() -> None:
    url = os.environ.get(URL_VARIABLE, "").strip("/")
    if not url:
        sys.exit(f"{URL_VARIABLE} is not set: give the plane's address, or start the client with `causeway truss`.")
    keep_rest_on_one_origin(url)
    keep_uploads_on_one_origin(url)

    from truss.cli.cli import truss_cli  # type: ignore[import-not-found]

    sys.argv[0] = "truss"
    sys.exit(truss_cli())


if __name__ == "__main__":
    main()
