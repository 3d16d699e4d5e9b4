"""Each byte once, attempt by attempt, whatever the boxes wrote and however it was cut."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.follow import Follower, Look
from cli.logs import LINE_BYTES, Logs, Piece, as_json, as_lines, everything, last_lines
from contract.errors import StorageError
from contract.layout import RunLayout

LAYOUT = RunLayout("demo")


class Bucket:
    """The few calls that are made of S3, with a clock of its own and two keys a page; counts bytes that were read."""

    class Body:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def iter_chunks(self, size: int) -> Any:
            return (self.data[start : start + 7] for start in range(0, len(self.data), 7))

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.clock = 0
        self.read = 0

    def put(self, instance: str, offset: int, data: bytes, stream: str = "trainer") -> None:
        self.clock += 1
        self.objects[LAYOUT.log_chunk(instance, stream, offset)] = (self.clock, data)

    def log(self, instance: str, data: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
        for begin, end in pairwise(edges):
            self.put(instance, begin, data[begin:end])

    def get_paginator(self, name: str) -> Bucket:
        assert name == "list_objects_v2"
        return self

    def list_objects_v2(self, **asked: Any) -> Any:
        return next(self.paginate(**asked))

    def paginate(self, **asked: Any) -> Any:
        prefix = asked["Prefix"]
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > asked.get("StartAfter", ""))
        if "Delimiter" in asked:
            names = sorted({key.removeprefix(prefix).split("/")[0] for key in keys})
            yield {"CommonPrefixes": [{"Prefix": f"{prefix}{name}/"} for name in names]}
            return
        for start in range(0, max(1, len(keys)), 2):
            found = [
                {"Key": key, "LastModified": self.objects[key][0], "Size": len(self.objects[key][1])}
                for key in keys[start : start + 2]
            ]
            yield {"Contents": found} if found else {}

    def get_object(self, **asked: Any) -> Any:
        first, last = (int(number) for number in asked["Range"].removeprefix("bytes=").split("-"))
        data = self.objects[asked["Key"]][1][first : last + 1]
        self.read += len(data)
        return {"Body": self.Body(data)}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def logs(bucket: Any, **options: Any) -> Logs:
    return Logs(bucket, "bucket", "demo", options.pop("stream", "trainer"), **options)


def joined(pieces: Any) -> bytes:
    return b"".join(piece.data for piece in pieces)


def test_the_attempts_come_in_the_order_in_which_they_were_made(bucket: Bucket) -> None:
    bucket.put("i-9", 0, b"boot", stream="boot")
    bucket.put("i-9", 0, b"first\n")
    bucket.put("i-1", 0, b"second\n")
    bucket.put("i-9", 0, b"boot, and its end, written late\n", stream="boot")
    bucket.put("i-1", 0, b"boot of the second\n", stream="boot")
    assert joined(everything(logs(bucket))) == b"first\nsecond\n"
    assert joined(everything(logs(bucket, stream="boot"))) == b"boot, and its end, written late\nboot of the second\n"
    assert joined(everything(logs(bucket, instance="i-1"))) == b"second\n"


def test_an_instance_that_never_trained_has_a_boot_log_only(bucket: Bucket) -> None:
    bucket.put("i-1", 0, b"boot failed\n", stream="boot")
    assert joined(everything(logs(bucket))) == b""
    assert joined(everything(logs(bucket, stream="boot"))) == b"boot failed\n"


def test_a_chunk_that_was_written_again_longer_gives_each_byte_once(bucket: Bucket) -> None:
    bucket.put("i-1", 0, b"0123")
    bucket.put("i-1", 4, b"45")
    bucket.put("i-1", 6, b"6789")
    bucket.put("i-1", 0, b"01234567")
    assert joined(everything(logs(bucket))) == b"0123456789"


def test_bytes_that_never_came_are_told(bucket: Bucket) -> None:
    bucket.put("i-1", 0, b"0123")
    bucket.put("i-1", 10, b"ab")
    asked = logs(bucket)
    assert joined(everything(asked)) == b"0123ab"
    assert asked.gaps == ["i-1: bytes 4 to 10 of its trainer log are not in S3"]


text = st.binary(max_size=60) | st.lists(st.sampled_from([b"a", b"\n", b"\xff", b"\xc3"]), max_size=60).map(b"".join)


@given(st.lists(st.tuples(text, st.lists(st.integers(1, 59), max_size=6)), min_size=1, max_size=3), st.integers(0, 9))
def test_the_last_lines_are_those_of_the_whole(written: list[tuple[bytes, list[int]]], lines: int) -> None:
    bucket = Bucket()
    for number, (data, cuts) in enumerate(written):
        if data:
            bucket.log(f"i-{9 - number}", data, cuts)
    whole = b"".join(data for data, _ in written)
    assert joined(everything(logs(bucket))) == whole
    found = list(last_lines(logs(bucket), lines))
    assert joined(found) == b"".join(split(whole)[-lines:] if lines else [])
    for piece in found:
        data = dict(zip((f"i-{9 - number}" for number in range(3)), (data for data, _ in written), strict=False))
        assert data[piece.instance][piece.offset :].startswith(piece.data)


def split(data: bytes) -> list[bytes]:
    """Lines with their newlines, and nothing but b"\\n" ends one."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def test_the_last_lines_do_not_fetch_the_rest(bucket: Bucket) -> None:
    for number in range(50):
        bucket.put("i-1", number * 100, b"x" * 99 + b"\n")
    assert joined(last_lines(logs(bucket), 1)) == b"x" * 99 + b"\n"
    assert bucket.read <= 400


