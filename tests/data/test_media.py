"""Media types and image sizes, against files that other programs wrote."""

from __future__ import annotations

import struct
import zlib

import pytest

from tidemill.data.filesets.media import dense, image_size, media_type


def png(width: int, height: int) -> bytes:
    """A grey picture after ISO 15948."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + bytes(width)) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# The first bytes of what Pillow 13.0.0 writes for Image.new("RGB", (37, 5)); WebP lossy, lossless, and with EXIF
PICTURES = [
    ("image/gif", "47494638376125000500810000c80a0a"),
    ("image/bmp", "424d660200000000000036000000280000002500000005000000"),
    ("image/webp", "524946464800000057454250565038203c0000001003009d012a25000500"),
    ("image/webp", "524946461e000000574542505650384c110000002f2400010007"),
    ("image/webp", "524946466600000057454250565038580a00000008000000240000040000"),
    ("image/png", "89504e470d0a1a0a0000000d494844520000002500000005"),
    (
        "image/jpeg",
        "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d"
        "1a1c1c20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc20011080005002503012200021101031101",
    ),
]


@pytest.mark.parametrize(("kind", "head"), PICTURES)
def test_the_size_of_a_picture_is_in_its_head(kind: str, head: str) -> None:
    data = bytes.fromhex(head)
    assert media_type("picture", data) == kind
    assert image_size(kind, data) == (37, 5)


def test_a_png_says_its_size() -> None:
    assert image_size("image/png", png(640, 480)) == (640, 480)


def test_a_jpeg_says_its_size_behind_its_other_segments() -> None:
    # ITU-T T.81: SOI, an APP1 segment of 300 bytes, a fill byte, SOF2 with height 480 and width 640
    exif = b"\xff\xe1" + struct.pack(">H", 300) + bytes(298)
    frame = b"\xff\xff\xc2" + struct.pack(">HBHHB", 17, 8, 480, 640, 3)
    assert image_size("image/jpeg", b"\xff\xd8" + exif + frame) == (640, 480)


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "text/plain"])
@pytest.mark.parametrize("head", [b"", b"\xff\xd8\xff", b"RIFF", bytes(40)])
def test_a_broken_head_has_no_size(kind: str, head: bytes) -> None:
    width, height = image_size(kind, head)
    assert (width, height) in {(None, None), (0, 0), (1, 1)}


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("x.txt", b"BM is how this text begins", "text/plain"),
        ("letter.docx", b"PK\x03\x04", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("LICENSE", b"MIT", "application/octet-stream"),
        ("wrong.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("archive", b"\x1f\x8b\x08", "application/gzip"),
        ("DATA.PARQUET", b"PAR1", "application/vnd.apache.parquet"),
    ],
)
def test_the_content_goes_before_the_name_where_it_is_sure(name: str, head: bytes, kind: str) -> None:
    assert media_type(name, head) == kind


def test_what_is_compressed_in_itself_is_not_cut_by_content() -> None:
    kinds = ["image/jpeg", "video/mp4", "application/zip", "application/zstd", "audio/mpeg"]
    assert all(dense(kind) for kind in kinds)
    others = ["text/csv", "image/bmp", "image/tiff", "audio/wav", "application/vnd.apache.parquet", "application/json"]
    assert not any(dense(kind) for kind in others)
