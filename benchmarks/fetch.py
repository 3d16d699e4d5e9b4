"""Bringing files home from S3: `signspot fetch` beside `aws s3 sync` and `rclone copy`, on the same server.

    python -m benchmarks.fetch --share 1 --pairs 5

Ours is what `signspot fetch` does once CloudFormation has told it the bucket: status, newest checkpoint, logs and
events, every file held against its SHA-256. Theirs copies files of the same sizes. Then each is killed (SIGKILL) when
half of the bytes have come, and measured as it goes on. Of a large file 2 GB are the whole, see `sync`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.link import Link
from benchmarks.pairs import arguments, run
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
from benchmarks.result import Aim, Result, Row
from benchmarks.s3_server import BUCKET, NAME, NoServer, S3Server, s3_server
from benchmarks.table import show
from cli.download import BATCH_BYTES, PART_BYTES, PARTS_AT_ONCE, REQUESTS_AT_ONCE
from cli.main import START_OBJECTS
from contract.layout import RunLayout

FETCH = f"""
import gc, sys
gc.set_threshold({START_OBJECTS})
from pathlib import Path
from cli.fetch import fetch_run
from cli.live import aws
fetch_run(aws("s3"), sys.argv[1], sys.argv[2], Path(sys.argv[3]), None, lambda who, what: None)
gc.freeze()
"""
UNDER_WAY_BYTES = PARTS_AT_ONCE * PART_BYTES
"""What is lost of a large file when it is cut short, at most; of packs it is a batch of each that comes."""
CHECKPOINTS = RunLayout("bench").checkpoints
BESIDES = 0.05
"""Status and manifests, as a share of the smallest shape."""
CUT_SECONDS = 3.0
"""From the last byte that came to the kill: what has come may be written."""
LIMIT = f"{LEAST} Ours hashes what comes, theirs does not. Theirs is a Python program, too, or, rclone, one in Go."


def fetch_shape(
    server: S3Server, shape: Shape, peers: Sequence[Peer], number: int, folder: Path
) -> tuple[Found, Found, dict[str, list[float]]]:
    """What whole fetches took, what resumed ones did, and by shape what the leanest program took of the whole."""
    files = shape.make(folder / "files")
    run([sys.executable, "-m", "bootstrap.sync"], env=make_box(server, folder / "box", "bench", files))
    if peers:
        first, *others = sorted(file.name for file in files.iterdir())
        server.client().upload_file(str(files / first), BUCKET, f"theirs/{first}")
        server.repeat(f"theirs/{first}", [f"theirs/{name}" for name in others])
    whole: Found = defaultdict(lambda: defaultdict(list))
    resumed: Found = defaultdict(lambda: defaultdict(list))
    leanest: dict[str, list[float]] = defaultdict(list)
    env, homes = environment(server), count()

    def side(name: str, command: Callable[[Path], list[str]]) -> None:
        if name == OURS:
            leanest[shape.name].append(bare("get", CHECKPOINTS, folder / "bare", env))
            shutil.rmtree(folder / "bare")  # or ours waits until it is on the disk
        at_once, in_two = folder / f"homes/{next(homes)}", folder / f"homes/{next(homes)}"
        whole[name][shape.name].append(measure(server, command(at_once), env))
        cut(server, command(in_two), in_two, shape.total_bytes // 2)
        resumed[name][f"{shape.name}, resumed"].append(measure(server, command(in_two), env))
        came = sum(path.stat().st_size for path in in_two.rglob("shard-*.bin"))
        if came != shape.total_bytes:
            raise RuntimeError(f"{name} brought {came} bytes of {shape.total_bytes}")
        if shape != MANY_SMALL:  # those stay: ext4 without a journal walks past inodes freed lately
            shutil.rmtree(folder / "homes")

    def ours(target: Path) -> list[str]:
        return [sys.executable, "-c", FETCH, BUCKET, "bench", str(target)]

    sides: dict[str, Callable[[], None]] = {OURS: partial(side, OURS, ours)}
    for peer in peers:
        sides[peer.baseline.name] = partial(side, peer.baseline.name, partial(peer.download, "theirs"))
    in_turn(sides, number)
    shutil.rmtree(folder / "homes", ignore_errors=True)
    shutil.rmtree(folder / "box")
    shutil.rmtree(files)
    server.forget("runs/bench")
    server.forget("theirs")
    return whole, resumed, leanest


def cut(server: S3Server, command: Sequence[str], target: Path, after_bytes: int) -> None:
    """Start the command and kill it when so many bytes have come."""
    with Link(server.port, carries=after_bytes) as link:
        env = environment(server) | {"AWS_ENDPOINT_URL": link.endpoint, "RCLONE_S3_ENDPOINT": link.endpoint}
        process = subprocess.Popen(command, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            if not link.cut.wait(300):
                raise RuntimeError(f"{command[0]} never brought {after_bytes} bytes to {target}")
            time.sleep(CUT_SECONDS)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    server.settle()


def fetched_again(resumed: Found, shape: Shape) -> list[Row]:
    """Which share of all bytes a resumed fetch asks for."""
    shares = {
        name: tuple(round(one.object_bytes / shape.total_bytes, 3) for one in done[f"{shape.name}, resumed"])
        for name, done in resumed.items()
    }
    ours, measure_name = shares.pop(OURS), f"{shape.name}, resumed: fetched again"
    under_way = min(UNDER_WAY_BYTES, REQUESTS_AT_ONCE * max(shape.file_bytes, BATCH_BYTES))
    aim = Aim(number=min(0.9, round(0.5 + BESIDES + under_way / shape.total_bytes, 2)), of="ours")
    against: list[tuple[str, tuple[float, ...]]] = list(shares.items()) or [("", ())]
    return [
        Row(measure=measure_name, unit="share", ours=ours, theirs=theirs, against=name, aim=aim)
        for name, theirs in against
    ]


def main() -> None:
    parser = arguments("fetch", __doc__, number=2)
    parser.add_argument("--share", type=float, default=SHARE, help="of the large file's 2 GB (default %(default)s)")
    options = parser.parse_args()
    all_peers = [aws(), rclone()]
    peers = [peer for peer in all_peers if not peer.baseline.missing]
    baselines = tuple(peer.baseline for peer in all_peers)
    what = "Seconds, processor, memory and requests to bring a run's checkpoint home, and to go on after a cut at half"
    how = f"{NAME} on this machine; sides in turn"
    found_rows: list[Row] = []
    room = 2 * max(shape.total_bytes for shape in shapes(options.share))
    try:
        with tempfile.TemporaryDirectory() as folder, s3_server(room) as server:
            for shape in shapes(options.share):
                whole, resumed, leanest = fetch_shape(server, shape, peers, options.pairs, Path(folder))
                found_rows += (
                    rows(whole, {(shape.name, "time"): Aim(number=0.5)}, leanest)
                    + rows(resumed, {}, {})
                    + fetched_again(resumed, shape)
                )
    except NoServer as error:
        result = Result(name="fetch", what=what, how=how, baselines=baselines, skipped=str(error))
    else:
        result = Result(name="fetch", what=what, how=how, baselines=baselines, rows=tuple(found_rows), limit=LIMIT)
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
