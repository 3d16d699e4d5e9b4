"""The instance metadata service, version 2. Enters: HTTP. Leaves: who this instance is, and notices.

Manners: a token by PUT, renewed before it runs out and after a 401; 404 means *there is none*;
anything else that goes wrong is no notice but is not silence either: it is logged and retried.
A slow service delays one look by at most `timeout_seconds` and a half.
The address comes from AWS_EC2_METADATA_SERVICE_ENDPOINT, which botocore and the AWS CLI honour too.
Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.errors import CloudError

log = logging.getLogger(__name__)

LINK_LOCAL = "http://169.254.169.254"
TOKEN_SECONDS = 6 * 3600
NOTICE = timedelta(minutes=2)


@dataclass(frozen=True)
class Notice:
    """This instance is about to be taken away."""

    kind: str
    """`spot` (AWS wants the capacity back), `group` (the Auto Scaling group is ending this instance), or what others
    than AWS say: `shutdown`, `deadline`, `stop`."""
    time: datetime | None
    """When, where it is known; of `stop`, when somebody asked."""


@dataclass(frozen=True)
class Heard:
    """Everything the service says about this instance's future."""

    notice: Notice | None = None
    risks: frozenset[str] = frozenset()
    """Reasons to save now and go on: a raised risk of interruption, scheduled maintenance."""


class Metadata:
    def __init__(
        self, endpoint: str = LINK_LOCAL, *, timeout_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._base = f"{endpoint.rstrip('/')}/latest"
        self._timeout = timeout_seconds
        self._clock = clock
        self._token = ""
        self._token_until = 0.0
        self._others = deque((self._group, self._rebalance, self._maintenance))
        self._risks: frozenset[str] = frozenset()
        self._complaint = ""

    def get(self, path: str) -> str | None:
        """The text at `meta-data/<path>`, or None where there is none (404); within `timeout_seconds` in all.

        Raises:
            CloudError: the service does not answer in time, or refuses.
        """
        return self._read(f"meta-data/{path}")

    def launched(self) -> datetime | None:
        """When this instance was launched, as EC2 says; None where it does not.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html (`pendingTime`)
        """
        try:
            document = json.loads(self._read("dynamic/instance-identity/document") or "{}")
            return datetime.fromisoformat(document["pendingTime"])
        except (CloudError, ValueError, KeyError, TypeError):
            return None

    def _read(self, path: str) -> str | None:
        deadline = self._clock() + self._timeout
        for attempt in (1, 2):
            try:
                request = urllib.request.Request(
                    f"{self._base}/{path}", headers={"X-aws-ec2-metadata-token": self._fresh_token(deadline)}
                )
                with urllib.request.urlopen(request, timeout=self._left(deadline)) as response:
                    text: str = response.read().decode()
                    return text
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code == 401 and attempt == 1:
                    self._token_until = 0.0
                    continue
                raise CloudError(f"instance metadata {path} answered {error.code}") from error
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise CloudError(f"instance metadata {path} does not answer", why=str(error)) from error
        raise AssertionError("unreachable")

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError(f"no answer within {self._timeout:g} s")
        return left

    def _fresh_token(self, deadline: float) -> str:
        if self._clock() >= self._token_until:
            request = urllib.request.Request(
                f"{self._base}/api/token",
                method="PUT",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)},
            )
            with urllib.request.urlopen(request, timeout=self._left(deadline)) as response:
                self._token = response.read().decode()
            self._token_until = self._clock() + TOKEN_SECONDS / 2
        return self._token

    def listen(self) -> Heard:
        """Ask for the notice first, then for one of the rest in turn while there is time.

        Three looks, a second apart, ask for everything. A service in trouble says nothing: no notice, and the risks
        that it spoke of before.
        """
        began = self._clock()
        notice = self._ask(self._interruption)
        if not notice and self._clock() - began <= self._timeout / 2:
            notice = self._ask(self._others[0])
            self._others.rotate(-1)
        return Heard(notice, self._risks)

    def _ask(self, question: Callable[[], Notice | None]) -> Notice | None:
        try:
            return question()
        except CloudError as error:
            if str(error) != self._complaint:  # once, not every second: the log goes to S3
                log.warning("%s", error)
            self._complaint = str(error)
            return None

    def _interruption(self) -> Notice | None:
        text = self.get("spot/instance-action")
        return None if text is None else Notice("spot", _time_of(text))

    def _group(self) -> Notice | None:
        return Notice("group", None) if self.get("autoscaling/target-lifecycle-state") == "Terminated" else None

    def _rebalance(self) -> None:
        if self.get("events/recommendations/rebalance") is not None:
            self._risks |= {"rebalance: AWS sees a raised risk of interruption"}

    def _maintenance(self) -> None:
        self._risks |= _maintenance_in(self.get("events/maintenance/scheduled") or "[]")


def _maintenance_in(text: str) -> frozenset[str]:
    """One sentence for each event of the list that is neither completed nor canceled."""
    try:
        events = [
            (str(event["Code"]), str(event.get("NotBefore", "a time not given")))
            for event in json.loads(text)
            if event.get("State", "active") == "active"
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("scheduled maintenance that cannot be read: %r", text)
        return frozenset()
    return frozenset(f"maintenance: {code} scheduled for {when}" for code, when in events)


def _time_of(text: str) -> datetime | None:
    """The time in `{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`; a notice that cannot be read is one."""
    try:
        time_ = datetime.fromisoformat(json.loads(text)["time"])
    except (ValueError, KeyError, TypeError):
        log.warning("a notice without a readable time: %r", text)
        return None
    return time_ if time_.tzinfo else None
