from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks import s3_server
from benchmarks.s3_server import BUCKET, NoServer, S3Server

STAND_IN = f"""#!{sys.executable}
import http.server, sys
port = int(sys.argv[sys.argv.index("--addr") + 1].rpartition(":")[2])
http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
MEGABYTE = 1_000_000


def test_the_server_ends_with_the_group_of_a_benchmark_that_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "rclone"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setattr(s3_server, "PROGRAM", program)
    monkeypatch.setattr(s3_server, "VERSION", "1")
    with s3_server.s3_server():
        (server,) = [one for one in psutil.Process().children() if str(program) in one.cmdline()]
        assert os.getpgid(server.pid) == os.getpgrp()
    assert not server.is_running()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    try:
        with s3_server.s3_server() as server:
            yield server
    except NoServer as error:
        pytest.skip(str(error))


def test_each_request_and_each_byte_of_an_object_counts_once(server: S3Server, tmp_path: Path) -> None:
    s3, large = server.client(), tmp_path / "large"
    large.write_bytes(os.urandom(20 * MEGABYTE))
    began = server.traffic()
    s3.upload_file(str(large), BUCKET, "counted/large")  # three parts, the beginning and the end
    s3.put_object(Bucket=BUCKET, Key="counted/small", Body=b"x")
    before = server.traffic()
    s3.head_object(Bucket=BUCKET, Key="counted/large")
    for begin in (0, MEGABYTE):
        s3.get_object(Bucket=BUCKET, Key="counted/large", Range=f"bytes={begin}-{begin + MEGABYTE - 1}")["Body"].read()
    s3.list_objects_v2(Bucket=BUCKET, Prefix="counted/")
    s3.delete_object(Bucket=BUCKET, Key="counted/small")
    took = server.traffic().since(before)
    assert took.requests == 5
    assert took.object_bytes == 2 * MEGABYTE
    assert before.since(began).requests == 6


def test_what_is_repeated_and_forgotten_is_seen_at_once(server: S3Server) -> None:
    s3 = server.client()
    s3.put_object(Bucket=BUCKET, Key="behind/one", Body=b"x" * 1000)
    server.repeat("behind/one", ["behind/two", "behind/deep/three"])
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="behind/")["Contents"]
    assert {one["Key"] for one in listed} == {"behind/one", "behind/two", "behind/deep/three"}
    assert s3.get_object(Bucket=BUCKET, Key="behind/two")["Body"].read() == b"x" * 1000
    server.forget("behind")
    assert not s3.list_objects_v2(Bucket=BUCKET, Prefix="behind/").get("Contents")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=BUCKET, Key="behind/one")


def test_an_object_keeps_the_etag_that_it_was_given(server: S3Server) -> None:
    s3 = server.client()
    etag = s3.put_object(Bucket=BUCKET, Key="tagged", Body=b"{}")["ETag"]
    assert (
        s3.get_object(Bucket=BUCKET, Key="tagged")["ETag"]
        == s3.head_object(Bucket=BUCKET, Key="tagged")["ETag"]
        == etag
    )


def test_without_rclone_it_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_server, "VERSION", "")
    with pytest.raises(NoServer, match=r"make \.venv/bench"), s3_server.s3_server():
        pass
