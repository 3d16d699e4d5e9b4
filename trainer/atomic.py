"""Whole files or none. Enters: a target path. Leaves: a temporary path beside it, moved onto it at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.failpoints import reach


@contextmanager
def replacing(target: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield `.<name>` in the target's directory; on success move it onto the target, on error remove it.

    `durable` flushes file and directory to the disk, so that the file survives the machine; without
    it a reader still sees the old or the new file, never a part.
    """
    temporary = target.with_name(f".{target.name}")
    try:
        yield temporary
        if durable:
            reach("file.flush.before")
            _flush(temporary)
            reach("file.flush.after")
        reach("file.replace.before")
        temporary.replace(target)
        reach("file.replace.after")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
