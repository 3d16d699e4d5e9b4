"""The CDK's command line, as signspot calls it: in a rehearsal and on AWS alike."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.errors import CloudError

HOME = Path(__file__).resolve().parents[1]
CDK = HOME / "node_modules/.bin/cdk"
APP = shlex.join([sys.executable, str(HOME / "app.py")])


def command(verb: str, *arguments: str) -> list[str]:
    return [str(CDK), verb, "--no-notices", "--ci", *arguments]


def deploy(app: str, *arguments: str) -> list[str]:
    """`app`: how it is started, or the folder it was synthesised into."""
    return command("deploy", "--require-approval", "never", "--progress", "events", "--app", app, *arguments)


def environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """With the Node that `make setup` put beside this Python, and no colours: the output is read by a program."""
    return {
        **base,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{base.get('PATH', os.defpath)}",
        "CDK_DISABLE_VERSION_CHECK": "1",
        "NO_COLOR": "1",
    }


@dataclass(frozen=True)
class Step:
    """One line of a deploy's progress."""

    done: int
    of: int
    status: str
    """As CloudFormation says: CREATE_COMPLETE, …"""
    kind: str
    name: str

    @property
    def over(self) -> bool:
        return self.status.endswith(("_COMPLETE", "_FAILED"))


STEP = re.compile(
    r"^[^|]+\|\s*(?P<done>\d+)/(?P<of>\d+)\s*\|[^|]*\|\s*(?P<status>[A-Z_]+)\s*\|\s*(?P<kind>[\w:]+)\s*\|\s*(?P<name>.*)$"
)


def step_of(line: str) -> Step | None:
    match = STEP.match(line)
    if match is None:
        return None
    return Step(int(match["done"]), int(match["of"]), match["status"], match["kind"], match["name"].strip())


MENDS = (
    (r"bootstrapped|SSM parameter /cdk-bootstrap", "node_modules/.bin/cdk bootstrap, once per account and region"),
    (r"Unable to fetch parameters \[", "signspot check: the region does not have machine.ami_parameter"),
    (r"[Ee]xpired ?[Tt]oken|Need to perform AWS calls|no credentials", "log in to AWS (`aws sso login`), then again"),
    (r"ROLLBACK_COMPLETE", "signspot destroy RUN removes what is left of it; then deploy again"),
    (r"AccessDenied|not authorized", "have it allowed: python -m infra.deploy_policy prints the policy of who deploys"),
)
"""What the CDK CLI says, and what mends it."""
OTHERWISE = "look at what it says above; the same command goes on from here"


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    hear: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the CDK CLI in `folder`; each line that it says is heard at once.

    Raises:
        CloudError: it failed; with the end of what it said.
        KeyboardInterrupt: the same Ctrl-C reaches the CDK CLI, which ends by itself.
    """
    said: deque[str] = deque(maxlen=60)
    with subprocess.Popen(
        arguments,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            hear(line.rstrip())
    if process.returncode:
        text = "".join(said).strip()[-3000:]
        mend = next((mend for pattern, mend in MENDS if re.search(pattern, text)), OTHERWISE)
        raise CloudError(f"cdk {arguments[1]} ended with {process.returncode}", why=text, mend=mend)
