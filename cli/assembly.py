"""The cloud assembly: our stack as `cdk synth` leaves it, and its deployment where the CDK CLI adds only time.

Enters: settings. Leaves: a folder; from it, through change sets as the CDK CLI makes them, a stack. Template, assets
and their places are the CDK's own; what user data says and what the bundle holds can be changed on the way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

from cli.fetch import stack_outputs
from cli.kinds import TAG
from contract.errors import CloudError
from rehearsal.aws import EmulatedAws

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import WaiterConfigTypeDef

HOME = Path(__file__).resolve().parents[1]
BUNDLE = "Code/Asset"
"""What the CDK calls the asset that the box unpacks."""
CHANGE = "signspot"
WAIT: WaiterConfigTypeDef = {"Delay": 1, "MaxAttempts": 60}


def synthesise(target: Path, settings: Mapping[str, str]) -> Path:
    """Our stack as `cdk synth` leaves it, in the folder `target`, which is returned.

    Raises:
        CloudError: the settings are refused.
    """
    environment = {**os.environ, "CDK_OUTDIR": str(target), "CDK_CONTEXT_JSON": json.dumps(dict(settings))}
    done = subprocess.run(
        [sys.executable, str(HOME / "app.py")], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CloudError("the stack cannot be synthesised", why=done.stderr.strip()[-2000:])
    return target


class Assembly:
    """The stack of one run in a folder that `synthesise` filled, and one bootstrapped account."""

    def __init__(self, folder: Path, run: str, aws: EmulatedAws) -> None:
        self.folder = folder
        self.run = run
        self.stack = f"signspot-{run}"
        self._aws = aws
        self._cloud = aws.client("cloudformation")
        self._s3 = aws.client("s3")
        self._assets: dict[str, Any] = json.loads((folder / f"{self.stack}.assets.json").read_text())["files"]
        self._published = False

    @property
    def fingerprint(self) -> str:
        """Of everything that the box unpacks: the CDK's own."""
        return next(name for name, asset in self._assets.items() if asset["displayName"] == BUNDLE)

    def bootstrap(self) -> None:
        """The part of `cdk bootstrap` that a deploy without the CDK CLI needs: a bucket and a version."""
        name = "/cdk-bootstrap/hnb659fds/version"
        self._s3.create_bucket(Bucket=self._bucket())
        self._aws.client("ssm").put_parameter(Name=name, Type="String", Value="30", Overwrite=True)

    def deploy(
        self,
        parameters: Mapping[str, str] | None = None,
        *,
        user_data: tuple[str, str] = ("", ""),
        bundle: Callable[[Path], None] = lambda _: None,
    ) -> dict[str, str]:
        """Create or update the stack; returns its outputs. As with the CDK CLI, a parameter that is not given
        keeps its value, and a template that is up already is not deployed again.

        `user_data`: a piece of its text and what stands there instead. `bundle` changes the unpacked bundle.

        Raises:
            CloudError: CloudFormation refuses or fails.
        """
        self._publish(bundle)
        template = self._template(*user_data)
        before = self._deployed()
        given = dict(parameters or {})
        if before is None or given or before != json.loads(template):
            try:
                self._change(template, given, update=before is not None)
            except (ClientError, WaiterError) as error:
                raise CloudError(f"{self.stack} cannot be deployed", why=str(error)) from error
        return stack_outputs(self._cloud, self.run)

    def destroy(self) -> None:
        """Delete the stack; harmless where there is none.

        Raises:
            CloudError: CloudFormation leaves it standing.
        """
        try:
            self._cloud.delete_stack(StackName=self.stack)
            self._cloud.get_waiter("stack_delete_complete").wait(StackName=self.stack, WaiterConfig=WAIT)
        except (ClientError, WaiterError) as error:
            raise CloudError(f"{self.stack} cannot be deleted", why=str(error)) from error

    def _template(self, piece: str, instead: str) -> str:
        text = (self.folder / f"{self.stack}.template.json").read_text()
        old, new = (json.dumps(part)[1:-1] for part in (piece, instead))
        if old not in text:
            raise CloudError(f"user data has no {piece!r}", mend="look at bootstrap/user_data.sh")
        return text.replace(old, new) if old else text

    def _deployed(self) -> Any:
        """The template that is up, or None."""
        try:
            body: Any = self._cloud.get_template(StackName=self.stack)["TemplateBody"]
        except ClientError:
            return None
        return json.loads(body) if isinstance(body, str) else body

    def _change(self, template: str, given: Mapping[str, str], *, update: bool) -> None:
        slots = json.loads(template).get("Parameters", {})
        parameters: list[Any] = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
        parameters += [{"ParameterKey": n, "UsePreviousValue": True} for n in slots if update and n not in given]
        place, key = self._bucket(), f"{self.stack}.template.json"
        self._s3.put_object(Bucket=place, Key=key, Body=template.encode())
        self._cloud.create_change_set(
            StackName=self.stack,
            ChangeSetName=CHANGE,
            ChangeSetType="UPDATE" if update else "CREATE",
            TemplateURL=f"{self._aws.endpoint}/{place}/{key}",
            Parameters=parameters,
            Tags=[{"Key": TAG, "Value": self.run}],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
        made = self._cloud.get_waiter("change_set_create_complete")
        made.wait(StackName=self.stack, ChangeSetName=CHANGE, WaiterConfig=WAIT)
        self._cloud.execute_change_set(StackName=self.stack, ChangeSetName=CHANGE)
        if update:
            self._cloud.get_waiter("stack_update_complete").wait(StackName=self.stack, WaiterConfig=WAIT)
        else:
            self._cloud.get_waiter("stack_create_complete").wait(StackName=self.stack, WaiterConfig=WAIT)

    def _publish(self, change: Callable[[Path], None]) -> None:
        """Every asset once; the bundle each time, because it may be another one under the same key."""
        for asset in self._assets.values():
            is_bundle = asset["displayName"] == BUNDLE
            if asset["source"]["packaging"] == "zip" and (is_bundle or not self._published):
                self._upload(asset, change if is_bundle else lambda _: None)
        self._published = True

    def _upload(self, asset: dict[str, Any], change: Callable[[Path], None]) -> None:
        (destination,) = asset["destinations"].values()
        with tempfile.TemporaryDirectory(prefix="signspot-asset-") as work:
            files = shutil.copytree(self.folder / asset["source"]["path"], Path(work) / "files")
            change(files)
            archive = shutil.make_archive(str(Path(work) / "asset"), "zip", files)
            self._s3.upload_file(archive, self._bucket(), destination["objectKey"])

    def _bucket(self) -> str:
        (destination,) = next(iter(self._assets.values()))["destinations"].values()
        name: str = destination["bucketName"]
        values = {"AWS::AccountId": self._aws.account, "AWS::Region": self._aws.region}
        for variable, value in values.items():
            name = name.replace(f"${{{variable}}}", value)
        return name
