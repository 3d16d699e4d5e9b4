"""When the run is over, whatever happens. Enters: STOP_AT and `deadline.json`. Leaves: the later of the two.

An extension is read in a thread of its own and also moves the dead-man timer, or it does not count.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta

from bootstrap.glance import Glance
from bootstrap.state import Box
from bootstrap.voice import Voice

MARGIN = timedelta(minutes=3)
"""Before the group is set to 0 from outside, the box ends the run itself, saved and with a reason."""
TOLERANCE = timedelta(minutes=5)
"""By which a clock may be wrong: what AWS itself allows between the time in a signature and its own."""
LOOK_SECONDS = 60.0
NEAR = timedelta(minutes=2)
"""So long before the margin it is looked for an extension more often."""
NEAR_LOOK_SECONDS = 5.0
SHUTDOWN_SECONDS = 10


class Deadline:
    def __init__(self, box: Box, voice: Voice, now: Callable[[], datetime]) -> None:
        self.at = box.stop_at
        """None: nobody said; then there is nothing to extend either."""
        self._box = box
        self._voice = voice
        self._now = now
        self._extension = Glance(box.store.read_deadline, "deadline")
        self._warned = False

    def is_within(self, time_: timedelta) -> bool:
        return self.at is not None and self._now() >= self.at - time_

    def beyond(self, hours: float) -> str:
        """What is wrong when the first box of a run finds its end further away than the limits allow; or nothing.

        The end is counted from the clock of the computer that deploys, and the AWS SDK deploys with a wrong one too.
        """
        if not self.at or self.at != self._box.stop_at or self.at - self._now() <= timedelta(hours=hours) + TOLERANCE:
            return ""
        away = (self.at - self._now()) / timedelta(hours=1)
        return (
            f"the run would end in {away:.1f} hours, but its limits allow {hours:.1f}: the clock of the computer that "
            "deployed it is wrong, or the limits were lowered by a second deploy; destroy the run and deploy it again"
        )

    def look(self) -> None:
        """Obey an extension that was read meanwhile; read again when it is time. Never waits for S3."""
        if self.at:
            self._obey(self._extension.look(NEAR_LOOK_SECONDS if self.is_within(MARGIN + NEAR) else LOOK_SECONDS))

    def read(self) -> None:
        """Once, and waits for it: at boot, when STOP_AT may be the deadline of an older deploy."""
        self._obey(self._extension.now())

    def _obey(self, at: datetime | None) -> None:
        if not at or not self.at or at <= self.at:
            return
        minutes = max(1, int((at - self._now()) / timedelta(minutes=1)))
        try:  # systemd keeps one timer: this one replaces the one before, without a moment of none
            subprocess.run(
                ["shutdown", "-h", f"+{minutes}"],
                env=dict(self._box.environment),
                check=True,
                capture_output=True,
                timeout=SHUTDOWN_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            if not self._warned:
                self._voice.tell("warning", f"the run cannot be extended, the dead-man timer stays: {error}")
            self._warned = True
            return
        self.at = at
        self._voice.tell("extended", f"the run may go on until {at:%Y-%m-%d %H:%M:%S} UTC")
