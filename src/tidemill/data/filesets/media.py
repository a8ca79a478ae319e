"""What kind of file it is, and how large an image: from its name and its first bytes, without an image library."""

from __future__ import annotations

import re
import struct

UNKNOWN = "application/octet-stream"
HEAD_BYTES = 256 << 10  # a JPEG may hold 64 KiB blocks of EXIF and colour profile before its size
MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"PAR1", "application/vnd.apache.parquet"),
)
# A table of our own: that of the system differs between machines, and the type is a part of the version's digest.
NAMED = {
    ending: kind
    for kind, endings in {
        "image/jpeg": "jpg jpeg",
        "image/png": "png",
        "image/gif": "gif",
        "image/bmp": "bmp",
        "image/webp": "webp",
        "image/tiff": "tif tiff",
        "image/svg+xml": "svg",
        "image/avif": "avif",
        "image/heic": "heic",
        "application/dicom": "dcm",
        "video/mp4": "mp4 m4v",
        "video/quicktime": "mov",
        "video/webm": "webm",
        "video/x-matroska": "mkv",
        "video/x-msvideo": "avi",
        "audio/mpeg": "mp3",
        "audio/wav": "wav",
        "audio/flac": "flac",
        "audio/ogg": "ogg opus",
        "text/plain": "txt log",
        "text/csv": "csv",
        "text/tab-separated-values": "tsv",
        "text/markdown": "md",
        "text/html": "html htm",
        "text/x-python": "py",
        "application/json": "json geojson ipynb",
        "application/x-ndjson": "jsonl ndjson",
        "application/xml": "xml",
        "application/yaml": "yaml yml",
        "application/pdf": "pdf",
        "application/zip": "zip npz",
        "application/gzip": "gz tgz",
        "application/zstd": "zst",
        "application/x-xz": "xz",
        "application/x-bzip2": "bz2",
        "application/x-7z-compressed": "7z",
        "application/x-tar": "tar",
        "application/x-hdf5": "h5 hdf5",
        "application/vnd.apache.parquet": "parquet",
        "application/vnd.apache.arrow.file": "arrow feather",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    }.items()
    for ending in endings.split()
}
# Their bytes look random: content-defined chunks would find nothing that two versions share.
DENSE = re.compile(
    r"(image/(?!bmp|svg|tiff)|video/|audio/(?!wav)|application/(zip|gzip|zstd|pdf|x-7z|x-xz|x-bzip2|.*openxml))"
)
# JPEG markers that begin a frame, ITU-T T.81, table B.1
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def media_type(name: str, head: bytes) -> str:
    """The media type (RFC 6838): of the content where it shows one, else of the name's ending.

    >>> media_type("cell.jpg", b"GIF89a")
    'image/gif'
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    for magic, kind in MAGIC:
        # a .docx is a zip, a text may begin with "BM": short signatures count only for files without a known ending
        if head.startswith(magic) and ((kind.startswith("image/") and len(magic) > 2) or _by_name(name) == UNKNOWN):
            return kind
    return _by_name(name)


def dense(kind: str) -> bool:
    """Whether files of this media type are compressed in themselves."""
    return DENSE.match(kind) is not None


def image_size(kind: str, head: bytes) -> tuple[int | None, int | None]:
    """Width and height in pixels as the header says; (None, None) for no image, an unknown kind or a broken header.

    Sources: PNG (ISO 15948), GIF89a, BMP (BITMAPINFOHEADER), JPEG (ITU-T T.81), WebP (RFC 9649).
    """
    try:
        if kind == "image/png":
            return struct.unpack(">II", head[16:24])
        if kind == "image/gif":
            return struct.unpack("<HH", head[6:10])
        if kind == "image/bmp":
            width, height = struct.unpack("<ii", head[18:26])
            return width, abs(height)
        if kind == "image/jpeg":
            return _jpeg(head)
        if kind == "image/webp":
            return _webp(head)
    except (struct.error, IndexError):
        pass
    return None, None


def _by_name(name: str) -> str:
    ending = name.rpartition(".")[2].lower()
    return NAMED.get(ending, UNKNOWN)


def _jpeg(head: bytes) -> tuple[int | None, int | None]:
    at = 2
    while head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in FRAMES:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + int(struct.unpack(">H", head[at + 2 : at + 4])[0])
    return None, None


def _webp(head: bytes) -> tuple[int | None, int | None]:
    form = head[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if form == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None, None
