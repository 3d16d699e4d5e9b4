"""The instance metadata service, version 2. Enters: HTTP. Leaves: who this instance is, and notices.

Manners: a token by PUT, renewed before it runs out and after a 401; 404 means *there is none*;
anything else that goes wrong is no notice but is not silence either: it is logged and retried.
The address comes from AWS_EC2_METADATA_SERVICE_ENDPOINT, which botocore and the AWS CLI honour too.
Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
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
    """`spot` (AWS wants the capacity back) or `group` (the Auto Scaling group is ending this instance)."""
    time: datetime | None
    """When, where AWS says so."""


class Metadata:
    def __init__(
        self, endpoint: str = LINK_LOCAL, *, timeout_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._base = f"{endpoint.rstrip('/')}/latest"
        self._timeout = timeout_seconds
        self._clock = clock
        self._token = ""
        self._token_until = 0.0

    def get(self, path: str) -> str | None:
        """The text at `meta-data/<path>`, or None where there is none (404).

        Raises:
            CloudError: the service does not answer, or refuses.
        """
        for attempt in (1, 2):
            try:
                request = urllib.request.Request(
                    f"{self._base}/meta-data/{path}", headers={"X-aws-ec2-metadata-token": self._fresh_token()}
                )
                with urllib.request.urlopen(request, timeout=self._timeout) as response:
                    text: str = response.read().decode()
                    return text
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code == 401 and attempt == 1:
                    self._token_until = 0.0
                    continue
                raise CloudError(f"instance metadata {path} answered {error.code}") from error
            except (OSError, ValueError) as error:
                raise CloudError(f"instance metadata {path} does not answer", why=str(error)) from error
        raise AssertionError("unreachable")

    def _fresh_token(self) -> str:
        if self._clock() >= self._token_until:
            request = urllib.request.Request(
                f"{self._base}/api/token",
                method="PUT",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)},
            )
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                self._token = response.read().decode()
            self._token_until = self._clock() + TOKEN_SECONDS / 2
        return self._token

    def notice(self) -> Notice | None:
        """The notice that this instance ends, if there is one; a service in trouble counts as none."""
        try:
            text = self.get("spot/instance-action")
            if text is not None:
                return Notice("spot", _time_of(text))
            if self.get("autoscaling/target-lifecycle-state") == "Terminated":
                return Notice("group", None)
        except CloudError as error:
            log.warning("%s", error)
        return None

    def rebalance_recommended(self) -> bool:
        """AWS sees a raised risk of interruption; a reason to save now, not to stop."""
        try:
            return self.get("events/recommendations/rebalance") is not None
        except CloudError as error:
            log.warning("%s", error)
            return False


def _time_of(text: str) -> datetime | None:
    """The time in `{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`; a notice that cannot be read is one."""
    try:
        time_ = datetime.fromisoformat(json.loads(text)["time"])
    except (ValueError, KeyError, TypeError):
        log.warning("a notice without a readable time: %r", text)
        return None
    return time_ if time_.tzinfo else None
