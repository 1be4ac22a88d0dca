"""What a file is, by its content. A probe never decides how a file is read: we know what we asked for (design rule 3).

It serves two ends: to refuse a file that carries the mark of another format, and to tell a person what arrived instead
("an HTML page").
"""

from __future__ import annotations

from hypersdk.disks.formats import qcow2_layout, vdi, vhd, vmdk_layout
from hypersdk.disks.formats.reader import Reader

TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
"""POSIX and GNU tar alike."""

_HEAD = 64 * 1024
_MARKUP = ((b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"), (b"<?xml", "an XML document"))

_PRINTABLE = bytes(byte for byte in range(9, 256) if byte in b"\t\n\f\r" or byte not in (*range(32), 127))

_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"# Disk DescriptorFile", "a VMDK text descriptor, which names other files"),
    (0, b"COWD", "a VMDK of an old ESX host"),
    (0, b"vhdxfile", "a VHDX disk"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"%PDF-", "a PDF document"),
    (0x8001, b"CD001", "an ISO 9660 image"),
)


def signatures(reader: Reader) -> tuple[str, ...]:
    """The disk formats whose mark the file carries; more than one is suspicious, none may be a raw disk."""
    head = reader.head(_HEAD)
    marks = (
        ("qcow2", head.startswith(qcow2_layout.MAGIC)),
        ("vmdk", head.startswith(vmdk_layout.MAGIC)),
        ("oci", head[TAR_MAGIC_AT : TAR_MAGIC_AT + len(TAR_MAGIC)] == TAR_MAGIC),
        ("vdi", head[vdi.MAGIC_AT : vdi.MAGIC_AT + 4] == vdi.MAGIC),
        ("vhd", head.startswith(vhd.FOOTER_COOKIE) or reader.tail(512).startswith(vhd.FOOTER_COOKIE)),
    )
    return tuple(name for name, present in marks if present)


def describe(reader: Reader) -> str:
    """What the file seems to be, in words for people ("a QCOW2 disk", "an HTML page", "nothing that we know")."""
    if reader.size == 0:
        return "an empty file"
    if found := signatures(reader):
        return " and ".join("a tar archive" if name == "oci" else f"a {name.upper()} disk" for name in found)
    head = reader.head(_HEAD)
    for offset, magic, name in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return name
    return _describe_text(head[:4096])


def _describe_text(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for begin, name in _MARKUP:
        if text.startswith(begin):
            return name
    if not text or text.translate(None, _PRINTABLE):
        return "nothing that we know"
    return "a JSON document" if text.startswith((b"{", b"[")) else "a text"
