"""Colours: the profiles and pixels are computed here by the definitions, apart from the package."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from chunks import chunk, with_chunks
from PIL import Image, ImageCms

from cones.subjects.colours import UNKNOWN, to_srgb
from cones.subjects.photos import load_photo, load_photos

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
D65, D50 = (0.3127, 0.329), (0.3457, 0.3585)
# The x and y of white, red, green and blue.
SPACES = {
    "sRGB": (*D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    "Display P3": (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    "Adobe RGB": (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
    "Rec. 2020": (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    "ProPhoto": (*D50, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001),
}


def xyz(x: float, y: float) -> Array:
    return np.array((x / y, 1, (1 - x - y) / y))


def to_d50(space: str) -> Array:
    """Linear RGB -> XYZ with white at D50: [3, 3]."""
    white, red, green, blue = np.array(SPACES[space]).reshape(4, 2)
    matrix = np.stack([xyz(*red), xyz(*green), xyz(*blue)], axis=1)
    matrix *= np.linalg.inv(matrix) @ xyz(*white)
    bradford = np.array(
        [(0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)]
    )
    scale = np.diag((bradford @ xyz(*D50)) / (bradford @ xyz(*white)))
    return np.asarray(np.linalg.inv(bradford) @ scale @ bradford @ matrix)


def srgb_to_light(values: Array) -> Array:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def expected(values: np.ndarray, space: str, gamma: float | None) -> Array:
    """What pixels of a space are in sRGB, unrounded; `gamma` None for the curve of sRGB."""
    shares = values / 255
    light = srgb_to_light(shares) if gamma is None else shares**gamma
    light = (light @ (np.linalg.inv(to_d50("sRGB")) @ to_d50(space)).T).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2, for pixels of a kind: `RGB `, `GRAY`."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x", 128 + len(table + body), 0x02100000, b"mntr", kind, b"XYZ ", b"acsp"
    )
    return header + fixed((0.9642, 1, 0.8249)) + bytes(48) + table + body


def fixed(numbers: Sequence[float] | Array) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(each * 65536) for each in numbers))


def curve(gamma: float | None) -> bytes:
    """A table of 1024 values: light for values from 0 to 1."""
    values = np.linspace(0, 1, 1024)
    light = srgb_to_light(values) if gamma is None else values**gamma
    return b"curv" + struct.pack(">4xI1024H", 1024, *np.rint(light * 65535).astype(int))


def rgb_profile(space: str, gamma: float | None) -> bytes:
    columns = {
        name: b"XYZ " + bytes(4) + fixed(xyz)
        for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), to_d50(space).T, strict=True)
    }
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(gamma))
    white = b"XYZ " + bytes(4) + fixed((0.9642, 1, 0.8249))
    return profile(b"RGB ", {b"wtpt": white, **columns, **curves})


def grey_profile(gamma: float) -> bytes:
    white = b"XYZ " + bytes(4) + fixed((0.9642, 1, 0.8249))
    return profile(b"GRAY", {b"wtpt": white, b"kTRC": curve(gamma)})


def distance(image: Image.Image, wanted: Array) -> float:
    assert image.mode == "RGB"
    return float(np.abs(np.asarray(image) - wanted).max())


CASES = [
    ("Display P3", None), ("Adobe RGB", 2.19921875), ("ProPhoto", 1.8), ("Rec. 2020", 2.4),
    ("sRGB", 1.8), ("sRGB", 1.0),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP in Python"])
@pytest.mark.parametrize(("space", "gamma"), CASES)
def test_a_profile_is_applied(tmp_path: Path, space: str, gamma: float | None, kind: str) -> None:
    icc, image = rgb_profile(space, gamma), Image.fromarray(PIXELS)
    if kind == "BMP in Python":
        image.info["icc_profile"] = icc
        found = to_srgb(image)[0]
    else:
        image.save(tmp_path / "1", format=kind, icc_profile=icc, lossless=True)
        found = load_photo(tmp_path / "1")
    wanted = expected(PIXELS, space, gamma)
    assert np.abs(wanted - PIXELS).max() > 10
    assert distance(found, wanted) <= 2
    assert not found.info


def test_a_phones_jpeg(tmp_path: Path) -> None:
    """Plain colours survive the compression."""
    for number, colour in enumerate(((200, 30, 40), (20, 180, 60), (128, 128, 128))):
        image = Image.new("RGB", (32, 32), colour)
        image.save(tmp_path / "1.jpg", quality=100, icc_profile=rgb_profile("Display P3", None))
        wanted = expected(np.array(colour), "Display P3", None)
        assert distance(load_photo(tmp_path / "1.jpg"), wanted) <= 4, number


def test_what_is_srgb_is_not_touched(tmp_path: Path) -> None:
    known = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (known, rgb_profile("sRGB", None)):
        Image.fromarray(PIXELS).save(tmp_path / "1.png", icc_profile=icc)
        assert np.array_equal(np.asarray(load_photo(tmp_path / "1.png")), PIXELS)


def test_transparency_and_profile_go_together(tmp_path: Path) -> None:
    """The colours are converted before they are laid over white."""
    alpha = np.full((32, 32, 1), 255, np.uint8)
    alpha[:16] = 0
    image = Image.fromarray(np.concatenate([PIXELS, alpha], axis=2))
    image.save(tmp_path / "1.png", icc_profile=rgb_profile("Adobe RGB", 2.2))
    found = load_photo(tmp_path / "1.png")
    wanted = expected(PIXELS, "Adobe RGB", 2.2)
    wanted[:16] = 255
    assert distance(found, wanted) <= 2


def test_a_palette_with_a_profile(tmp_path: Path) -> None:
    few = Image.fromarray(PIXELS).quantize(16)
    few.save(tmp_path / "1.png", icc_profile=rgb_profile("Display P3", None))
    wanted = expected(np.asarray(few.convert("RGB")), "Display P3", None)
    assert distance(load_photo(tmp_path / "1.png"), wanted) <= 2


def test_grey_with_a_profile_of_either_kind(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    wanted = expected(np.stack([grey] * 3, axis=2), "sRGB", 1.8)
    for icc in (grey_profile(1.8), rgb_profile("sRGB", 1.8)):
        Image.fromarray(grey).save(tmp_path / "1.png", icc_profile=icc)
        assert distance(load_photo(tmp_path / "1.png"), wanted) <= 2


def test_grey_of_16_bits_with_a_profile(tmp_path: Path) -> None:
    levels = PIXELS[..., 0].astype(np.uint16) * 257
    Image.fromarray(levels).save(tmp_path / "1.png", icc_profile=grey_profile(1.0))
    wanted = expected(np.stack([PIXELS[..., 0]] * 3, axis=2), "sRGB", 1.0)
    assert distance(load_photo(tmp_path / "1.png"), wanted) <= 2


def cmyk_profile() -> bytes:
    """Ink covers light: Lab of (1 - k) times the lesser of the other inks' papers, as a table."""
    grid = np.array(np.meshgrid(*[(0, 1)] * 4, indexing="ij")).reshape(4, -1).T  # [16, 4]
    lightness = 255 * (1 - grid[:, 3]) * (1 - grid[:, :3].mean(1))
    table = np.stack([lightness, np.full(16, 128), np.full(16, 128)], axis=1)
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + fixed((1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut += ramp * 4 + np.rint(table).astype(np.uint8).tobytes() + ramp * 3
    whole = bytearray(profile(b"CMYK", {b"A2B0": lut}))
    whole[12:16], whole[20:24] = b"prtr", b"Lab "
    return bytes(whole)


def test_cmyk_with_a_profile(tmp_path: Path) -> None:
    for inks, lightness in (((0, 0, 0, 0), 1.0), ((0, 0, 0, 255), 0.0), ((0, 0, 0, 128), 0.498)):
        Image.new("CMYK", (16, 16), inks).save(
            tmp_path / "1.jpg", quality=100, icc_profile=cmyk_profile()
        )
        light = ((lightness * 100 + 16) / 116) ** 3 if lightness > 0.08 else 0.0
        value = 255 * (1.055 * light ** (1 / 2.4) - 0.055) if light else 0.0
        assert distance(load_photo(tmp_path / "1.jpg"), np.array([value] * 3)) <= 2


@pytest.mark.parametrize(
    "icc",
    [b"no profile", rgb_profile("Display P3", None)[:200], grey_profile(1.8), cmyk_profile()],
    ids=["nonsense", "cut", "grey", "cmyk"],
)
def test_a_profile_that_cannot_be_used_is_said(tmp_path: Path, icc: bytes) -> None:
    path = tmp_path / "1.png"
    Image.fromarray(PIXELS).save(path, icc_profile=icc)
    photos = load_photos(tmp_path)
    assert np.array_equal(np.asarray(photos.images[0]), PIXELS)
    assert f"{path} {UNKNOWN}" in photos.notes


def test_a_large_profile_is_read_and_a_bomb_is_not(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    icc = rgb_profile("Display P3", None)
    Image.fromarray(PIXELS).save(path, icc_profile=icc + bytes(3_000_000))
    assert distance(load_photo(path), expected(PIXELS, "Display P3", None)) <= 2
    Image.fromarray(PIXELS).save(path, icc_profile=icc + bytes(100_000_000))
    assert f"{path} {UNKNOWN}" in load_photos(tmp_path).notes


# --- PNG files without a profile ----------------------------------------------------------------


def chrm(space: str) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(each * 1e5) for each in SPACES[space])))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(1e5 / gamma)))


