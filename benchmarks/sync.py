"""Bringing files to S3: the box's own sync command beside `aws s3 sync` and `rclone copy`, on the same server.

    python -m benchmarks.sync --share 1

Ours is what cron runs on the box, `python -m bootstrap.sync`: a checkpoint directory becomes a committed checkpoint,
hashed, named by its manifest and read back; then status. Theirs copies the same directory. Each then runs once more
with nothing new. A turn has each side once, below prefixes of their own. Of a large file 2 GB are the whole; a quarter
is enough to tell the sides apart, and keeps a turn under a minute.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.pairs import arguments
from benchmarks.peers import (
    LEAST,
    MANY_SMALL,
    OURS,
    SHARE,
    Found,
    Peer,
    Shape,
    aws,
    bare,
    environment,
    in_turn,
    make_box,
    measure,
    rclone,
    rows,
    shapes,
)
from benchmarks.result import Aim, Result
from benchmarks.s3_server import NAME, NoServer, S3Server, s3_server
from benchmarks.table import show

LIMIT = (
    f"{LEAST} What goes to S3 it hashes, as ours must, for a checkpoint that cannot be verified is none; the peers do "
    "not. "
    "The server takes more of the two processors than any client. What *nothing new* takes is the start of Python "
    "and boto3 for ours and aws s3 sync; rclone is a Go program."
)


def aims(shape: Shape) -> dict[tuple[str, str], Aim]:
    return {
        (shape.name, "time"): Aim(number=0.5 if shape.file_bytes == MANY_SMALL.file_bytes else 1),
        (f"{shape.name}, nothing new", "requests"): Aim(number=2, of="ours"),
    }


def sync_shape(
    server: S3Server, shape: Shape, peers: list[Peer], number: int, folder: Path
) -> tuple[Found, dict[str, list[float]]]:
    found: Found = defaultdict(lambda: defaultdict(list))
    leanest: dict[str, list[float]] = defaultdict(list)
    files = shape.make(folder / "files")

    def twice(side: str, command: list[str], env: dict[str, str]) -> None:
        found[side][shape.name].append(measure(server, command, env))
        found[side][f"{shape.name}, nothing new"].append(measure(server, command, env))

    def ours() -> None:
        leanest[shape.name].append(bare("put", "bare/", files, environment(server)))
        server.forget("bare")
        root = folder / "box"
        twice(OURS, [sys.executable, "-m", "bootstrap.sync"], make_box(server, root, "bench", files))
        shutil.rmtree(root)
        server.forget("runs/bench")

    def theirs(peer: Peer) -> None:
        twice(peer.baseline.name, peer.upload(files, "theirs"), environment(server))
        server.forget("theirs")

    sides: dict[str, Callable[[], None]] = {OURS: ours, **{peer.baseline.name: partial(theirs, peer) for peer in peers}}
    in_turn(sides, number)
    shutil.rmtree(files)
    return found, leanest


def main() -> None:
    parser = arguments("sync", __doc__)
    parser.add_argument("--share", type=float, default=SHARE, help="of the large file's 2 GB (default %(default)s)")
    options = parser.parse_args()
    all_peers = [aws(), rclone()]
    peers = [peer for peer in all_peers if not peer.baseline.missing]
    baselines = tuple(peer.baseline for peer in all_peers)
    what = "Seconds, processor, memory and requests to bring a checkpoint directory to S3, and when nothing is new"
    how = f"{NAME} on this machine; sides in turn"
    found_rows = []
    room = 2 * max(shape.total_bytes for shape in shapes(options.share))
    try:
        with tempfile.TemporaryDirectory() as folder, s3_server(room) as server:
            for shape in shapes(options.share):
                found, leanest = sync_shape(server, shape, peers, options.pairs, Path(folder))
                found_rows += rows(found, aims(shape), leanest)
    except NoServer as error:
        result = Result(name="sync", what=what, how=how, baselines=baselines, skipped=str(error))
    else:
        result = Result(name="sync", what=what, how=how, baselines=baselines, rows=tuple(found_rows), limit=LIMIT)
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
