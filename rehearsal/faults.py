"""What can happen to a run, by name. Enters: a box that is training. Leaves: it, or its S3, in trouble.

Each fault ends with the box gone or its trainer dead, so that work has to be taken up again. `with_notice` says
whether the box could know: then no step may be done twice.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil

from contract.layout import RunLayout
from contract.status import Latest
from rehearsal.aws import EmulatedAws, Environ, Response
from rehearsal.datacenter import Box, Datacenter

NOTICE_SECONDS = 10.0
"""The two minutes, shortened."""
AWAY_SECONDS = 6.0
UNAVAILABLE: Response = (503, {}, b"<Error><Code>ServiceUnavailable</Code><Message>Please retry</Message></Error>")
SLOW_DOWN: Response = (
    503,
    {},
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>",
)


@dataclass(frozen=True)
class Scene:
    """Where a fault strikes."""

    aws: EmulatedAws
    datacenter: Datacenter
    box: Box
    bucket: str
    layout: RunLayout
    random: random.Random

    @contextlib.contextmanager
    def s3(self, fault: Callable[[], Response | None]) -> Iterator[None]:
        """What the boxes, and only they, get from S3 meanwhile."""

        def of_a_box(environ: Environ) -> Response | None:
            authorization = environ.get("HTTP_AUTHORIZATION", "")
            return fault() if "Credential=ASIA" in authorization and "/s3/" in authorization else None

        self.aws.fault = of_a_box
        try:
            yield
        finally:
            self.aws.fault = None

    def replacement(self) -> Box:
        """The next box, once it is there."""
        number = self.datacenter.boxes.index(self.box) + 1
        self.datacenter.wait(lambda: len(self.datacenter.boxes) > number, 60)
        return self.datacenter.boxes[number]


def notice(scene: Scene) -> None:
    scene.datacenter.notice(scene.box.instance_id, NOTICE_SECONDS)


def kill(scene: Scene) -> None:
    scene.datacenter.kill(scene.box.instance_id)


def kill_trainer(scene: Scene) -> None:
    """As the kernel does when memory runs out."""
    for process in scene.box.sandbox.processes():
        with contextlib.suppress(psutil.Error):
            if "trainer.train" in process.cmdline():
                process.kill()


def rebalance_then_kill(scene: Scene) -> None:
    scene.box.imds.rebalance(datetime.now(UTC) + timedelta(seconds=4))
    time.sleep(4)
    kill(scene)


def notice_while_booting(scene: Scene) -> None:
    """The box gets a notice, and its replacement another before it trains."""
    notice(scene)
    scene.datacenter.wait(lambda: not scene.box.alive, NOTICE_SECONDS + 5)
    scene.datacenter.notice(scene.replacement().instance_id, 4)


def killed_twice(scene: Scene) -> None:
    """The box is gone, and its replacement is as well while it boots."""
    kill(scene)
    box = scene.replacement()
    time.sleep(scene.random.uniform(2, 10))
    scene.datacenter.kill(box.instance_id)


def outage_then_kill(scene: Scene) -> None:
    with scene.s3(lambda: UNAVAILABLE):
        time.sleep(AWAY_SECONDS)
        kill(scene)
        time.sleep(AWAY_SECONDS)


def outage_and_notice(scene: Scene) -> None:
    """S3 is away when the notice comes, and back before the box is gone."""
    with scene.s3(lambda: UNAVAILABLE):
        notice(scene)
        time.sleep(NOTICE_SECONDS / 3)


def slow_and_notice(scene: Scene) -> None:
    with scene.s3(lambda: time.sleep(0.4)):
        notice(scene)
        scene.datacenter.wait(lambda: not scene.box.alive, NOTICE_SECONDS + 5)


def throttled_then_kill(scene: Scene) -> None:
    with scene.s3(lambda: SLOW_DOWN if scene.random.random() < 0.4 else None):
        time.sleep(AWAY_SECONDS)
        kill(scene)
        scene.replacement()
        time.sleep(10)


def full_disk_then_kill(scene: Scene) -> None:
    """No process of the box can make any file longer; as with a full disk, every such write fails."""
    processes = scene.box.sandbox.processes()
    for size in (0, psutil.RLIM_INFINITY):
        for process in processes:
            with contextlib.suppress(psutil.Error, OSError):
                process.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))
        if size == 0:
            time.sleep(5)
    kill(scene)


def zombie(scene: Scene) -> None:
    """EC2 has forgotten the box and its group has replaced it, but it trains and syncs on for a while."""
    scene.datacenter.abandon(scene.box.instance_id, 25)


def damage(how: str) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        kill(scene)
        s3 = scene.aws.client("s3")
        body = s3.get_object(Bucket=scene.bucket, Key=scene.layout.latest)["Body"].read()
        newest = scene.layout.checkpoint(Latest.model_validate_json(body).checkpoints[0])
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=scene.bucket, Prefix=newest)["Contents"]]
        key = scene.random.choice(sorted(keys))
        content = bytearray(s3.get_object(Bucket=scene.bucket, Key=key)["Body"].read())
        if how == "deleted":
            s3.delete_object(Bucket=scene.bucket, Key=key)
            return
        content[scene.random.randrange(len(content))] ^= 1 << scene.random.randrange(8)
        cut = len(content) // 2 if how == "truncated" else len(content)
        s3.put_object(Bucket=scene.bucket, Key=key, Body=bytes(content[:cut]))

    return strike


@dataclass(frozen=True)
class Fault:
    name: str
    strike: Callable[[Scene], None]
    with_notice: bool = False
    intervals: int = 1
    """Checkpoint intervals of work that may be done again when there was no notice."""
    s3_away_seconds: float = 0
    """How long S3 refused before the loss: what was trained meanwhile could not be saved by anybody."""
    replaces: bool = True
    """The instance is lost; False: only its trainer."""


FAULTS = (
    Fault("notice", notice, with_notice=True),
    Fault("notice, again while booting", notice_while_booting, with_notice=True),
    Fault("notice while S3 is away", outage_and_notice, with_notice=True),
    Fault("notice while S3 is slow", slow_and_notice, with_notice=True),
    Fault("kill", kill),
    Fault("kill, again while booting", killed_twice),
    Fault("kill after a rebalance recommendation", rebalance_then_kill),
    Fault("kill during an S3 outage", outage_then_kill, s3_away_seconds=AWAY_SECONDS),
    Fault("kill while S3 throttles", throttled_then_kill, s3_away_seconds=AWAY_SECONDS),
    Fault("kill after the disk was full", full_disk_then_kill),
    Fault("trainer killed", kill_trainer, replaces=False),
    Fault("zombie box", zombie),
    Fault("kill, newest checkpoint corrupted", damage("corrupted"), intervals=2),
    Fault("kill, newest checkpoint truncated", damage("truncated"), intervals=2),
    Fault("kill, newest checkpoint deleted", damage("deleted"), intervals=2),
)
