"""What things cost where AWS is not asked: the bill of a rehearsal; of a receipt, what stands beside the instance."""

from __future__ import annotations

ON_DEMAND_USD_PER_HOUR = 0.526
KNOWN = ("g4dn.xlarge", "us-east-1")
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


GP3_USD_PER_GB_MONTH = 0.08
IPV4_USD_PER_HOUR = 0.005
S3_USD_PER_GB_MONTH = 0.023
MONTH_HOURS = 30 * 24
"""EBS bills by the second of a month of 30 days: https://aws.amazon.com/ebs/pricing/ (its examples)."""
GP3_SOURCE = "gp3 in us-east-1, https://aws.amazon.com/ebs/pricing/"
IPV4_SOURCE = "a public IPv4 address, every region, https://aws.amazon.com/vpc/pricing/"
S3_SOURCE = "S3 Standard in us-east-1, https://aws.amazon.com/s3/pricing/"
