"""Does a checkpoint fit into a notice? Enters: what saving and uploading one took. Leaves: a verdict, an interval.

See docs/decisions/0004-pace.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from contract.config import Config

NOTICE_SECONDS = 120
HEARD_SECONDS = 2
"""Until the agent has heard of it."""
MARGIN_SECONDS = 10
"""For the step under way, the status, and what varies from one upload to the next."""
USABLE_SECONDS = NOTICE_SECONDS - HEARD_SECONDS - MARGIN_SECONDS


@dataclass(frozen=True)
class Pace:
    interval_seconds: float
    """Between two checkpoints, as the trainer should go on."""
    warning: str = ""
    """For a person, when a checkpoint does not fit into a notice."""

    @classmethod
    def of(cls, config: Config, save_seconds: float, upload_seconds: float) -> Pace:
        """When it does not fit, a notice is no better than a kill: what counts is the newest *committed* checkpoint.

        That one is at most interval + save + upload old, so the interval is shortened by save + upload. It is
        never shorter than save + upload (checkpoints that nobody can upload only slow the training down) and
        never longer than the configured one.
        """
        promised = config.sync.checkpoint_seconds
        cost, grace = save_seconds + upload_seconds, config.limits.grace_seconds
        if cost <= USABLE_SECONDS and save_seconds <= grace:
            return cls(promised)
        interval = min(promised, max(promised - cost, cost))
        what = f"saving a checkpoint takes about {save_seconds:.0f} s and committing it {upload_seconds:.0f} s"
        limit = f"a notice leaves {USABLE_SECONDS} s, {grace:g} of them to save (limits.grace_seconds)"
        lost = interval + cost if cost <= interval else interval + 2 * cost
        return cls(
            interval,
            f"{what}; {limit}. Checkpoints every {interval:.0f} s: an interruption costs up to {lost:.0f} s of work",
        )
