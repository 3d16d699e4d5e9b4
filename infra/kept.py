"""The limits that a run has now, for `-c extend_hours`: the only question that synthesis asks AWS with credentials."""

from __future__ import annotations

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from contract.ceiling import Ceiling, kept_by
from contract.errors import CloudError


def extended_ceiling(stack: str, hours: float, region: str | None) -> Ceiling:
    """What the stack keeps, extended by `hours`, by AWS's own clock. `region`: where the CDK CLI deploys to.

    Raises:
        CloudError: AWS does not say what the stack keeps.
        ConfigError: so much cannot be added.
    """
    try:
        cloudformation = boto3.client("cloudformation", region_name=region)
        kept, now = kept_by(dict(cloudformation.describe_stacks(StackName=stack)))
    except (ClientError, BotoCoreError) as error:
        raise CloudError(
            f"extend_hours={hours:g}: what the stack {stack} keeps cannot be read",
            why=str(error),
            mend="check the run's name, AWS_REGION and AWS_PROFILE (`--profile` is not enough); "
            "a run that is not deployed yet has nothing to extend",
        ) from error
    return kept.extended(hours, now)
