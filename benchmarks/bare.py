"""The least that Python and boto3 do to bring objects here, or a folder there: nothing is named, verified, committed or
taken up again. What goes there is hashed beside: a checkpoint that can be verified needs that.

    python benchmarks/bare.py get BUCKET PREFIX FOLDER
    python benchmarks/bare.py put BUCKET PREFIX FOLDER

It imports nothing of ours. `fetch` and `sync` run it in each turn: the least is its time, or that of a side that was
quicker and is not the peer.
"""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import boto3

AT_ONCE = 8
PART_BYTES = 8 << 20
CHUNK_BYTES = 1 << 16


def get(bucket: str, prefix: str, folder: Path) -> None:
    """Each object as a file, 8 MiB of any at a time, written where they belong."""
    s3 = boto3.client("s3")
    folder.mkdir(parents=True)

    def part(key: str, file: int, begin: int) -> None:
        body = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={begin}-{begin + PART_BYTES - 1}")["Body"]
        while chunk := body.read(CHUNK_BYTES):
            begin += os.pwrite(file, chunk, begin)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = []
        for number, found in enumerate(s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]):
            file = os.open(folder / str(number), os.O_CREAT | os.O_WRONLY)
            for begin in range(0, found["Size"], PART_BYTES):
                parts.append(pool.submit(part, found["Key"], file, begin))
        for one in parts:
            one.result()


def put(bucket: str, prefix: str, folder: Path) -> None:
    """Large files as boto3 sends them, the others joined to objects of 8 MiB; a thread finds out their SHA-256."""
    s3 = boto3.client("s3")
    files = sorted(folder.iterdir())
    small = [file for file in files if file.stat().st_size <= PART_BYTES]
    each = max(1, PART_BYTES // max((file.stat().st_size for file in small), default=1))

    def joined(begin: int) -> None:
        content = bytearray(sum(file.stat().st_size for file in small[begin : begin + each]))
        view = memoryview(content)
        for file in small[begin : begin + each]:
            with file.open("rb") as source:
                view = view[source.readinto(view) :]
        s3.put_object(Bucket=bucket, Key=f"{prefix}{begin}", Body=cast("bytes", content))

    def digest(file: Path) -> str:
        with file.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    with ThreadPoolExecutor(1) as hashing, ThreadPoolExecutor(AT_ONCE) as pool:
        hashed = hashing.map(digest, files)
        list(pool.map(joined, range(0, len(small), each)))
        for file in set(files).difference(small):
            s3.upload_file(str(file), bucket, prefix + file.name)
        list(hashed)


if __name__ == "__main__":
    {"get": get, "put": put}[sys.argv[1]](sys.argv[2], sys.argv[3], Path(sys.argv[4]))
