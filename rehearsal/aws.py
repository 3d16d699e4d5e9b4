"""An AWS account on this machine: moto behind one loopback address, with IAM enforced.

Enters: the name of the public parameter that holds the machine image. Leaves: an endpoint, an
administrator's environment, and the instance roles' credentials. Nothing survives the `with`.
The address is spelled `localhost` because moto reads template URLs only from there.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast, overload
from unittest.mock import patch

import boto3
from botocore.config import Config
from moto import settings
from moto.autoscaling.models import autoscaling_backends
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.ssm.models import Parameter, ssm_backends
from moto.sts.models import sts_backends
from werkzeug.serving import BaseWSGIServer, make_server

from rehearsal.iam import ACCOUNT, Authorizer, Denial
from rehearsal.mends import mended
from rehearsal.schedule import run_due_actions

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

REGION = "us-east-1"
AMI_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-with-single-cuda-ubuntu-24.04/latest/ami-id"

Environ = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Fault = Callable[[Environ], Response | None]
"""Looks at a WSGI request before AWS does; may sleep, answer in its place, or let it pass with None."""


class QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the rehearsal tells its own story."""


def admin_environment(endpoint: str, region: str, key: str, secret: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
    }


class EmulatedAws:
    """One at a time per process: moto's state is global, and is reset on entering and leaving."""

    def __init__(
        self,
        ami_parameter: str = AMI_PARAMETER,
        region: str = REGION,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll: float = 0.2,
    ) -> None:
        self.ami_parameter = ami_parameter
        self.region = region
        self.clock = clock
        self.poll = poll
        self.lock = threading.RLock()
        """Held while AWS thinks: moto is not made for concurrent requests."""
        self.fault: Fault | None = None
        self.skipped: set[str] = set()
        """Resource types that a template asked for and that the emulation could only pretend to make."""
        self._clients: dict[str, Any] = {}
        self._authorizer = Authorizer()
        self._closing = ExitStack()
        self._stopped = threading.Event()
        self._server: BaseWSGIServer

    @property
    def denied(self) -> list[Denial]:
        """Every refused request so far, oldest first."""
        return self._authorizer.denied

    @property
    def account(self) -> str:
        return ACCOUNT

    def now(self) -> datetime:
        """By AWS's clock, which a rehearsal may set."""
        return self.clock()

    @property
    def endpoint(self) -> str:
        return f"http://localhost:{self._server.server_port}"

    def __enter__(self) -> EmulatedAws:
        self._closing.callback(_reset)
        self._closing.enter_context(patch("moto.iam.models.load_iam_aws_managed_policies", return_value=True))
        _reset()
        self._closing.enter_context(mended(self.skipped, self.now))
        self._closing.enter_context(self._authorizer.installed())
        self._make_account()
        self._closing.enter_context(patch.object(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0))
        self._closing.enter_context(patch.object(ActionAuthenticatorMixin, "request_count", 0))
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=QuietHandler)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self._start(self._server.serve_forever)
        self._start(self._run_schedule)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._closing.close()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"aws {target.__name__}", daemon=True)
        thread.start()
        self._closing.callback(thread.join, 10)

    def _make_account(self) -> None:
        """An administrator, and the image that the public parameter names."""
        iam = iam_backends[ACCOUNT]["aws"]
        iam.create_user(self.region, "admin")
        everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        iam.put_user_policy("admin", "everything", json.dumps(everything))
        self._admin = iam.create_access_key("admin")
        self.ami = ec2_backends[ACCOUNT][self.region].register_image("Deep Learning Base GPU AMI (emulated)").id
        parameter = cast(Any, Parameter)(
            account_id=ACCOUNT,
            name=self.ami_parameter,
            value=self.ami,
            parameter_type="String",
            description=None,
            allowed_pattern=None,
            keyid=None,
            last_modified_date=datetime.now(UTC),
            version=1,
            data_type="aws:ec2:image",
        )
        ssm_backends[ACCOUNT][self.region]._parameters[self.ami_parameter].append(parameter)

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """What an administrator's laptop has set; on top of `base` without its own AWS_*, where given."""
        kept = {name: value for name, value in (base or {}).items() if not name.startswith("AWS_")}
        key, secret = self._admin.access_key_id, self._admin.secret_access_key
        return kept | admin_environment(self.endpoint, self.region, key, secret)

    @overload
    def client(self, service: Literal["autoscaling"]) -> AutoScalingClient: ...
    @overload
    def client(self, service: Literal["cloudformation"]) -> CloudFormationClient: ...
    @overload
    def client(self, service: Literal["ec2"]) -> EC2Client: ...
    @overload
    def client(self, service: Literal["iam"]) -> IAMClient: ...
    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["sns"]) -> SNSClient: ...
    @overload
    def client(self, service: Literal["ssm"]) -> SSMClient: ...
    @overload
    def client(self, service: Literal["sts"]) -> STSClient: ...
    @overload
    def client(self, service: str) -> Any: ...
    def client(self, service: str) -> Any:
        """A client with the administrator's rights; the same one each time: making one takes longer than asking."""
        if service not in self._clients:
            self._clients[service] = self._client(service, self._admin.access_key_id, self._admin.secret_access_key)
        return self._clients[service]

    def client_with(self, service: str, credentials: Mapping[str, str]) -> Any:
        """A client with `role_credentials`."""
        return self._client(service, credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["Token"])

    def _client(self, service: str, key: str, secret: str, token: str | None = None) -> Any:
        return boto3.session.Session(key, secret, token, self.region).client(  # type: ignore[call-overload]
            service, endpoint_url=self.endpoint, config=Config(retries={"total_max_attempts": 2}, proxies={})
        )

    def role_credentials(self, role: str, session: str = "rehearsal", hours: int = 6) -> dict[str, str]:
        """Credentials of a role in IMDS's words. Minted in process: moto's AssumeRole fails for service roles."""
        with self.lock:
            arn = iam_backends[ACCOUNT]["aws"].get_role(role).arn
            assumed = sts_backends[ACCOUNT]["aws"].assume_role(self.region, session, arn, "", hours * 3600, "")
        return {
            "Code": "Success",
            "LastUpdated": f"{self.clock():%Y-%m-%dT%H:%M:%SZ}",
            "Type": "AWS-HMAC",
            "AccessKeyId": assumed.access_key_id,
            "SecretAccessKey": assumed.secret_access_key,
            "Token": assumed.session_token,
            "Expiration": f"{assumed.expiration:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self.fault(environ) if self.fault else None
        if response is None and "HTTP_AUTHORIZATION" not in environ:
            response = 403, {}, b"<Error><Code>AccessDenied</Code><Message>The request is not signed</Message></Error>"
        if response is None and "/pricing/" in environ["HTTP_AUTHORIZATION"]:
            response = 400, {}, b'{"__type": "AccessDeniedException", "Message": "moto has no price list"}'
        if response is not None:
            status, headers, body = response
            start_response(f"{status} Fault", [*headers.items(), ("Content-Length", str(len(body)))])
            return [body]
        with self.lock:
            answer = self._application(environ, start_response)
            if not hasattr(answer, "close"):
                return list(answer)
            with closing(answer):
                return list(answer)

    def _run_schedule(self) -> None:
        while not self._stopped.wait(self.poll):
            with self.lock:
                self.run_due_actions()

    def run_due_actions(self) -> None:
        """Apply the scheduled actions whose time has come."""
        run_due_actions(autoscaling_backends[ACCOUNT][self.region], self.clock())


def _reset() -> None:
    BackendDict.reset()
    reset_model_data()