@given(st.lists(text, max_size=5))
def test_lines_put_together_again_are_the_log(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    offsets = [sum(map(len, parts[:number])) for number in range(len(parts))]
    pieces = [Piece("i-1", offset, part) for offset, part in zip(offsets, parts, strict=True)]
    lines = [json.loads(as_json(line, "trainer")) for line in as_lines(pieces)]
    back = [line["line"].encode("utf-8", "surrogateescape") for line in lines]
    assert back == [line.removesuffix(b"\n") for line in split(whole)]
    assert all(whole[line["offset"] :].startswith(data) for line, data in zip(lines, back, strict=True))


def test_a_line_ends_where_bytes_are_missing() -> None:
    pieces = [Piece("i-1", 0, b"half"), Piece("i-1", 10, b"of another\n"), Piece("i-1", 0, b"begun anew")]
    assert [(line.offset, line.data) for line in as_lines(pieces)] == [
        (0, b"half"),
        (10, b"of another"),
        (0, b"begun anew"),
    ]


def test_what_has_come_from_elsewhere_is_not_asked_of_s3(bucket: Bucket) -> None:
    bucket.put("i-1", 0, b"0123")
    asked = logs(bucket)
    assert joined(everything(asked)) == b"0123"
    asked.know("i-1", 7)
    bucket.put("i-1", 4, b"4567")
    bucket.put("i-1", 8, b"89")
    assert joined(everything(asked)) == b"789"
    assert asked.position("i-1") == 10 and not asked.gaps
    bucket.put("i-2", 0, b"next")
    asked.close(all_but="i-2")
    bucket.put("i-1", 10, b"too late")
    assert joined(everything(asked)) == b"next"


def test_a_line_ends_with_its_instance_and_an_endless_one_is_cut() -> None:
    pieces = [
        Piece("i-1", 0, b"half"),
        Piece("i-2", 0, b"x" * (LINE_BYTES + 5)),
        Piece("i-2", LINE_BYTES + 5, b"\nend"),
    ]
    lines = list(as_lines(pieces))
    assert [(line.instance, line.offset, len(line.data)) for line in lines] == [
        ("i-1", 0, 4),
        ("i-2", 0, LINE_BYTES),
        ("i-2", LINE_BYTES, 5),
        ("i-2", LINE_BYTES + 6, 3),
    ]


def test_following_moves_over_to_the_replacement_and_ends_with_the_run(bucket: Bucket) -> None:
    bucket.put("i-9", 0, b"1 ")
    happens = [
        lambda: bucket.put("i-9", 2, b"2 "),
        lambda: (bucket.put("i-9", 2, b"2 3 "), bucket.put("i-1", 0, b"4 ")),
        lambda: None,
        lambda: bucket.put("i-1", 2, b"5"),
    ]
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if happens:
            happens.pop(0)()

    pieces = list(Follower(logs(bucket), lambda: Look(not happens, ""), None, sleep, print).pieces())
    assert joined(pieces) == b"1 2 3 4 5"
    assert [(piece.instance, piece.offset) for piece in pieces] == [
        ("i-9", 0),
        ("i-9", 2),
        ("i-9", 4),
        ("i-1", 0),
        ("i-1", 2),
    ]
    assert set(naps) == {5.0} and len(naps) == 5


def test_following_after_the_last_lines_repeats_nothing(bucket: Bucket) -> None:
    bucket.put("i-1", 0, b"1\n2\n3\n")
    asked = logs(bucket)
    assert joined(last_lines(asked, 2)) == b"2\n3\n"
    bucket.put("i-1", 6, b"4\n")
    assert joined(Follower(asked, lambda: Look(True, ""), None, lambda _: None, print).pieces()) == b"4\n"


def test_memory_does_not_grow_with_the_log(s3: Any) -> None:
    size = 4 << 20
    for number in range(4):
        s3.put_object(Bucket="bucket", Key=LAYOUT.log_chunk("i-1", "trainer", number * size), Body=b"y" * size)
    tracemalloc.start()
    assert sum(len(piece.data) for piece in everything(logs(s3))) == 4 * size
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * size


def test_a_real_listing_gives_what_was_written(s3: Any) -> None:
    for offset, data in ((0, b"one \xff\n"), (6, b"two\n")):
        s3.put_object(Bucket="bucket", Key=LAYOUT.log_chunk("i-1", "trainer", offset), Body=data)
    asked = logs(s3)
    assert joined(everything(asked)) == b"one \xff\ntwo\n"
    assert not asked.gaps
    s3.put_object(Bucket="bucket", Key=LAYOUT.log_chunk("i-1", "trainer", 6), Body=b"two\nthree\n")
    assert joined(everything(asked)) == b"three\n"


def test_what_s3_refuses_is_one_error(s3: Any) -> None:
    with pytest.raises(StorageError, match="cannot be listed"):
        list(Logs(s3, "no-such-bucket", "demo", "trainer").new())
