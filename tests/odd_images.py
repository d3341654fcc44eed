"""Image files of every odd kind: those that are fine, with their pixels, and those that are not.

`FINE` has for every name a function that returns a file's bytes and what it shows, `BAD` one that
returns the bytes and a part of the reason in the error.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image

IS_OLD = int(PIL.__version__.split(".")[0]) < 12
WIDTH, HEIGHT = 48, 32
FINE: dict[str, Callable[[], tuple[bytes, np.ndarray]]] = {}
BAD: dict[str, Callable[[], tuple[bytes, str]]] = {}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Write an image; the test is skipped where an old version of Pillow cannot."""
    Image.init()
    if kind not in Image.SAVE and IS_OLD:
        pytest.skip(f"Pillow {PIL.__version__} writes no {kind}")
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
        Image.open(file).load()
    except OSError as error:
        if not IS_OLD:
            raise
        pytest.skip(f"Pillow {PIL.__version__} writes no {image.mode} as {kind}: {error}")
    return file.getvalue()


def colours() -> np.ndarray:
    """An image in which no turning and no exchange of channels goes unseen."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 7, columns * 5, 255 - rows * 2 - columns * 3], -1).astype(np.uint8)


def grey() -> np.ndarray:
    return colours()[..., 1]


def as_rgb(level: np.ndarray) -> np.ndarray:
    return np.repeat(level[..., None], 3, -1)


def image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(colours()).convert(mode)


# What is fine


def fine(name: str) -> Callable:
    def note(make: Callable) -> Callable:
        FINE[name] = make
        return make

    return note


LOSSLESS = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_deflate"}),
    "webp": ("WEBP", {"lossless": True}),
    "jpeg2000": ("JPEG2000", {}),
    "ppm": ("PPM", {}),
}
for name, (kind, options) in LOSSLESS.items():
    FINE[name] = lambda kind=kind, options=options: (encoded(image(), kind, **options), colours())

UPRIGHT = {  # what is done to an upright image so that its EXIF orientation turns it back
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


def turned(kind: str, orientation: int, **options: object) -> tuple[bytes, np.ndarray]:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(UPRIGHT[orientation](colours()))
    return encoded(Image.fromarray(stored), kind, exif=exif, **options), colours()


for number in UPRIGHT:
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        FINE[f"exif-{number}-{kind.lower()}"] = lambda n=number, k=kind, o=options: turned(
            k, n, **o
        )


@fine("1-bit")
def one_bit() -> tuple[bytes, np.ndarray]:
    black_white = grey() > 100
    return encoded(Image.fromarray(black_white), "PNG"), as_rgb(black_white * np.uint8(255))


@fine("grey with alpha")
def grey_with_alpha() -> tuple[bytes, np.ndarray]:
    alpha = Image.fromarray(grey()[::-1].copy())
    return encoded(Image.merge("LA", (Image.fromarray(grey()), alpha)), "PNG"), as_rgb(grey())


@fine("colour with alpha")
def colour_with_alpha() -> tuple[bytes, np.ndarray]:
    rgba = np.concatenate([colours(), grey()[::-1, :, None]], -1)
    return encoded(Image.fromarray(rgba), "PNG"), colours()


def palette() -> tuple[Image.Image, np.ndarray]:
    few = Image.fromarray(colours()).quantize(16)
    return few, np.asarray(few.convert("RGB"))


@fine("palette")
def with_palette() -> tuple[bytes, np.ndarray]:
    few, shown = palette()
    return encoded(few, "PNG"), shown


@fine("palette with a transparent colour")
def with_transparent_colour() -> tuple[bytes, np.ndarray]:
    few, shown = palette()
    return encoded(few, "PNG", transparency=3), shown


@fine("palette with transparencies")
def with_transparencies() -> tuple[bytes, np.ndarray]:
    few, shown = palette()
    return encoded(few, "PNG", transparency=bytes(range(0, 256, 16))), shown


def high_bytes() -> np.ndarray:
    """16 bits per pixel, the upper 8 of which are the grey image."""
    lower = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) % 256
    return grey().astype(np.uint16) * 256 + lower


for kind in ("PNG", "TIFF", "JPEG2000", "PPM"):
    FINE[f"16-bit grey {kind.lower()}"] = lambda kind=kind: (
        encoded(Image.fromarray(high_bytes()), kind),
        as_rgb(grey()),
    )


@fine("16-bit grey tiff, big end first")
def big_endian() -> tuple[bytes, np.ndarray]:
    data = high_bytes().astype(">u2").tobytes()
    return encoded(Image.frombytes("I;16B", (WIDTH, HEIGHT), data), "TIFF"), as_rgb(grey())


@fine("16-bit grey png, turned")
def turned_16_bit() -> tuple[bytes, np.ndarray]:
    exif = Image.Exif()
    exif[274] = 6
    stored = np.ascontiguousarray(high_bytes().T[::-1])
    return encoded(Image.fromarray(stored), "PNG", exif=exif), as_rgb(grey())


@fine("12-bit grey tiff")
def twelve_bit() -> tuple[bytes, np.ndarray]:
    pairs = (high_bytes() >> 4).reshape(-1, 2)
    first, second = pairs.T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    data = packed.astype(np.uint8).tobytes()
    return tiff({256: WIDTH, 257: HEIGHT, 258: 12, 262: 1, 278: HEIGHT}, data), as_rgb(grey())


for suffix in ("png", "tiff"):
    for channels in (3, 4):
        FINE[f"16-bit {channels} channels {suffix}"] = lambda s=suffix, c=channels: (
            sixteen_bit_colour(s, c),
            colours(),
        )


def sixteen_bit_colour(suffix: str, channels: int) -> bytes:
    pixels = colours()[..., ::-1].astype(np.uint16) * 256 + 77
    alpha = np.full((HEIGHT, WIDTH, 1), 1000, np.uint16)
    pixels = pixels if channels == 3 else np.concatenate([pixels, alpha], -1)
    return cv2.imencode(f".{suffix}", pixels)[1].tobytes()


def animation(kind: str, **options: object) -> tuple[bytes, np.ndarray]:
    first, shown = palette()
    others = [Image.new("RGB", first.size, colour) for colour in ("red", "blue")]
    data = encoded(
        first.convert("RGB"), kind, save_all=True, append_images=others, duration=40, **options
    )
    return data, shown


FINE["animated gif"] = lambda: animation("GIF")
FINE["animated png"] = lambda: animation("PNG")
FINE["animated webp"] = lambda: animation("WEBP", lossless=True)
FINE["one pixel"] = lambda: (
    encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
    np.array([[[1, 2, 3]]], np.uint8),
)

LOSSY = {  # within some levels
    "jpeg": lambda: (encoded(image(), "JPEG", quality=100, subsampling=0), colours()),
    "grey jpeg": lambda: (encoded(Image.fromarray(grey()), "JPEG", quality=100), as_rgb(grey())),
    "cmyk jpeg": lambda: (encoded(image("CMYK"), "JPEG", quality=100), colours()),
    "cmyk tiff": lambda: (encoded(image("CMYK"), "TIFF"), colours()),
    "ycbcr tiff": lambda: (encoded(image("YCbCr"), "TIFF"), colours()),
    "avif": lambda: (encoded(image(), "AVIF", quality=100, subsampling="4:4:4"), colours()),
    "turned jpeg": lambda: turned("JPEG", 6, quality=100, subsampling=0),
    "several images in a jpeg": lambda: (
        encoded(image(), "MPO", save_all=True, append_images=[image("L")], quality=100),
        colours(),
    ),
}


# What is not


def bad(name: str, reason: str) -> Callable:
    def note(make: Callable[[], bytes]) -> Callable:
        BAD[name] = lambda: (make(), reason)
        return make

    return note


NO_IMAGE = "cannot be read: not an image of a known kind"
BAD["no bytes"] = lambda: (b"", "is empty")
BAD["text"] = lambda: (b"Dear Sir,\nplease find enclosed\n", NO_IMAGE)
BAD["html"] = lambda: (b"<!doctype html><title>404</title><p>Not found", NO_IMAGE)
BAD["svg"] = lambda: (
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    NO_IMAGE,
)
BAD["postscript"] = lambda: (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
    NO_IMAGE,
)
BAD["zeros"] = lambda: (bytes(500), NO_IMAGE)

for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM"):
    for share in (0.3, 0.7):
        BAD[f"{share:.0%} of a {kind.lower()}"] = lambda kind=kind, share=share: (
            cut(encoded(noise(), kind), share),
            "cannot be read: ",
        )


def noise() -> Image.Image:
    """An image that no compression makes much smaller."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


