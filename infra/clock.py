"""Is this computer's clock right? The end of a run is counted from it at synthesis.

Enters: an address of AWS, asked without credentials. Leaves: nothing, or an error before anything is created.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from contract.errors import ConfigError

TOLERANCE = timedelta(minutes=5)
"""What AWS itself allows between the time in a signature and its own."""
TIMEOUT_SECONDS = 5


def check_clock(endpoint: str, now: datetime) -> None:
    """Compares `now` with the Date of any answer; where nobody answers, deploying fails for that reason.

    Raises:
        ConfigError: the clock is wrong by more than `TOLERANCE`.
    """
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=TIMEOUT_SECONDS) as answer:
            date = answer.headers["Date"]
    except urllib.error.HTTPError as refusal:
        with refusal:
            date = refusal.headers["Date"]
    except OSError:
        return
    ahead = now - parsedate_to_datetime(date)
    if abs(ahead) > TOLERANCE:
        raise ConfigError(
            f"this computer's clock is {abs(ahead) / timedelta(hours=1):.1f} hours "
            + ("ahead of" if ahead > timedelta(0) else "behind")
            + " AWS's",
            why="the end of a run, and with it what it can cost, is counted from this clock",
            mend="set the clock (`sudo timedatectl set-ntp true` on Linux), then deploy again",
        )
