"""One thing that was looked at before a run is paid for. Enters: questions. Leaves: findings, each within its time.

A question that AWS refuses is "could not be asked", with the permission's name: it says nothing about the answer.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel

from cli.refusal import REFUSED, code_of, mend_of
from contract.errors import SignspotError

NO_ANSWER = (BotoCoreError, ClientError)
NOT_ALLOWED = REFUSED | {"403"}
"""The latter where the refusal has no code: botocore then gives the status of HTTP."""


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"
    """It could not be asked."""


class Finding(BaseModel):
    check: str
    verdict: Verdict
    text: str
    mend: str = ""
    """The command or the setting that mends it; empty where there is nothing to mend."""


@dataclass(frozen=True)
class Check:
    name: str
    look: Callable[[], Iterable[Finding]]


class Unasked(Exception):
    """AWS does not let us ask; `permission` as IAM spells it."""

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission


def ask(client: Any, operation: str, **parameters: Any) -> Any:
    """The whole answer, all pages of it.

    Raises:
        Unasked: these credentials may not ask that.
        ClientError, BotoCoreError: anything else.
    """
    if not client.can_paginate(operation):
        return ask_once(client, operation, **parameters)
    with _allowed(client, operation):
        return client.get_paginator(operation).paginate(**parameters).build_full_result()


def ask_once(client: Any, operation: str, **parameters: Any) -> Any:
    """As `ask`, the first page only, with the answer's metadata."""
    with _allowed(client, operation):
        return getattr(client, operation)(**parameters)


@contextmanager
def _allowed(client: Any, operation: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) not in NOT_ALLOWED:
            raise
        service = client.meta.service_model.signing_name
        raise Unasked(f"{service}:{client.meta.method_to_api_mapping[operation]}") from error


def run_checks(checks: Sequence[Check], seconds: float) -> list[Finding]:
    """All of them side by side, in their order; one without an answer after `seconds` is told as such."""
    answers: SimpleQueue[tuple[str, list[Finding]]] = SimpleQueue()
    for check in checks:
        work = threading.Thread(target=lambda check=check: answers.put((check.name, _look(check))), daemon=True)
        work.start()  # a daemon: one that hangs keeps nobody from leaving
    found: dict[str, list[Finding]] = {}
    end = time.monotonic() + seconds
    while len(found) < len(checks):
        try:
            name, findings = answers.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[name] = findings
    late = f"no answer within {seconds:g} s"
    return [
        finding
        for check in checks
        for finding in found.get(check.name, [unknown(check.name, late, "check the network, then ask again")])
    ]


def _look(check: Check) -> list[Finding]:
    try:
        return list(check.look())
    except Unasked as refusal:
        return [refused(check.name, refusal)]
    except SignspotError as error:
        return [bad(check.name, error.what + (f" ({error.why})" if error.why else ""), error.mend)]
    except NO_ANSWER as error:
        return [unknown(check.name, f"AWS did not answer: {error}", mend_of(error))]
    except (OSError, subprocess.SubprocessError) as error:
        return [unknown(check.name, str(error))]


def refused(check: str, refusal: Unasked) -> Finding:
    return unknown(
        check,
        f"could not be asked: {refusal.permission} is not allowed",
        f"have {refusal.permission} allowed: python -m infra.deploy_policy prints a policy that does",
    )


def good(check: str, text: str) -> Finding:
    return Finding(check=check, verdict=Verdict.GOOD, text=text)


def warn(check: str, text: str, mend: str = "") -> Finding:
    return Finding(check=check, verdict=Verdict.WARNING, text=text, mend=mend)


def bad(check: str, text: str, mend: str) -> Finding:
    return Finding(check=check, verdict=Verdict.BAD, text=text, mend=mend)


def unknown(check: str, text: str, mend: str = "") -> Finding:
    return Finding(check=check, verdict=Verdict.UNKNOWN, text=text, mend=mend)
