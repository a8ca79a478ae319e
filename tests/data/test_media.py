"""Media types and image sizes, against files that other programs wrote."""

from __future__ import annotations

import struct
import zlib

import pytest

from tidemill.data.media import dense, image_size, media_type


def png(width: int, height: int) -> bytes:
    """A grey picture after ISO 15948."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" + bytes(width)) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# Written by Pillow 11: Image.new("RGB", (37, 5)).save(...), the first bytes
PICTURES = {
    "image/gif": b"GIF87a%\x00\x05\x00\x81\x00\x00",
    "image/bmp": b"BM\x8a\x02\x00\x00\x00\x00\x00\x006\x00\x00\x00(\x00\x00\x00%\x00\x00\x00\x05\x00\x00\x00",
    "image/webp": b"RIFF8\x00\x00\x00WEBPVP8 ,\x00\x00\x00\x10\x02\x00\x9d\x01*%\x00\x05\x00\x02\x00",
}


@pytest.mark.parametrize(("kind", "head"), PICTURES.items())
def test_the_size_of_a_picture_is_in_its_head(kind: str, head: bytes) -> None:
    assert media_type("picture." + kind.partition("/")[2], head) == kind
    assert image_size(kind, head) == (37, 5)


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
