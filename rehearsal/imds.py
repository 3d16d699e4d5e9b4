"""The instance metadata service of one box, version 2 only, with the manners of the real one.

Enters: who the instance is and what its role's credentials are. Leaves: a loopback address for
AWS_EC2_METADATA_SERVICE_ENDPOINT, and what the box learns there: above all the interruption
notice, which is 404 until there is one and whose time never moves afterwards.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

LONGEST_TOKEN_SECONDS = 21600

Response = tuple[int, bytes]
Fault = Callable[[str, str], Response | None]
"""Given method and path; answers in place of the service, may sleep, or lets pass with None."""


@dataclass(frozen=True)
class Identity:
    instance_id: str
    instance_type: str
    region: str
    zone: str
    role: str
    account: str
    image_id: str = "ami-00000000"
    launched: datetime | None = None
    address: str = "127.0.0.1"
    """Private, of the box."""

    def document(self) -> dict[str, str]:
        return {
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "imageId": self.image_id,
            "instanceId": self.instance_id,
            "instanceType": self.instance_type,
            **({"pendingTime": _stamp(self.launched)} if self.launched else {}),
            "region": self.region,
            "version": "2017-09-30",
        }


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that did not wait for its answer is its own affair; anything else is ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Imds:
    def __init__(
        self,
        identity: Identity,
        credentials: Callable[[], Mapping[str, str]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self.credentials = credentials
        self.clock = clock
        self.fault: Fault | None = None
        self.target_state = "InService"
        self.maintenance: list[dict[str, str]] = []
        self._notice: datetime | None = None
        self._rebalance: datetime | None = None
        self._tokens: dict[str, float] = {}
        self._server = QuietServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="imds", daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def notice(self, at: datetime) -> None:
        """Spot interruption: the instance ends at that time. A second notice changes nothing."""
        self._notice = self._notice or at

    def rebalance(self, at: datetime) -> None:
        self._rebalance = self._rebalance or at

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Imds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _token(self, seconds: str | None) -> Response:
        try:
            lifetime = int(seconds or "")
        except ValueError:
            return 400, b""
        if not 1 <= lifetime <= LONGEST_TOKEN_SECONDS:
            return 400, b""
        token = secrets.token_urlsafe(42)
        self._tokens[token] = self.clock() + lifetime
        return 200, token.encode()

    def _get(self, path: str, token: str | None) -> Response:
        if token is None or self._tokens.get(token, float("-inf")) <= self.clock():
            return 401, b""
        value = self._values().get(path.rstrip("/"))
        if callable(value):
            value = value()
        if value is None:
            return 404, b""
        return 200, (value if isinstance(value, str) else json.dumps(value)).encode()

    def _values(self) -> dict[str, Any]:
        who = self.identity
        latest, spot = "/latest/meta-data", "/latest/meta-data/spot"
        role = "/latest/meta-data/iam/security-credentials"
        values: dict[str, Any] = {
            f"{latest}/ami-id": who.image_id,
            f"{latest}/autoscaling/target-lifecycle-state": self.target_state,
            f"{latest}/events/maintenance/scheduled": self.maintenance,
            f"{latest}/iam/info": {
                "Code": "Success",
                "InstanceProfileArn": f"arn:aws:iam::{who.account}:instance-profile/{who.role}",
            },
            role: who.role,
            f"{role}/{who.role}": lambda: dict(self.credentials()),
            f"{latest}/instance-id": who.instance_id,
            f"{latest}/instance-life-cycle": "spot",
            f"{latest}/instance-type": who.instance_type,
            f"{latest}/local-ipv4": who.address,
            f"{latest}/placement/availability-zone": who.zone,
            f"{latest}/placement/region": who.region,
            "/latest/dynamic/instance-identity/document": who.document(),
        }
        if self._notice is not None:
            values[f"{spot}/instance-action"] = {"action": "terminate", "time": _stamp(self._notice)}
            values[f"{spot}/termination-time"] = _stamp(self._notice)
        if self._rebalance is not None:
            values[f"{latest}/events/recommendations/rebalance"] = {"noticeTime": _stamp(self._rebalance)}
        return values

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._reply(self._faulty() or self._put())

            def do_GET(self) -> None:
                token = self.headers.get("X-aws-ec2-metadata-token")
                self._reply(self._faulty() or service._get(self.path, token))

            def _put(self) -> Response:
                if self.path != "/latest/api/token":
                    return 404, b""
                if self.headers.get("X-Forwarded-For"):
                    return 403, b""
                return service._token(self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"))

            def _faulty(self) -> Response | None:
                return service.fault(self.command, self.path) if service.fault else None

            def _reply(self, response: Response) -> None:
                status, body = response
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: the rehearsal tells its own story."""

        return Handler


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
