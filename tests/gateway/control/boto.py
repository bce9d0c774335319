"""A script for the truss client's own boto3: JSON steps in, JSON outcomes out. Knows nothing of ours."""

import json
import sys
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError


def client(creds: dict[str, Any]) -> Any:
    options = {"retries": {"max_attempts": 1}, "signature_version": creds.pop("signature_version", "s3v4")}
    return boto3.client("s3", **creds, config=Config(**options))


def run(step: dict[str, Any]) -> Any:
    s3, do = client(step["creds"]), step["do"]
    where = {"Bucket": step["bucket"], "Key": step["key"]}
    if do == "upload_file":
        config = TransferConfig(multipart_threshold=step["part"], multipart_chunksize=step["part"], max_concurrency=4)
        s3.upload_file(step["path"], where["Bucket"], where["Key"], Config=config)
        return "uploaded"
    if do == "put":
        return s3.put_object(**where, Body=step["body"].encode())["ETag"]
    if do == "get":
        return s3.get_object(**where, **step.get("more", {}))["Body"].read().decode()
    if do == "head":
        return s3.head_object(**where)["ContentLength"]
    if do == "presign":
        return s3.generate_presigned_url("get_object", Params=where, ExpiresIn=60)
    if do == "abort":
        upload = s3.create_multipart_upload(**where)["UploadId"]
        s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"part")
        s3.abort_multipart_upload(**where, UploadId=upload)
        s3.complete_multipart_upload(
            **where, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"' + "0" * 32 + '"'}]}
        )
        return "completed"
    raise AssertionError(do)


answers = []
for step in json.load(sys.stdin):
    try:
        answers.append({"ok": run(step)})
    except ClientError as error:
        answers.append({"code": error.response["Error"]["Code"], "message": error.response["Error"].get("Message", "")})
json.dump(answers, sys.stdout)
