"""The last word on an agent that was killed or crashed. Enters: its exit code. Leaves: a final status, the last logs.

User data's trap runs this when the agent ended neither well (0) nor saved (75). What the agent has said itself
stays; and a box that does not own the run says nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from tenacity import Retrying, retry_if_exception_type, wait_fixed

from bootstrap.metadata import LINK_LOCAL, Metadata
from bootstrap.notify import publish
from bootstrap.objects import Unreachable
from bootstrap.snapshot import Moved
from bootstrap.state import Box
from bootstrap.sync import event_of, sync
from bootstrap.takeover import take_over
from contract.errors import SignspotError
from contract.status import Phase

log = logging.getLogger(__name__)

SECONDS = 60
"""Then SIGALRM ends this process, whatever it hangs in: the instance is paid for."""


def write(box: Box, metadata: Metadata, code: int) -> None:
    """The run is `failed`, with the last logs beside it, and whoever wants mail is told.

    Raises:
        StaleLease: another box owns the run.
        StorageError: S3 refuses, or another box ran before this one and this one never took the run over.
    """
    previous = box.store.read_status()
    if previous is None:  # no box has ever owned the run, so this one may
        take_over(box, metadata, None)
    how = f"was killed by signal {code - 128}" if code > 128 else f"failed with exit code {code}"
    reason = f"the agent {how}; the end of logs/{box.instance}/boot/ tells more"
    state = box.load()
    if not state.phase.final and not (previous and previous.phase.final):
        box.store.assert_lease(state.lease)
        box.enter(Phase.FAILED, reason)
        box.store.add_event(event_of(box, str(Phase.FAILED), reason))
    sync(box)
    if box.load().reason == reason:
        publish(box, str(Phase.FAILED), reason)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s epitaph: %(message)s")
    signal.alarm(SECONDS)
    metadata = Metadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL))
    retrying = Retrying(retry=retry_if_exception_type((Unreachable, Moved)), wait=wait_fixed(2))
    try:
        box = Box.from_environment(os.environ)
        retrying(write, box, metadata, int(sys.argv[1]))
    except SignspotError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
