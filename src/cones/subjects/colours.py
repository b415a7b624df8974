"""The colours of a picture: whatever its mode and colour space, opaque sRGB comes out.

An embedded ICC profile says what the pixels mean, in a PNG file also its cICP, gAMA and cHRM
chunks, and in a camera's JPEG the Exif mark of Adobe RGB. A picture that says nothing is sRGB.
"""

import struct
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from itertools import product

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageStat

MAX_PROFILE = 2**24  # bytes of an ICC profile; the largest that a JPEG file can hold
SRGB, GAMMA_22, LINEAR = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045), (2.2,), (1.0,)
# White, red, green and blue: the x and y of each, as in a cHRM chunk.
_D65 = (0.3127, 0.329)
REC_709 = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
DISPLAY_P3 = (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE_RGB = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
REC_2020 = (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
_CICP_PRIMARIES = {1: REC_709, 9: REC_2020, 12: DISPLAY_P3}
_CICP_CURVES = {4: GAMMA_22, 8: LINEAR, 13: SRGB}
_D50 = np.array((0.9642, 1.0, 0.8249))
_BRADFORD = np.array(
    ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
)
_INTEROPERABILITY = 0xA005  # Exif directory
UNKNOWN = "tells its colours in a way that cannot be used; they are taken as sRGB"


def to_srgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """An opaque sRGB picture over white, so that no colour hidden by transparency comes back.

    Args:
        image: of any mode that tells colours; what its `info` says of them is heeded.

    Returns:
        A new image of mode RGB whose `info` is empty, and remarks that go on from its name.

    Raises:
        ValueError: its mode tells no colours.
    """
    remarks: list[str] = []
    alpha = _alpha(image)
    colours = _plain(image)
    result = colours.convert("RGB")
    try:
        if (profile := _profile(image)) is not None:
            result = _converted(colours, profile)
    except Exception:  # of nearly any kind, where that makes no sense
        remarks.append(UNKNOWN)
    if alpha is not None:
        result = Image.composite(result, Image.new("RGB", image.size, "white"), alpha)
    result.info = {}
    return result, remarks


def matrix_profile(primaries: Sequence[float], curve: Sequence[float]) -> bytes:
    """An ICC profile of a colour space with three primaries and one curve.

    Args:
        primaries: x and y of white, red, green and blue.
        curve: from values to light, both 0 to 1: the exponent, or the five parameters of an
            exponent with a straight foot, as in the ICC's parametric curve of type 3.

    Raises:
        ValueError: there is no such space.
    """
    white, *colours = (
        np.array((x / y, 1, (1 - x - y) / y))
        for x, y in zip(primaries[::2], primaries[1::2], strict=True)
    )
    matrix = np.column_stack(colours)
    matrix = matrix * np.linalg.solve(matrix, white)
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    matrix = np.linalg.solve(_BRADFORD, cones @ _BRADFORD @ matrix)
    if not (np.abs(matrix) < 4).all() or not 0.2 <= curve[0] <= 5:
        raise ValueError("no colour space")
    xyz = [b"XYZ " + bytes(4) + _fixed(column) for column in (*matrix.T, _D50)]
    shape = struct.pack(">HH", 0 if len(curve) == 1 else 3, 0)
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"), xyz, strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"para" + bytes(4) + shape + _fixed(curve))
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s12x4s28x12s48x",
        128 + len(table) + len(body),
        bytes(4),
        0x04200000,  # version 4.2
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"acsp",
        _fixed(_D50),
    )
    return header + table + body


def _fixed(numbers: Sequence[float] | np.ndarray) -> bytes:
    """Numbers as the ICC writes them: s15Fixed16."""
    return b"".join(struct.pack(">i", round(float(number) * 65536)) for number in numbers)


def _profile(image: Image.Image) -> bytes | None:
    """The ICC profile of a picture's colours; None for sRGB."""
    info = image.info
    if cicp := info.get("cicp"):
        primaries, curve, matrix, whole = cicp
        if (matrix, whole) != (0, 1):
            raise ValueError("no RGB of the whole range")
        return matrix_profile(_CICP_PRIMARIES[primaries], _CICP_CURVES[curve])
    if (icc := info.get("icc_profile")) is not None:
        if len(icc) > MAX_PROFILE:
            raise ValueError("too large")
        return bytes(icc)
    if "srgb" in info:
        return None
    if "gamma" in info or "chromaticity" in info:
        primaries = info.get("chromaticity", REC_709)
        gamma = info.get("gamma", 1 / 2.2)
        if np.allclose(primaries, REC_709, atol=2e-3) and abs(gamma * 2.2 - 1) < 0.02:
            return None  # how programs say sRGB without the chunk of that name
        curve = (1 / gamma,) if "gamma" in info else SRGB
        return matrix_profile(primaries, curve)
    if _is_adobe_rgb(image):
        return matrix_profile(ADOBE_RGB, (2.19921875,))
    return None


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether a camera says so in Exif, without a profile."""
    try:
        return bool(image.getexif().get_ifd(_INTEROPERABILITY).get(1) == "R03")
    except Exception:  # Exif that is damaged, in any way
        return False


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    """A picture of mode L, RGB or CMYK in sRGB; untouched where that moves nothing visibly."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    if source.profile.xcolor_space.strip() == "RGB":
        image = image.convert("RGB")  # a grey picture too
    exact = ImageCms.Flags.NOOPTIMIZE if image.mode == "L" else ImageCms.Flags.NONE
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, srgb, image.mode, "RGB", flags=exact)
    if image.mode == "L":
        levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        return Image.fromarray(np.asarray(_applied(levels, transform))[0][np.asarray(image)])
    if image.mode == "RGB":
        moved = ImageChops.difference(_probe(), _applied(_probe(), transform))
        if max(high for _, high in ImageStat.Stat(moved).extrema) <= 1:
            return image.copy()
    return _applied(image, transform)


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    result = ImageCms.applyTransform(image, transform)
    assert result is not None  # None only where the image itself is changed
    return result


@cache
def _probe() -> Image.Image:
    """Colours from all over the cube."""
    levels = list(product(range(0, 256, 17), repeat=3))
    return Image.fromarray(np.array(levels, np.uint8).reshape(64, 64, 3))


def _plain(image: Image.Image) -> Image.Image:
    """The picture without its alpha, 8 bits deep, in a mode that a profile is of."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.uint32)
        if levels.max(initial=0) > 65535:
            raise ValueError("expected levels of 16 bits")
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))  # 0..65535 -> 0..255
    if image.mode == "F":
        raise ValueError("numbers without a scale")
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    return image if image.mode in ("RGB", "CMYK", "L") else image.convert("RGB")


def _alpha(image: Image.Image) -> Image.Image | None:
    """How opaque each pixel is, 0 to 255; None where all are wholly."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):
        seen = np.asarray(image) != image.info["transparency"]
        return Image.fromarray(seen.astype(np.uint8) * 255)
    return image.convert("RGBA").getchannel("A")
