"""What one run may cost at most, and until when: computed once, kept by the stack, moved only on purpose.

Enters: the limits and a clock, or what a stack keeps. Leaves: a `Ceiling`, and the CloudFormation parameters
that keep it. At most `boxes` live, never above `max_price`, and with several a head at its on-demand price, never past
`stop_at`; so the sum of all their hours costs at most `usd`, whatever is interrupted, replaced or deployed again in
between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from contract.config import MAXIMUM_HOURS, MINIMUM_MINUTES, LimitsConfig, MachineConfig
from contract.errors import CloudError, ConfigError

FORMAT = "%Y-%m-%dT%H:%M:%SZ"
CENT = Decimal("0.01")
LATE = timedelta(minutes=3)
"""A scheduled action "may be delayed for up to two minutes" (user guide of EC2 Auto Scaling, scheduled scaling), and
a box launched at the last moment is billed for a minute (EC2's minimum)."""


@dataclass(frozen=True)
class Ceiling:
    stop_at: datetime
    """UTC, whole seconds."""
    max_price: Decimal
    """Dollars an hour and spot instance."""
    usd: Decimal
    boxes: int = 1
    """Spot instances at the same time."""
    head_type: str = ""
    """Of the head that several boxes have; empty: there is none."""
    head_price: Decimal = Decimal(0)
    """Dollars an hour."""

    @classmethod
    def of(cls, limits: LimitsConfig, now: datetime, machine: MachineConfig) -> Ceiling:
        """The ceiling of a run that begins now."""
        price, boxes, hours = Decimal(str(limits.max_price_per_hour)), machine.boxes, limits.hours(machine.boxes)
        empty = cls(_ending(now, hours), price, Decimal(0), boxes)
        if boxes > 1:
            empty = replace(empty, head_type=machine.head_type, head_price=Decimal(str(limits.head_price_per_hour)))
        return replace(empty, usd=min(_cents(hours, empty.rate), Decimal(str(limits.max_usd))))

    def extended(self, hours: float, now: datetime) -> Ceiling:
        """`hours` more, from the kept end or, where that has passed, from now; at the same price.

        Raises:
            ConfigError: too little to be of use, or more than any run may have in total.
        """
        if not hours * 60 >= MINIMUM_MINUTES:  # nan included
            raise ConfigError(
                f"{hours:g} hours are no extension", mend=f"ask for {MINIMUM_MINUTES} minutes or more, e.g. 2 hours"
            )
        if self.hours + hours > MAXIMUM_HOURS:
            raise ConfigError(
                f"{hours:g} hours more would be {self.hours + hours:.1f} in total; a run may have {MAXIMUM_HOURS}",
                mend="ask for fewer, or go on with another run",
            )
        passed = self.stop_at <= now
        stop_at = _ending(now, hours) if passed else self.stop_at + timedelta(hours=hours)
        return replace(self, stop_at=stop_at.replace(microsecond=0), usd=self.usd + _cents(hours, self.rate))

    @property
    def rate(self) -> Decimal:
        """Dollars an hour that all boxes together cost at most."""
        return self.boxes * self.max_price + self.head_price

    @property
    def hours(self) -> float:
        """Hours that `usd` pays for with all boxes."""
        return float(self.usd / self.rate)

    @property
    def parameters(self) -> dict[str, str]:
        """As CloudFormation keeps them."""
        head = {
            "Boxes": str(self.boxes),
            "HeadType": self.head_type,
            "HeadPricePerHour": format(self.head_price, "f"),
        }
        return {
            "StopAt": self.stop_at.strftime(FORMAT),
            "MaxPricePerHour": format(self.max_price, "f"),
            "CeilingUsd": format(self.usd, "f"),
            **(head if self.boxes > 1 else {}),
        }

    def __str__(self) -> str:
        return f"until {self.stop_at:%Y-%m-%d %H:%M} UTC, at most ${self.usd:f}"


def kept_by(answer: Mapping[str, Any]) -> tuple[Ceiling, datetime]:
    """What a stack keeps, and AWS's own time, from the answer to DescribeStacks.

    Raises:
        CloudError: the stack was not made by this version of signspot.
    """
    stack = answer["Stacks"][0]
    kept = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])}
    try:
        stop_at = datetime.strptime(kept["StopAt"], FORMAT).replace(tzinfo=UTC)
        ceiling = Ceiling(
            stop_at,
            Decimal(kept["MaxPricePerHour"]),
            Decimal(kept["CeilingUsd"]),
            int(kept.get("Boxes", "1")),
            kept.get("HeadType", ""),
            Decimal(kept.get("HeadPricePerHour", "0")),
        )
    except (KeyError, ValueError, ArithmeticError) as error:
        raise CloudError(
            f"the stack {stack['StackName']} does not keep its limits",
            why=f"{type(error).__name__}: {error}",
            mend="deploy it once with this version of signspot",
        ) from None
    return ceiling, parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def _ending(now: datetime, hours: float) -> datetime:
    """Early enough that the group is at 0 in time even when the scheduled action is late."""
    return (now.astimezone(UTC) + timedelta(hours=hours) - LATE).replace(microsecond=0)


def _cents(hours: float, price: Decimal) -> Decimal:
    return (Decimal(str(hours)) * price).quantize(CENT, ROUND_CEILING)
