"""Why the group has no instance, in words. Enters: what EC2 Auto Scaling says of an attempt. Leaves: what to try next.

The codes are EC2's: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
Auto Scaling repeats the code, the message, or both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OTHER_TYPES = """-c 'instance_types=["g4dn.xlarge","g5.xlarge"]', or another region (AWS_REGION)"""


@dataclass(frozen=True)
class Explanation:
    what: str
    mend: str
    """The next thing to try; RUN stands for the run's name."""
    hopeless: bool = False
    """Waiting does not help."""

    def __str__(self) -> str:
        return f"{self.what} Next: {self.mend}"


EXPLANATIONS = (
    (
        r"MaxSpotInstanceCountExceeded|Max spot instance count exceeded",
        Explanation(
            "Your account may not run one more spot instance of this family: its quota of vCPUs is 0, or in use.",
            "signspot ls shows what runs; signspot check --request-quota asks for more",
        ),
    ),
    (
        r"VcpuLimitExceeded|vCPU (limit|capacity)",
        Explanation(
            "Your account's limit of vCPUs for this family of instances does not allow one more.",
            "signspot check --request-quota",
        ),
    ),
    (
        r"InsufficientInstanceCapacity|InsufficientCapacity|no Spot capacity available",
        Explanation(
            "AWS has no spare instance of this type in that zone at the moment. The group goes on trying, in every "
            "zone.",
            f"wait (it costs nothing), or allow more: {OTHER_TYPES}",
        ),
    ),
    (
        r"UnfulfillableCapacity|Unable to fulfill capacity",
        Explanation(
            "AWS cannot fill the request with these types in these zones at the moment. The group goes on trying.",
            f"wait (it costs nothing), or allow more: {OTHER_TYPES}",
        ),
    ),
    (
        r"SpotMaxPriceTooLow|price-too-low|lower than the minimum required Spot",
        Explanation(
            "The spot price is above what this run accepts (limits.max_price_per_hour), which the stack keeps.",
            "wait for a lower price; or signspot destroy RUN, then deploy with a higher -c max_price_per_hour",
        ),
    ),
    (
        r"not supported in your requested Availability Zone|\bUnsupported\b",
        Explanation(
            "That zone does not offer the instance type. The group goes on in the others.",
            f"wait; or allow more: {OTHER_TYPES}",
        ),
    ),
    (
        r"InvalidAMIID|image id .* does not exist|not available for the requested architecture|InvalidParameter",
        Explanation(
            "The machine image cannot be started on this type of instance.",
            "signspot check says what machine.ami_parameter names; then another one, or another type",
            hopeless=True,
        ),
    ),
    (
        r"ServiceLinkedRole|service-linked role for EC2 Spot",
        Explanation(
            "Nobody has used spot instances in this account before, and the role that AWS needs for them is missing.",
            "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com, then signspot restart RUN",
            hopeless=True,
        ),
    ),
    (
        r"PendingVerification|being validated|being verified",
        Explanation(
            "AWS is still looking at this new account and starts nothing for it until it is done.",
            "wait for AWS's mail, then signspot restart RUN",
        ),
    ),
    (
        r"Client\.InternalError|KMS",
        Explanation(
            "The instance ended at once: as a rule its disk's key may not be used by Auto Scaling.",
            "aws ec2 reset-ebs-default-kms-key-id, or let Auto Scaling's role use your key",
        ),
    ),
)


def explain(message: str) -> Explanation | None:
    """None: nothing is known of it."""
    for pattern, explanation in EXPLANATIONS:
        if re.search(pattern, message):
            return explanation
    return None