NOT_READ = "are not read; save it in RGB or grey, 8 or 16 bits"
for name, kind_of_number in (("32-bit", np.int32), ("float", np.float32), ("signed", np.int16)):
    BAD[f"{name} tiff"] = lambda n=kind_of_number: (
        encoded(Image.fromarray(grey().astype(n)), "TIFF"),
        NOT_READ,
    )
BAD["lab tiff"] = lambda: (encoded(Image.new("LAB", (9, 9)), "TIFF"), NOT_READ)


# Decompression bombs: a few bytes that claim to be a large image


def png(width: int, height: int, rows: bytes, bits: int = 1) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def black_png(width: int, height: int) -> bytes:
    """A whole, valid PNG of one bit per pixel: about a thousandth of that."""
    return png(width, height, zlib.compress(bytes((1 + (width + 7) // 8) * height), 9))


def tiff(tags: dict[int, int], data: bytes) -> bytes:
    """A little-endian TIFF of one strip."""
    tags = tags | {259: 1, 273: 8, 277: 1, 279: len(data)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def webp(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    chunk = b"\x2f" + struct.pack("<I", bits) + bytes(10)
    body = b"WEBPVP8L" + struct.pack("<I", len(chunk)) + chunk + bytes(len(chunk) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return screen + frame + b"\x02\x02\x44\x01\x00;"


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded(image("L"), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(image(), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


BAD["png with too few rows and checksums that hold"] = lambda: (
    png(
        WIDTH, HEIGHT, zlib.compress(bytes(10 * (WIDTH + 1) + 7)), 8
    ),  # Pillow lets whole rows pass
    "cannot be read: ",
)
BAD["png of nonsense with checksums that hold"] = lambda: (
    png(WIDTH, HEIGHT, b"nonsense", 8),
    "cannot be read: ",
)

HUGE = 50_000
TOO_MANY = "pixels"
BOMBS = {
    "png": lambda: png(HUGE, HUGE, zlib.compress(bytes(1000))),
    "gif": lambda: gif(HUGE, HUGE),
    "tiff": lambda: tiff({256: HUGE, 257: HUGE, 258: 8, 262: 1, 278: HUGE}, bytes(64)),
    "webp": lambda: webp(16383, 16383),
    "jpeg": lambda: jpeg(HUGE, HUGE),
    "bmp": lambda: bmp(HUGE, HUGE),
    "ppm": lambda: b"P6 50000 50000 255\n" + bytes(64),
    "black png just under Pillow's limit": lambda: black_png(13_000, 13_700),
    "gif just under Pillow's limit": lambda: gif(13_000, 13_700),
    "webp just under Pillow's limit": lambda: webp(13_000, 13_700),
    "long and thin png": lambda: png(2**31 - 1, 1, zlib.compress(bytes(1000))),
}
for name, make in BOMBS.items():
    BAD[f"bomb: {name}"] = lambda make=make: (make(), TOO_MANY)
