"""What an hour of an instance costs, for the bill of a rehearsal. Not used where AWS can be asked."""

from __future__ import annotations

ON_DEMAND_USD_PER_HOUR = 0.526
SPOT_USD_PER_HOUR = 0.2039
MINIMUM_SECONDS = 60
"""EC2 bills by the second, at least a minute per instance: https://aws.amazon.com/ec2/pricing/on-demand/"""
SOURCE = (
    "g4dn.xlarge, Linux, us-east-1; spot: median over five zones (0.2000 to 0.2158); from "
    "skypilot-org/skypilot-catalog, catalogs/v8/aws/vms.csv at 00148f2a, read 2026-11-20"
)


def bill(seconds_per_instance: list[float], usd_per_hour: float) -> float:
    """Dollars for instances that lived for so many seconds each."""
    return sum(max(seconds, MINIMUM_SECONDS) for seconds in seconds_per_instance) / 3600 * usd_per_hour
