"""From the two-minute notice to a verified checkpoint in S3: the built-in model, and 2 GB over 1 Gbit/s.

    python -m benchmarks.notice --pairs 5 --large 5

The real agent polls a metadata service; it runs the built-in trainer, or a stand-in that holds 2 GB and writes them
when told to save. Measured is from the moment at which the notice could be read to the event `interrupted`, which
the agent writes after it has read the checkpoint's manifest back. What a notice leaves is 120 s. The link to S3 is a
relay on this machine that lets 125 MB a second through.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.life import Life
from benchmarks.link import Link
from benchmarks.pairs import arguments
from benchmarks.result import Aim, Result, Row
from benchmarks.s3_server import MEMORY, NAME, NoServer, S3Server, s3_server
from benchmarks.table import show
from contract.config import Config, load_config
from trainer.sample import make_sample

GIGABIT = 125e6
"""Bytes a second."""
LARGE_BYTES = 2_000_000_000
HOLDER = """
import json, os, signal, sys, time
from pathlib import Path
size, block = int(sys.argv[1]), os.urandom(1 << 24)
told = []
signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
Path(os.environ["SM_OUTPUT_DIR"], "progress.json").write_text(json.dumps({"step": 1, "steps": 2}))
while not told:
    time.sleep(0.01)
place = Path(os.environ["SM_CHECKPOINT_DIR"], "step-1.ckpt")
with (place.parent / ".step-1.ckpt").open("wb") as file:
    while file.tell() < size:
        file.write(block[:size - file.tell()])
    file.flush()
    os.fsync(file.fileno())
(place.parent / ".step-1.ckpt").replace(place)
sys.exit(75)
"""
LIMIT = (
    "2 GB take 16 s at 1 Gbit/s. The rest is writing and hashing them, the second until the notice is heard, and the "
    "server, which shares two processors with client and relay."
)


LOOK_SECONDS = 0.5
"""Between two looks for that event, of which its own time counts: the server answers one after the other."""


def seconds_to_safety(life: Life, step: int) -> float:
    """Give notice once the trainer has come so far; returns what it took until the checkpoint was verified."""
    with life:
        life.wait("the trainer trains", lambda: life.progress() >= step)
        noticed = life.notice()
        life.wait("it is interrupted", lambda: any(one.kind == "interrupted" for one in life.events()), LOOK_SECONDS)
        (end,) = (event for event in life.events() if event.kind == "interrupted")
        if not end.message.startswith("saved;") or end.step < step:
            raise RuntimeError(f"not everything was saved: {end.message}")
        return (end.time - noticed).total_seconds()


def built_in(server: S3Server, folder: Path, number: int) -> list[float]:
    make_sample(folder / "sample")
    config = load_config(
        None, {"run": "built-in", "epochs": "100000", "patience": "100000", "checkpoint_seconds": "3600"}
    )
    return [
        round(seconds_to_safety(Life(server, folder / f"i-{turn}", folder / "sample", config), 10 * (turn + 1)), 2)
        for turn in range(number)
    ]


def large(server: S3Server, folder: Path, size: int, number: int) -> list[float]:
    (folder / "nothing").mkdir()
    plain = load_config(None, {"run": "large", "grace_seconds": "100"})
    config = Config.model_validate(plain.model_dump() | {"trainer": {"command": ("python", "-c", HOLDER, str(size))}})
    taken = []
    for turn in range(number):
        root = folder / f"i-large-{turn}"
        with Link(server.port, bytes_per_second=GIGABIT) as link:
            taken.append(round(seconds_to_safety(Life(server, root, folder / "nothing", config, link.endpoint), 1), 2))
        server.forget("runs/large")
        shutil.rmtree(root)
    return taken


def main() -> None:
    parser = arguments("notice", __doc__, number=3)
    parser.add_argument("--large", type=int, default=1, help="runs with 2 GB (default %(default)s)")
    parser.add_argument("--scale", type=float, default=1, help="share of the 2 GB (default %(default)s)")
    options = parser.parse_args()
    size = round(LARGE_BYTES * options.scale)
    what = "Seconds from the two-minute notice to a verified checkpoint in S3"
    how = f"{size / 1e9:g} GB through a relay of 125 MB/s; {NAME} on this machine; no peer: the limit is 120 s"
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 5 * size
    try:
        with s3_server(2 * size) as server, tempfile.TemporaryDirectory(dir=MEMORY if roomy else None) as name:
            rows = (
                Row(
                    measure="built-in model",
                    unit="s",
                    ours=tuple(built_in(server, Path(name), options.pairs)),
                    aim=Aim(number=3, of="ours"),
                ),
                Row(
                    measure=f"{size / 1e9:g} GB over 1 Gbit/s",
                    unit="s",
                    ours=tuple(large(server, Path(name), size, options.large)),
                    aim=Aim(number=30, of="ours"),
                ),
            )
    except NoServer as error:
        result = Result(name="notice", what=what, how=how, skipped=str(error))
    else:
        result = Result(name="notice", what=what, how=how, rows=rows, limit=LIMIT)
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
