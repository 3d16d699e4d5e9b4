from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from bootstrap.objects import Objects
from bootstrap.packs import FEWEST, PACK_BYTES, SMALL_BYTES, objects, packed
from contract.status import ManifestFile

SIZES = st.lists(st.integers(0, 2 * SMALL_BYTES), max_size=60)


def files_of(sizes: list[int]) -> tuple[ManifestFile, ...]:
    return tuple(ManifestFile(name=f"f{number}", size=size, sha256="") for number, size in enumerate(sizes))


@given(SIZES)
def test_every_byte_has_one_place_and_every_pack_is_full_from_its_beginning(sizes: list[int]) -> None:
    files = files_of(sizes)
    placed = packed(files)
    assert [(file.name, file.size) for file in placed] == [(file.name, file.size) for file in files]
    for name, held in objects(placed).items():
        if held[0].pack:
            assert [file.offset for file in held] == [sum(f.size for f in held[:n]) for n in range(len(held))]
            assert sum(file.size for file in held) <= PACK_BYTES
            assert all(file.size <= SMALL_BYTES for file in held)
        else:
            assert [name] == [file.name for file in held]
    assert sum(len(held) for held in objects(placed).values()) == len(files)


def test_what_goes_where_follows_from_the_files_alone() -> None:
    files = files_of([1000] * 5000)
    assert packed(files) == packed(files)
    assert len(objects(packed(files))) == 1


def test_a_few_small_files_keep_their_names() -> None:
    files = files_of([10] * (FEWEST - 1) + [SMALL_BYTES + 1] * 100)
    assert packed(files) == files


def test_a_pack_goes_to_aws_with_its_checksum_whatever_kind_of_bytes_it_is() -> None:
    """Over HTTPS the checksum follows the content; a rehearsal, over HTTP, never sends it so."""
    s3 = boto3.client("s3", "us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    sent: list[bytes] = []

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request.body.read())
        return AWSResponse(request.url, 200, {}, HTTPResponse(io.BytesIO(), preload_content=False))

    s3.meta.events.register("before-send.s3.PutObject", answer)
    for content in (b"one two", bytearray(b"one two")):
        Objects(s3, "bucket").put_bytes("key", content)
    checksum = base64.b64encode(zlib.crc32(b"one two").to_bytes(4, "big"))
    assert sent == [b"7\r\none two\r\n0\r\nx-amz-checksum-crc32:" + checksum + b"\r\n\r\n"] * 2
