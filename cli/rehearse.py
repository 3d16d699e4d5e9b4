"""`signspot rehearse`: a whole run, told step by step. Enters: a plan. Leaves: a report."""

from __future__ import annotations

import csv
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli import cdk
from cli.inventory import left, take_inventory
from cli.rehearsal_screen import Report, Screen
from cli.stage import OVERRIDES, ROOT, RUN, Stage, Strike, open_stage
from contract.config import load_config
from contract.errors import DataError
from contract.status import Status
from rehearsal.sandbox import Kind, namespaces_refused

SAMPLE_EPOCHS = 15
"""Of the synthetic sample, so that a rehearsal is over in minutes."""


@dataclass(frozen=True)
class Plan:
    data: Path | None
    interruptions: int
    with_notice: bool
    keep: bool
    notice_seconds: float
    sandbox: Kind
    to: Path
    settings: Mapping[str, str]
    """Settings that differ from signspot.toml, by name."""


def rehearse_run(plan: Plan, screen: Screen) -> Report:
    """Good when every interruption was survived, the model predicts and nothing is left in the account."""
    with open_stage(screen, plan.sandbox) as stage:
        return Rehearsal(plan, stage).run()


class Rehearsal:
    def __init__(self, plan: Plan, stage: Stage) -> None:
        self.plan = plan
        self.stage = stage
        self.screen = stage.screen

    def run(self) -> Report:
        data, settings = self._settings()
        file, label = _test_example(data, load_config(ROOT / "signspot.toml", settings).data.table)
        stage = self.stage
        self.screen.say("AWS", f"emulated on this machine at {stage.aws.endpoint}")
        refused = namespaces_refused(stage.work) if self.plan.sandbox == "auto" else ""
        if refused:
            self.screen.say("AWS", f"instances are plain processes, because namespaces are refused here: {refused}")
        stage.bootstrap()
        before = take_inventory(stage.aws.client)
        context = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        outputs = stage.deploy(cdk.APP, *context)
        stage.watch(outputs["Bucket"], outputs["Group"], self._strikes())
        model = self.plan.to / RUN / "model"
        stage.signspot("fetch", RUN, "--to", str(self.plan.to))
        metrics = json.loads((model / "metrics.json").read_text())
        self.screen.say("fetch", f"model in {model}, every hash verified")
        answer = stage.signspot("predict", str(model), str(file)).strip()
        self.screen.say("predict", f"{file.name} (labelled {label!r}): {answer.splitlines()[0]}")
        if self.plan.keep:
            self._wait_for_ctrl_c()
        self.screen.say("destroy", stage.signspot("destroy", RUN, "--to", str(self.plan.to)).strip().splitlines()[-1])
        report = Report(
            stretches=stage.stretches(),
            events=tuple(stage.events),
            accuracy=metrics.get("test_accuracy"),
            answer=answer,
            interruptions_planned=self.plan.interruptions,
            interruptions=len(stage.interrupted),
            notice_seconds=self.plan.notice_seconds if self.plan.with_notice else None,
            left={kind: tuple(sorted(ids)) for kind, ids in left(before, take_inventory(stage.aws.client)).items()},
        )
        self.screen.report(report)
        return report

    def _settings(self) -> tuple[Path, dict[str, str]]:
        """The folder to train on, and every setting that differs from signspot.toml."""
        if self.plan.data is not None:
            folder, own = self.plan.data.resolve(), {}
        else:
            folder, own = self.stage.work / "sample", {"epochs": str(SAMPLE_EPOCHS)}
            self.stage.call([sys.executable, "-m", "trainer.sample", str(folder)])
            self.screen.say("data", "a synthetic sample: a kinematic hand signing a few words")
        return folder, {**OVERRIDES, **own, "data.path": str(folder), **self.plan.settings, "run": RUN}

    def _strikes(self) -> list[Strike]:
        """Evenly over the training: one interruption comes after a third of it."""
        count = self.plan.interruptions
        return [Strike((number + 1) / (count + 2), self._interrupt) for number in range(count)]

    def _interrupt(self, status: Status) -> None:
        self.stage.interrupted.append(status.instance)
        at = f"at step {status.progress.step} of {status.progress.steps}"
        if self.plan.with_notice:
            shortened = "" if self.plan.notice_seconds == 120 else " (shortened from 120)"
            self.screen.say(
                "AWS", f"notice to {status.instance} {at}: gone in {self.plan.notice_seconds:g} s{shortened}"
            )
            self.stage.datacenter.notice(status.instance, self.plan.notice_seconds)
        else:
            self.screen.say("AWS", f"{status.instance} is gone {at}, without notice")
            self.stage.datacenter.kill(status.instance)

    def _wait_for_ctrl_c(self) -> None:
        exports = [
            f"export {name}={value}" for name, value in self.stage.environment.items() if name.startswith("AWS_")
        ]
        self.screen.say("keep", "left up; in another terminal:\n" + "\n".join(exports) + "\nCtrl-C ends it")
        try:
            signal.pause()
        except KeyboardInterrupt:
            self.screen.say("keep", "taken down now")


def _test_example(data: Path, table: str) -> tuple[Path, str]:
    """The first sequence of the test split, and its label.

    Raises:
        DataError: there is no table, or no such sequence.
    """
    try:
        with (data / table).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get("split") == "test":
                    return data / row["path"], row["label"]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise DataError(
            f"{data / table} cannot be read", why=repr(error), mend="--data names the folder that holds dataset.csv"
        ) from error
    raise DataError(f"{data / table} has no row of the test split", mend="give some sequences the split `test`")
