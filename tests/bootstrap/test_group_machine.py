"""The group and its boxes, one after the other, with faults chosen by chance (seeded): no run ends without a word,
no word without the end. The real agent and epitaph; S3 in memory; the trap of user data is played (its own test is
`test_user_data.py`), and the group's API may refuse.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import EndpointConnectionError
from fake_s3 import FakeS3, refusal
from one_box import NoMetadata

from bootstrap import epitaph
from bootstrap.agent import Agent
from bootstrap.metadata import Heard, Notice
from bootstrap.state import Box
from bootstrap.store import RunStore
from contract.box import EXIT_SAVED, BoxPaths
from contract.config import Config, load_config
from contract.errors import SignspotError
from contract.failpoints import Crash
from contract.layout import RunLayout
from contract.status import Phase, Status

logging.getLogger("bootstrap").setLevel(logging.CRITICAL)
LAYOUT = RunLayout("demo")
TRAINER = """
cd "$SM_CHECKPOINT_DIR"
test -e step-1 || { echo x >.1; mv .1 step-1; }
echo model >"$SM_MODEL_DIR/model"
"""


class Boot(NamedTuple):
    """What happens to one box."""

    trainer_exit: int = 0
    notice: bool = False
    killed_at: int | None = None
    """The agent gets SIGKILL at its S3 request of this number."""
    s3: str = "there"
    """`there`; `away` or `refuses` from request `s3_from` on, for as many requests as `s3_for`."""
    s3_from: int = 0
    s3_for: int = 1000
    group_refuses: bool = False


def fate_of(random: Random) -> Boot:
    return Boot(
        trainer_exit=random.choice([0, 0, 1]),
        notice=random.random() < 0.2,
        killed_at=random.choice([None, random.randint(0, 40)]),
        s3=random.choice(["there", "there", "away", "refuses"]),
        s3_from=random.randint(0, 40),
        s3_for=random.choice([1, 3, 1000]),
        group_refuses=random.random() < 0.5,
    )


class Ears(NoMetadata):
    def __init__(self, notice: bool) -> None:
        super().__init__()
        self.notice = Notice("spot", None) if notice else None

    def listen(self) -> Heard:
        return Heard(self.notice)


@dataclass
class World:
    folder: Path
    s3: FakeS3 = field(default_factory=FakeS3)
    desired: int = 1
    booted: int = 0

    def status(self) -> Status | None:
        body = self.s3.objects.get(LAYOUT.status)
        return Status.model_validate_json(body) if body else None

    def boot(self, fate: Boot) -> None:
        """One instance, from its boot to its power-off; the group replaces it while its size is 1."""
        self.booted += 1
        before = self.status()
        instance, requests, dead = f"i-{self.booted}", [0], [False]

        def gate(operation: str, key: str, request: Callable[[], Any]) -> Any:
            number, requests[0] = requests[0], requests[0] + 1
            if dead[0] or number == fate.killed_at:
                dead[0] = True
                raise Crash
            if fate.s3_from <= number < fate.s3_from + fate.s3_for:
                if fate.s3 == "away":
                    raise EndpointConnectionError(endpoint_url="s3")
                if fate.s3 == "refuses":
                    raise refusal("AccessDenied", 403, operation)
            return request()

        box = self.box(instance, gate, fate)
        code = self.agent(box, fate)
        if dead[0]:
            code = 137
        dead[0], requests[0] = False, 1000  # the trap's processes are others
        log = False
        if code not in (0, EXIT_SAVED):
            with suppress(SignspotError):
                epitaph.write(self.box(instance, gate, fate), NoMetadata(), code)
        with suppress(SignspotError):
            box.store.put_log(instance, "boot", 0, b"the end")
            log = True
        asked = code != EXIT_SAVED
        if asked and not fate.group_refuses:
            self.desired = 0
        self.check(fate, before, asked, log)

    def box(self, instance: str, gate: Any, fate: Boot) -> Box:
        paths = BoxPaths(self.folder / instance)
        for directory in (paths.home, paths.logs, paths.checkpoints, paths.model, paths.output):
            directory.mkdir(parents=True, exist_ok=True)
        command = ("sh", "-c", f"{TRAINER}\necho >>{self.folder}/trained\nexit {fate.trainer_exit}")
        config = load_config(None, {"run": "demo", "max_attempts": "2"})
        config = Config.model_validate(config.model_dump() | {"trainer": {"command": command}})
        store = RunStore(self.s3.client(gate), "bucket", "demo", at_once=1)  # type: ignore[arg-type]
        return Box(paths, config, "bucket", "", "", instance, store, {"PATH": os.environ["PATH"]})

    def agent(self, box: Box, fate: Boot) -> int:
        life = Agent(
            box,
            Ears(fate.notice),
            preparations=(),
            wait_after_notice_seconds=0,
            patience_seconds=0,
            sleep=lambda _: time.sleep(0.001),
            gpu=lambda: None,
        )
        life._voice.drain = life._voice._silent.set  # type: ignore[method-assign]
        try:
            return life.run()
        except SignspotError as error:  # as main() does
            return error.exit_code
        except Crash:
            return 137

    def check(self, fate: Boot, before: Status | None, asked: bool, log: bool) -> None:
        after = self.status()
        final = after is not None and after.phase.final
        trained = (self.folder / "trained").exists()
        if self.desired == 0:
            assert final or log or fate.s3 != "there", "the run was ended without a word"
        if before is not None and before.phase.final:
            assert after == before, "the last word was taken back"
            assert not trained, "a run that is over was paid for again"
            assert asked or fate.s3 != "there" or fate.killed_at is not None, "the group was left standing"
        if after is not None and after.phase is Phase.DONE:
            assert LAYOUT.model_manifest in self.s3.objects
        (self.folder / "trained").unlink(missing_ok=True)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_the_run_ends_with_a_word_and_the_group_at_0(seed: int, tmp_path: Path) -> None:
    random, world = Random(seed), World(tmp_path)
    fates = [fate_of(random) for _ in range(random.randint(1, 6))]
    for fate in [*fates, *[Boot()] * 3]:  # at last all is well again: whatever was left, it ends now
        if world.desired:
            world.boot(fate)
    assert world.desired == 0, fates
