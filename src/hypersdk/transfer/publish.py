"""A sealed file gets its final name; nobody else gives final names (design rule 7).

Rules of this file: nothing appears at the destination before it is whole, synced and proven; an existing file is
replaced only when asked, and in one step; done twice is done once, so that a crash half-way needs no repair.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from hypersdk import errors
from hypersdk.model import Proof
from hypersdk.storage import local
from hypersdk.transfer.checksums import agree, file_digests
from hypersdk.transfer.partial import SealedPartial, journal_name, mark


def publish(sealed: SealedPartial, proof: Proof, destination: str, *, overwrite: bool = False) -> None:
    """Give a sealed file its final name, durably.

    Args:
        sealed: the file; it must be in the destination's directory.
        proof: why it may get the name.
        destination: the final path.
        overwrite: replace what is there.

    Raises:
        DestinationExists: the name is taken by another file.
        VerificationError: the file is not the one that was proven.
        UsageError: the destination is in another directory.
        FileError: the file system refuses.
    """
    directory, name = os.path.split(destination)
    temporary = Path(sealed.path).name
    if Path(sealed.path).absolute().parent != Path(destination).absolute().parent:
        raise errors.UsageError(f"{sealed.path} can only get a name in its own directory, not {destination}")
    with local.file_errors(destination), local.directory(directory) as handle:
        found = _facts(handle, temporary)
        there = _facts(handle, name)
        if found is None:
            _expect_published(there, proof, destination)
        else:
            _expect_proven(sealed, found, proof)
            if there is None or not os.path.samestat(there, found):
                _place(handle, temporary, name, destination, overwrite=overwrite)
        for own in (temporary, journal_name(name)):
            with suppress(FileNotFoundError):
                os.unlink(own, dir_fd=handle)
        os.fsync(handle)


def _facts(handle: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _expect_proven(sealed: SealedPartial, found: os.stat_result, proof: Proof) -> None:
    if not stat.S_ISREG(found.st_mode) or not found.st_size == sealed.size == proof.size:
        raise errors.VerificationError(
            f"{sealed.path} has {found.st_size} bytes, sealed were {sealed.size}, proven {proof.size}",
            resource=sealed.path,
        )
    if sealed.mark and mark(found) != sealed.mark:
        raise errors.VerificationError(f"{sealed.path} was written to after it had been proven", resource=sealed.path)


def _expect_published(there: os.stat_result | None, proof: Proof, destination: str) -> None:
    # We may have died after the name was given and before anybody noted it: then the very bytes are there.
    if there is None:
        raise errors.FileError(f"there is nothing to publish as {destination}", resource=destination)
    if not stat.S_ISREG(there.st_mode) or there.st_size != proof.size or not proof.checksums:
        raise taken(destination)
    try:
        agree(file_digests(destination, [each.algorithm for each in proof.checksums]), proof.checksums)
    except errors.VerificationError:
        raise taken(destination) from None


def _place(handle: int, temporary: str, name: str, destination: str, *, overwrite: bool) -> None:
    file = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
    try:
        os.fsync(file)
    finally:
        os.close(file)
    try:
        local.place(handle, temporary, handle, name, if_absent=not overwrite)
    except FileExistsError:
        raise taken(destination) from None
    except IsADirectoryError:
        raise errors.DestinationExists(f"{destination} is a directory", resource=destination) from None


def taken(destination: str) -> errors.DestinationExists:
    """The error of a final name that is another file's."""
    return errors.DestinationExists(
        f"{Path(destination).name} exists already: {destination}",
        resource=destination,
        hint="choose another name, or use --overwrite",
    )
