"""What the commands of the laptop take: `cdk synth` of our app, `signspot status` and `signspot --help`.

Each beside `cdk synth` of an empty app, the least that any CDK project waits for; `status` also beside the `aws s3 cp`
that would print the run's raw status, `--help` also beside a Python that does nothing. `status` asks an AWS emulated
in another process, where our stack is up. Enters: how many pairs. Leaves: a Result; seconds are wall clock.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.pairs import arguments, rounds, run
from benchmarks.result import Aim, Baseline, Result, Row
from benchmarks.table import show
from cli import cdk
from trainer.sample import make_sample

EMPTY = """
from aws_cdk import App, Stack
app = App()
Stack(app, "Empty")
app.synth()
"""
AWS = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from cli.assembly import Assembly, synthesise
from contract.layout import RunLayout
from contract.status import Phase, Progress, Status
from rehearsal.aws import EmulatedAws
folder, data = Path(sys.argv[1]), sys.argv[2]
synthesise(folder, {"run": "bench", "data.path": data})
with EmulatedAws() as aws:
    assembly = Assembly(folder, "bench", aws)
    assembly.bootstrap()
    bucket = assembly.deploy()["Bucket"]
    now = datetime.now(UTC)
    status = Status(run="bench", phase=Phase.TRAINING, heartbeat=now, since=now, progress=Progress(step=1, steps=9))
    key = RunLayout("bench").status
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=status.model_dump_json())
    print(json.dumps({"environment": aws.environment(), "status": f"s3://{bucket}/{key}"}), flush=True)
    sys.stdin.read()
"""
AIM = Aim(number=1.5)
OURS, STATUS, HELP = "`cdk synth` of our app", "`signspot status`", "`signspot --help`"
SYNTH, COPY, BARE = "`cdk synth` of an empty app", "`aws s3 cp` of its status", "a Python that does nothing"
COMPARED = ((OURS, SYNTH, AIM), (STATUS, SYNTH, AIM), (STATUS, COPY, None), (HELP, SYNTH, AIM), (HELP, BARE, None))


@contextmanager
def emulated(folder: Path, data: Path) -> Iterator[tuple[dict[str, str], str]]:
    """An account in which our stack is up: the environment of who asks it, and where the run's status is."""
    command = [sys.executable, "-c", AWS, str(folder), str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        line = server.stdout.readline()
        if not line:
            raise RuntimeError("the emulated AWS did not start")
        answer = json.loads(line)
        try:
            yield {**os.environ, **answer["environment"]}, answer["status"]
        finally:
            server.stdin.close()


def synth(app: Path, target: Path, *context: str) -> list[str]:
    """The command line that synthesises an app into the folder `target`."""
    started = shlex.join([sys.executable, str(app)])
    return cdk.command("synth", "--quiet", "--app", started, "--output", str(target), *context)


def measure(number: int) -> tuple[Row, ...]:
    with tempfile.TemporaryDirectory(prefix="signspot-bench-") as name:
        folder = Path(name)
        data, empty = folder / "sample", folder / "empty.py"
        make_sample(data)
        empty.write_text(EMPTY, encoding="utf-8")
        signspot, aws = (str(Path(sys.executable).with_name(name)) for name in ("signspot", "aws"))
        with emulated(folder / "assembly", data) as (asking, status):
            environment = cdk.environment(asking)
            context = ("-c", "run=bench", "-c", f"data.path={data}")
            commands = {
                OURS: synth(cdk.HOME / "app.py", folder / "ours.out", *context),
                SYNTH: synth(empty, folder / "empty.out"),
                STATUS: [signspot, "status", "bench"],
                COPY: [aws, "s3", "cp", status, "-"],
                HELP: [signspot, "--help"],
                BARE: [sys.executable, "-c", ""],
            }
            sides = {name: partial(run, command, env=environment, cwd=folder) for name, command in commands.items()}
            found = rounds(sides, number)
    seconds = {name: tuple(cost.seconds for cost in costs) for name, costs in found.items()}
    return tuple(
        Row(measure=measure, unit="s", ours=seconds[measure], theirs=seconds[against], against=against, aim=aim)
        for measure, against, aim in COMPARED
    )


def main() -> None:
    options = arguments("commands", __doc__).parse_args()
    cli = subprocess.run([str(cdk.CDK), "--version"], env=cdk.environment(), capture_output=True, text=True, check=True)
    result = Result(
        name="commands",
        what="What the commands of the laptop take.",
        how="Wall clock of the whole process, new each time; `status` asks an AWS emulated in another process.",
        baselines=(
            Baseline(name=SYNTH, version=f"{cli.stdout.split()[0]}, aws-cdk-lib {version('aws-cdk-lib')}"),
            Baseline(name=COPY, version=version("awscli")),
            Baseline(name=BARE, version=sys.version.split()[0]),
        ),
        rows=measure(options.pairs),
    )
    result.write(options.json)
    show(result)


if __name__ == "__main__":
    main()