def tagged(tmp_path: Path, *chunks: bytes) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "1.png")
    with_chunks(tmp_path / "1.png", *chunks)
    return tmp_path / "1.png"


@pytest.mark.parametrize(
    ("chunks", "space", "gamma"),
    [
        ((chrm("Display P3"), gama(2.2)), "Display P3", 2.2),
        ((chrm("Adobe RGB"), gama(2.19921875)), "Adobe RGB", 2.19921875),
        ((chrm("ProPhoto"), gama(1.8)), "ProPhoto", 1.8),
        ((chrm("Rec. 2020"),), "Rec. 2020", None),
        ((gama(1.0),), "sRGB", 1.0),
        ((gama(1.8),), "sRGB", 1.8),
        ((chunk(b"cICP", bytes((12, 13, 0, 1))),), "Display P3", None),
        ((chunk(b"cICP", bytes((9, 4, 0, 1))), gama(1.0)), "Rec. 2020", 2.2),
    ],
)
def test_a_png_tells_its_colours_in_chunks(
    tmp_path: Path, chunks: tuple[bytes, ...], space: str, gamma: float | None
) -> None:
    found = load_photo(tagged(tmp_path, *chunks))
    assert distance(found, expected(PIXELS, space, gamma)) <= 2


@pytest.mark.parametrize(
    "chunks",
    [
        (gama(2.2),),
        (gama(2.2), chrm("sRGB")),
        (chunk(b"sRGB", b"\0"), gama(1.0), chrm("ProPhoto")),
        (chunk(b"cICP", bytes((1, 13, 0, 1))), gama(1.0)),
    ],
)
def test_a_png_that_says_srgb_is_not_touched(tmp_path: Path, chunks: tuple[bytes, ...]) -> None:
    photos = load_photos(tagged(tmp_path, *chunks).parent)
    assert np.array_equal(np.asarray(photos.images[0]), PIXELS)
    assert UNKNOWN not in " ".join(photos.notes)


@pytest.mark.parametrize(
    "chunks",
    [
        (chunk(b"gAMA", bytes(4)),),
        (chunk(b"gAMA", b"\xff" * 4),),
        (chunk(b"cHRM", bytes(32)),),
        (chunk(b"cHRM", struct.pack(">8I", *[31270, 32900] * 4)),),
        (chunk(b"cICP", bytes((9, 16, 0, 1))),),
        (chunk(b"cICP", b"1"),),
        (chunk(b"iCCP", b"name\0\0nonsense"),),
    ],
)
def test_colours_that_make_no_sense_are_said(tmp_path: Path, chunks: tuple[bytes, ...]) -> None:
    path = tagged(tmp_path, *chunks)
    photos = load_photos(tmp_path)
    assert np.array_equal(np.asarray(photos.images[0]), PIXELS)
    assert f"{path} {UNKNOWN}" in photos.notes


def test_a_cameras_adobe_rgb(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    colour = (30, 200, 60)
    Image.new("RGB", (32, 32), colour).save(tmp_path / "1.jpg", quality=100, exif=exif)
    wanted = expected(np.array(colour), "Adobe RGB", 2.19921875)
    assert distance(load_photo(tmp_path / "1.jpg"), wanted) <= 4
