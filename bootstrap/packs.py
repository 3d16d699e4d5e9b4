"""Many small files as few objects. Enters: the files of a checkpoint. Leaves: the same, each with its place in S3.

S3 bills and answers by the request, not by the byte: 5,000 files of 10 kB are 5,000 PUTs for $0.025 at every
checkpoint (in us-east-1), and 7 when packed. Which file goes where follows from the files alone.
"""

from __future__ import annotations

from itertools import groupby

from contract.status import ManifestFile

FEWEST = 16
"""Fewer small files than this stay as they are: anybody finds them in the bucket by their names."""
SMALL_BYTES = 1 << 20
PACK_BYTES = 8 << 20
"""At most; what boto3 sends as one part, so that another size would gain nothing."""
FOLDER = ".packs/"
"""No file of a checkpoint is called so: names with a dot in front are left out of it."""


def packed(files: tuple[ManifestFile, ...]) -> tuple[ManifestFile, ...]:
    """Small files, where there are many, one behind the other in packs; the rest unchanged. The order stays."""
    small = [file for file in files if file.size <= SMALL_BYTES]
    if len(small) < FEWEST:
        return files
    places: dict[str, dict[str, object]] = {}
    number = offset = 0
    for file in small:
        if offset + file.size > PACK_BYTES:
            number, offset = number + 1, 0
        places[file.name] = {"pack": f"{FOLDER}{number:05d}", "offset": offset}
        offset += file.size
    return tuple(file.model_copy(update=places.get(file.name)) for file in files)


def objects(files: tuple[ManifestFile, ...]) -> dict[str, list[ManifestFile]]:
    """Every object that a set consists of, with the files in it in their order."""
    by_object = sorted(files, key=lambda file: (file.object, file.offset))
    return {name: list(group) for name, group in groupby(by_object, key=lambda file: file.object)}
