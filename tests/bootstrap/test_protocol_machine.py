"""The commit protocol under every fault that hypothesis can think of: boxes that die or live on between any two
requests, answers that are lost, outages, damaged objects. The real store, sync and takeover; S3 in memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from fake_s3 import FakeS3, refusal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bootstrap.metadata import Metadata
from bootstrap.snapshot import snapshot
from bootstrap.state import Box
from bootstrap.store import RunStore
from bootstrap.sync import sync
from bootstrap.takeover import restore, take_over
from contract.box import BoxPaths
from contract.config import Config, load_config
from contract.errors import StaleLease, StorageError
from contract.failpoints import Crash
from contract.layout import RunLayout
from contract.status import Latest, Lease, Manifest, Phase, Status

logging.getLogger("bootstrap").setLevel(logging.CRITICAL)
LAYOUT = RunLayout("demo")
MEMORY = Path("/dev/shm")


class Fault(NamedTuple):
    """What happens to the request number `at` of an action."""

    at: int
    kind: str
    others: int = 0
    """How far the box gets that takes over meanwhile: boot, train, sync, finish."""


KINDS = ("refuse", "throttle", "lost", "repeated", "crash before", "crash after", "overtake")
fault = st.builds(Fault, st.integers(0, 14), st.sampled_from(KINDS), st.integers(1, 4))
faults = st.one_of(st.none(), st.none(), fault)
some = st.integers(0, 100)


class NoMetadata(Metadata):
    def get(self, path: str) -> str | None:
        return None


class Sim:
    """A box whose requests can be made to fail."""

    def __init__(self, machine: Protocol, number: int, config: Config) -> None:
        self.machine = machine
        self.dead = False
        self.fault: Fault | None = None
        self.requests = 0
        paths = BoxPaths(machine.folder / str(number))
        for directory in (paths.logs, paths.checkpoints, paths.model, paths.output):
            directory.mkdir(parents=True)
        store = RunStore(machine.s3.client(self.gate), "bucket", "demo", at_once=1)  # type: ignore[arg-type]
        self.box = Box(paths, config, "bucket", "", "", f"i-{number}", store, {})

    def gate(self, operation: str, key: str, request: Callable[[], Any]) -> Any:
        if self.dead:
            raise Crash
        if self.machine.refusals:
            self.machine.refusals -= 1
            raise EndpointConnectionError(endpoint_url="s3")
        number, self.requests = self.requests, self.requests + 1
        fault = self.fault
        if fault is None or fault.at != number:
            return request()
        self.fault = None
        match fault.kind:
            case "refuse":
                raise EndpointConnectionError(endpoint_url="s3")
            case "throttle":
                raise refusal("SlowDown", 503, operation)
            case "lost":
                request()
                raise ReadTimeoutError(endpoint_url="s3")
            case "repeated":  # botocore's own retry after a lost answer
                request()
            case "crash before":
                self.dead = True
                raise Crash
            case "crash after":
                request()
                self.dead = True
                raise Crash
            case "overtake":
                self.machine.overtake(fault.others)
        return request()

    def act(self, fault: Fault | None, action: Callable[[], None]) -> None:
        """Do it; whatever S3 or death makes of it is part of the game."""
        self.fault, self.requests = fault, 0
        try:
            action()
        except StaleLease:
            self.dead = True
        except (StorageError, Crash):
            pass
        finally:
            self.fault = None


class Protocol(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.s3 = FakeS3()
        self.s3.on_write = self.on_write
        self.sims: list[Sim] = []
        self.booted = 0
        self.nonce = 0
        self.refusals = 0
        self.written: set[frozenset[tuple[str, bytes]]] = set()
        self.named: list[str] = []
        self.acknowledged: list[str] = []
        self.damaged: set[str] = set()
        self.restored_step = 0
        self.damaged_since_restore = False

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(keep=st.integers(2, 3))
    def configure(self, keep: int) -> None:
        self.config = load_config(None, {"run": "demo", "keep_checkpoints": str(keep)})
        self.boot(None)

    # --- what can happen ---------------------------------------------------------------------------

    @rule(fault=faults)
    def boot(self, fault: Fault | None) -> None:
        sim = Sim(self, self.booted, self.config)
        self.booted += 1

        def action() -> None:
            previous = sim.box.store.read_status()
            if previous and previous.phase.final:
                sim.dead = True
                return
            take_over(sim.box, NoMetadata(), previous)
            self.check_restore(sim)
            sim.box.enter(Phase.TRAINING)
            self.sims.append(sim)

        sim.act(fault, action)

    @rule(which=some, steps=st.integers(1, 3), loss=st.none() | st.floats(0, 1))
    def train(self, which: int, steps: int, loss: float | None) -> None:
        if not (sim := self.pick(which)):
            return
        folder = sim.box.paths.checkpoints
        present = [path for path in folder.iterdir() if path.name.startswith("step-")]
        step = max((int(path.name[5:]) for path in present), default=0) + steps
        self.nonce += 1
        files = {f"step-{step:08d}": f"weights {self.nonce}".encode(), "config.json": f"{self.nonce:04d}".encode()}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        for path in present:
            path.unlink()
        self.written.add(frozenset(files.items()))
        metrics = {} if loss is None else {"val_loss": loss}
        sim.box.paths.progress.write_text(json.dumps({"step": step, "metrics": metrics}))

    @rule(which=some, fault=faults)
    def sync(self, which: int, fault: Fault | None) -> None:
        if sim := self.pick(which):
            sim.act(fault, lambda: self.do_sync(sim))

    @rule(which=some, losses=st.lists(st.none() | st.floats(0, 1), min_size=2, max_size=5), fault=faults)
    def train_and_sync(self, which: int, losses: list[float | None], fault: Fault | None) -> None:
        for loss in losses[:-1]:
            self.train(which, 1, loss)
            self.sync(which, None)
        self.train(which, 1, losses[-1])
        self.sync(which, fault)

    @precondition(lambda self: len(self.named) > 6)
    @rule(which=some, fault=faults)
    def finish(self, which: int, fault: Fault | None) -> None:
        if sim := self.pick(which):
            sim.act(fault, lambda: self.do_finish(sim))

    @rule(which=some, at=st.integers(0, 14), others=st.integers(1, 4))
    def overtaken_sync(self, which: int, at: int, others: int) -> None:
        self.train(which, 1, None)
        self.sync(which, Fault(at, "overtake", others))

    @precondition(lambda self: len(self.named) > 6)
    @rule(which=some, at=st.integers(0, 30))
    def overtaken_finish(self, which: int, at: int) -> None:
        self.finish(which, Fault(at, "overtake", 4))

    @rule(which=some, fault=faults)
    def kill_and_replace(self, which: int, fault: Fault | None) -> None:
        if sim := self.pick(which):
            sim.dead = True
        self.boot(fault)

    @rule(kind=st.sampled_from(["corrupt", "truncate", "delete"]), which=some, fault=faults)
    def damage_and_replace(self, kind: str, which: int, fault: Fault | None) -> None:
        self.damage(kind, which)
        self.kill_and_replace(which, fault)

    def damage(self, kind: str, which: int) -> None:
        latest = self.latest()
        if not latest or not latest.checkpoints:
            return
        newest = latest.checkpoints[0]
        keys = sorted(key for key in self.s3.objects if key.startswith(LAYOUT.checkpoint(newest)))
        if not keys:
            return
        key = keys[which % len(keys)]
        body = self.s3.objects.pop(key)
        if kind != "delete":
            self.s3.objects[key] = body[:-1] if kind == "truncate" else b"?" + body[1:]
        self.damaged.add(newest)
        self.damaged_since_restore = True

    @rule(requests=st.integers(1, 6))
    def outage(self, requests: int) -> None:
        self.refusals = requests

    # --- what the boxes do -------------------------------------------------------------------------

    def pick(self, which: int) -> Sim | None:
        self.sims = [sim for sim in self.sims if not sim.dead]
        if not self.sims:
            self.boot(None)
        return self.sims[which % len(self.sims)] if self.sims else None

    def do_sync(self, sim: Sim) -> None:
        try:
            sync(sim.box)
            self.check_sync(sim)
        finally:
            checkpoint = sim.box.load().checkpoint
            if checkpoint and checkpoint not in self.acknowledged:
                self.acknowledged.append(checkpoint)

    def do_finish(self, sim: Sim) -> None:
        self.do_sync(sim)
        state = sim.box.load()
        for name in ("model.keras", "labels.json"):
            (sim.box.paths.model / name).write_text(f"{name} of {sim.box.instance}")
        with snapshot(sim.box.paths.model, sim.box.paths.state / "staging") as files:
            sim.box.store.commit_model(files, state.checkpoint_step, state.lease)
        sim.box.enter(Phase.DONE)
        self.do_sync(sim)
        sim.dead = True

    def overtake(self, actions: int) -> None:
        """Another box lives its life while the one that asked waits for an answer."""
        before = len(self.sims)
        self.boot(None)
        if len(self.sims) == before:
            return
        sim = self.sims[-1]
        number = len(self.sims) - 1
        if actions > 1:
            self.sims, alive = [sim], self.sims
            self.train(0, 1, None)
            self.sims = alive
        if actions > 2:
            sim.act(None, lambda: self.do_sync(sim))
        if actions > 3:
            sim.act(None, lambda: self.do_finish(sim))
        assert self.sims[number] is sim

    # --- what must hold ----------------------------------------------------------------------------

    def check_restore(self, sim: Sim) -> None:
        latest = self.latest()
        assert latest
        expected = next((name for name in latest.kept if name not in self.damaged), None)
        warnings: list[str] = []
        try:
            manifest = restore(sim.box, warnings.append)
        except StorageError as error:
            stale = Lease.model_validate_json(self.s3.objects[LAYOUT.lease]) != sim.box.load().lease
            assert "none of the" not in str(error) or expected is None or stale
            raise
        folder = sim.box.paths.checkpoints
        found = frozenset((path.name, path.read_bytes()) for path in folder.iterdir())
        if manifest is None:
            assert not latest.kept and not found
            return
        assert found in self.written, "a torn set was restored"
        assert (manifest.id == expected) if latest.kept else (manifest.id not in self.acknowledged)
        assert manifest.step >= self.restored_step or self.damaged_since_restore, "work was lost"
        assert bool(warnings) == (bool(latest.kept) and latest.kept[0] != manifest.id)
        self.restored_step, self.damaged_since_restore = manifest.step, False

    def check_sync(self, sim: Sim) -> None:
        """A sync that says nothing has everything in S3, unless another box has taken over meanwhile."""
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sim.box.paths.checkpoints.iterdir()
        }
        latest = self.latest()
        if (
            files
            and latest
            and latest.epoch == sim.box.load().lease.epoch
            and latest.checkpoints[0] not in self.damaged
        ):
            newest = self.s3.objects[LAYOUT.checkpoint_manifest(latest.checkpoints[0])]
            assert {file.name: file.sha256 for file in Manifest.model_validate_json(newest).files} == files

    def on_write(self, key: str, body: bytes) -> None:
        """Epochs never go back: whoever is stale has written nothing."""
        for name, kind in ((LAYOUT.latest, Latest), (LAYOUT.status, Status), (LAYOUT.model_manifest, Manifest)):
            if key != name:
                continue
            new = kind.model_validate_json(body)
            if before := self.s3.objects.get(key):
                old = kind.model_validate_json(before)
                assert old.epoch <= new.epoch, f"{key} was written by a stale box"  # type: ignore[attr-defined]
            if isinstance(new, Latest):
                self.named += [name for name in new.checkpoints[:1] if name not in self.named]

    @invariant()
    def what_latest_names_is_there(self) -> None:
        latest = self.latest()
        for checkpoint in latest.kept if latest else ():
            if checkpoint not in self.damaged:
                self.verify(LAYOUT.checkpoint_manifest(checkpoint), LAYOUT.checkpoint(checkpoint))

    @invariant()
    def what_was_acknowledged_is_kept(self) -> None:
        latest = self.latest()
        for checkpoint in self.acknowledged:
            assert checkpoint in self.named
            newer = self.named[self.named.index(checkpoint) + 1 :]
            if checkpoint not in self.damaged and latest and len(newer) < self.config.sync.keep_checkpoints:
                assert checkpoint in latest.kept

    @invariant()
    def done_means_that_the_model_is_there(self) -> None:
        if (status := self.s3.objects.get(LAYOUT.status)) and Status.model_validate_json(status).phase is Phase.DONE:
            self.verify(LAYOUT.model_manifest, LAYOUT.model)

    def verify(self, manifest: str, prefix: str) -> None:
        for file in Manifest.model_validate_json(self.s3.objects[manifest]).files:
            body = self.s3.objects[prefix + file.object]
            assert hashlib.sha256(body[file.offset :][: file.size]).hexdigest() == file.sha256

    def latest(self) -> Latest | None:
        body = self.s3.objects.get(LAYOUT.latest)
        return Latest.model_validate_json(body) if body else None


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=250,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
