"""Keeps the boxes on this machine equal to the instances in the emulated EC2.

Enters: an `EmulatedAws`. Leaves: one box per running instance, booted with the user data of its
launch template, the metadata service and the role's credentials; a box whose instance ended is
killed, an instance whose box powered off is terminated. What happens is told as events.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import Instance
from moto.iam.models import iam_backends

from rehearsal.aws import EmulatedAws
from rehearsal.iam import ACCOUNT
from rehearsal.imds import Identity, Imds
from rehearsal.sandbox import Kind, Sandbox
from rehearsal.sshd import Door

RUNNING = ("pending", "running")
BOXES_AT_ONCE = 12
FIRST_PORT, FIRST_WORKER_PORT = 16_400, 20_000
"""Boxes share this machine's network: each has an address of its own, and Ray in each has ports of its own, below
those that Linux gives away by itself (32768)."""


@dataclass
class Box:
    instance_id: str
    instance_type: str
    zone: str
    sandbox: Sandbox
    imds: Imds
    started: datetime
    started_monotonic: float
    ended: datetime | None = None
    ended_monotonic: float | None = None
    cause: str = ""
    """Why it ended: `powered off`, `spot interruption`, `killed`, `terminated`, `crashed`, `zombie`,
    `rehearsal over`."""

    @property
    def alive(self) -> bool:
        return self.ended is None

    @property
    def seconds(self) -> float:
        return (self.ended_monotonic or time.monotonic()) - self.started_monotonic


@dataclass(frozen=True)
class Happening:
    """`booted`, `notice` or `ended`, with the box it happened to."""

    time: datetime
    kind: str
    box: Box
    message: str = ""


@dataclass
class Datacenter:
    aws: EmulatedAws
    workdir: Path
    kind: Kind = "auto"
    poll: float = 0.2
    on_event: Callable[[Happening], None] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    """Further variables for the boxes, for tests."""
    prepare: Callable[[Sandbox], None] = lambda _: None
    """Called with each box before it starts, for benchmarks."""
    boxes: list[Box] = field(default_factory=list)
    events: list[Happening] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.error: Exception | None = None
        """What made the loop stop, if anything did; raised again on leaving."""
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._due: dict[str, float] = {}
        self._causes: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="datacenter", daemon=True)

    def __enter__(self) -> Datacenter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.error is not None and kind is None:
            raise self.error

    def close(self) -> None:
        """Kill every box. May be called twice."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for box in self.alive():
            self._end(box, "rehearsal over")

    def alive(self) -> list[Box]:
        return [box for box in list(self.boxes) if box.alive]

    def box(self, instance_id: str) -> Box:
        return next(box for box in self.boxes if box.instance_id == instance_id)

    def notice(self, instance_id: str, seconds: float = 120) -> None:
        """Spot interruption: the box is told now and taken away after `seconds` (two minutes at AWS)."""
        with self._lock:
            box = self.box(instance_id)
            box.imds.notice(datetime.now(UTC) + timedelta(seconds=seconds))
            self._due[instance_id] = time.monotonic() + seconds
            self._causes[instance_id] = "spot interruption"
            self._tell("notice", box, f"interruption in {seconds:g} s")

    def kill(self, instance_id: str, cause: str = "killed") -> None:
        """The instance vanishes without a word."""
        with self._lock:
            self._causes[instance_id] = cause
            self._end(self.box(instance_id), cause)
        self._terminate(instance_id)

    def abandon(self, instance_id: str, seconds: float) -> None:
        """EC2 counts the instance as gone and its group replaces it, but it runs on for `seconds`: a zombie."""
        with self._lock:
            self._causes[instance_id] = "zombie"
            self._due[instance_id] = time.monotonic() + seconds
        self._terminate(instance_id)

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether the condition came true in time. Raises what made the datacenter itself stop, if anything did."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.error is not None:
                raise self.error
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def _run(self) -> None:
        while not self._stopped.wait(self.poll):
            try:
                self.reconcile()
            except Exception as error:
                self.error = error
                return

    def reconcile(self) -> None:
        """One look at both sides, and what follows from it."""
        for box in self.alive():
            if time.monotonic() >= self._due.get(box.instance_id, float("inf")):
                self._end(box, self._causes[box.instance_id])
                self._terminate(box.instance_id)
            elif not box.sandbox.alive:
                cause = "powered off" if box.sandbox.powered_off else "crashed"
                told = box.instance_id in self._causes or box.instance_id in self._running()
                self._end(box, cause if told else "terminated")  # it asked AWS for its end, then powered off
                self._terminate(box.instance_id)
        running = self._running()
        for box in self.alive():
            if box.instance_id not in running and self._causes.get(box.instance_id) != "zombie":
                box.imds.target_state = "Terminated"
                self._end(box, self._causes.get(box.instance_id, "terminated"))
        known = {box.instance_id for box in self.boxes}
        for instance_id, instance in running.items():
            if instance_id not in known:
                self._boot(instance)

    def _running(self) -> dict[str, Instance]:
        with self.aws.lock:
            backend = ec2_backends[ACCOUNT][self.aws.region]
            return {one.id: one for one in backend.all_instances() if one._state.name in RUNNING}

    def _terminate(self, instance_id: str) -> None:
        """As when AWS ends an instance: its group, if it still wants one, starts another."""
        with self.aws.lock:
            backend = ec2_backends[ACCOUNT][self.aws.region]
            if instance_id in self._running():
                backend.terminate_instances([instance_id])
                autoscaling_backends[ACCOUNT][self.aws.region].notify_terminate_instances([instance_id])

    def _boot(self, instance: Instance) -> None:
        data = self._launch_data(instance)
        role = self._role(data)
        number = len(self.boxes) % BOXES_AT_ONCE
        identity = Identity(
            instance_id=instance.id,
            instance_type=instance.instance_type,
            region=self.aws.region,
            zone=instance.placement.zone or "",
            role=role,
            account=ACCOUNT,
            image_id=instance.image_id,
            launched=datetime.now(UTC),
            address=f"127.0.0.{10 + number}",
        )
        imds = Imds(identity, lambda: self.aws.role_credentials(role, instance.id) if role else {})
        sandbox = Sandbox(
            self.workdir / instance.id,
            base64.b64decode(str(data.get("UserData") or "")).decode() or "#!/bin/sh\n",
            environment={
                "AWS_ENDPOINT_URL": self.aws.endpoint,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
                "NO_PROXY": "localhost,127.0.0.1",
                "RAY_PORTS": f"{FIRST_PORT + 20 * number},{FIRST_WORKER_PORT + 1000 * number}",
                **self.environment,
            },
            instance_id=instance.id,
            kind=self.kind,
            door=self._door(instance, data),
        )
        sandbox.work.mkdir(parents=True)
        self.prepare(sandbox)
        sandbox.start()
        box = Box(
            instance.id,
            instance.instance_type,
            identity.zone,
            sandbox,
            imds,
            datetime.now(UTC),
            time.monotonic(),
        )
        self.boxes.append(box)
        self._tell("booted", box, f"{box.instance_type} in {box.zone}, as {sandbox.kind}")

    def _launch_data(self, instance: Instance) -> dict[str, Any]:
        """The launch template's data, of the version that the instance's group uses."""
        group = getattr(instance, "autoscaling_group", None)
        if group is None or group.ec2_launch_template is None:
            return {"UserData": instance.user_data}
        data: dict[str, Any] = group.ec2_launch_template.get_version(group.launch_template_version).data
        return data

    def _door(self, instance: Instance, data: dict[str, Any]) -> Door | None:
        """None: it was launched without a key, and nobody can log in."""
        if not (name := data.get("KeyName")):
            return None
        with self.aws.lock:
            (pair,) = ec2_backends[ACCOUNT][self.aws.region].describe_key_pairs([name])
        return Door(str(instance.public_ip), pair.public_key)

    def _role(self, data: dict[str, Any]) -> str:
        profile = data.get("IamInstanceProfile") or {}
        name = profile.get("Name") or profile.get("Arn", "").rpartition("/")[2]
        if not name:
            return ""
        with self.aws.lock:
            return str(iam_backends[ACCOUNT]["aws"].get_instance_profile(name).roles[0].name)

    def _end(self, box: Box, cause: str) -> None:
        with self._lock:
            if not box.alive:
                return
            box.sandbox.kill()
            box.imds.close()
            box.ended, box.ended_monotonic, box.cause = datetime.now(UTC), time.monotonic(), cause
            self._tell("ended", box, cause)

    def _tell(self, kind: str, box: Box, message: str) -> None:
        happening = Happening(datetime.now(UTC), kind, box, message)
        self.events.append(happening)
        if self.on_event:
            self.on_event(happening)
