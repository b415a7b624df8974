"""Photographs as people have them: each file is made here, good or broken."""

import struct
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chunks import chunk, with_chunks
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from cones.errors import ConesError, InputError
from cones.files.writing import shown
from cones.subjects.listing import natural_key
from cones.subjects.photos import load_photo, load_photos

SIZE = 64
Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def picture(width: int = SIZE, height: int = SIZE, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def pixels(image: Image.Image) -> Array:
    assert image.mode == "RGB" and image.size == (SIZE, SIZE)
    return np.asarray(image)


def halves(left: object, right: object, mode: str, size: int = SIZE) -> Image.Image:
    """Left half one colour, right half another."""
    image = Image.new(mode, (size, size), right)
    image.paste(left, (0, 0, size // 2, size))
    return image


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file written by hand, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IEND", b"")


def refusal(call: Callable[[], object]) -> str:
    """The message that a call is refused with: always one line."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert isinstance(caught.value, ConesError)
    assert message.isprintable() and "; " in message  # one line: what is wrong; what to do
    return message


# --- the folder ---------------------------------------------------------------------------------


def test_photographs_of_the_right_size_are_not_touched(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "B.png", "a.png"):
        picture(seed=len(name) + ord(name[0])).save(tmp_path / name)
    photos = load_photos(tmp_path, SIZE)
    assert [path.name for path in photos.paths] == ["9.png", "10.png", "a.png", "B.png"]
    for path, image in zip(photos.paths, photos.images, strict=True):
        assert np.array_equal(pixels(image), np.asarray(Image.open(path)))
    assert photos.skipped == () and photos.notes == ()


def test_natural_order() -> None:
    names = ["img1.png", "img2.png", "img10.png", "IMG11.png", "img011.png", "é.png", "2", "x2y10"]
    expected = ["2", "img1.png", "img2.png", "img10.png", "IMG11.png", "img011.png", "x2y10"]
    assert sorted(names, key=natural_key) == [*expected, "é.png"]
    assert sorted(reversed(names), key=natural_key) == [*expected, "é.png"]


def test_no_folder(tmp_path: Path) -> None:
    message = refusal(lambda: load_photos(tmp_path / "none", SIZE))
    assert (
        message
        == f"{tmp_path / 'none'} does not exist; give the folder of the subject's photographs"
    )


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    message = refusal(lambda: load_photos(path, SIZE))
    assert message == f"{path} is a file; give the folder of the subject's photographs"


def test_an_empty_folder(tmp_path: Path) -> None:
    message = refusal(lambda: load_photos(tmp_path, SIZE))
    assert message == f"{tmp_path} is empty; put the subject's photographs into it"


def test_no_image_in_the_folder(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt", "d.txt"):
        (tmp_path / name).write_text("a robot")
    message = refusal(lambda: load_photos(tmp_path, SIZE))
    assert message.startswith(f"{tmp_path} holds no JPEG, PNG, WebP or BMP image, only a.txt, ")
    assert "and 1 more; put the subject's photographs" in message


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)  # permissions do not stop root
    message = refusal(lambda: load_photos(tmp_path, SIZE))
    assert message.startswith(f"{tmp_path} cannot be read (Permission denied); check")


def test_what_is_no_image_is_skipped_and_listed(tmp_path: Path) -> None:
    others = [".DS_Store", "._1.png", "1.txt", "metadata.jsonl", "Thumbs.db"]
    for name in others:
        (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0 not an image")
    (tmp_path / "1.txt").write_text("BMX bike on the beach")  # begins as a BMP image does
    for i in range(2):
        picture(seed=i).save(tmp_path / f"{i}.png")
    photos = load_photos(tmp_path, SIZE)
    assert [path.name for path in photos.paths] == ["0.png", "1.png"]
    assert sorted(path.name for path, _ in photos.skipped) == sorted(others)
    assert dict(photos.skipped)[tmp_path / ".DS_Store"] == "hidden"
    assert dict(photos.skipped)[tmp_path / "1.txt"] == "captions or metadata"
    told = f"{tmp_path / '1.txt'} was skipped: captions or metadata"
    assert photos.notes == (told,)  # of the others nobody needs telling


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        b"GIF89a\1\0\1\0\0\0\0;",
    ],
    ids=["empty", "cut", "lfs", "gif"],
)
def test_what_only_looks_like_an_image_is_skipped_and_said(tmp_path: Path, content: bytes) -> None:
    picture().save(tmp_path / "1.png")
    path = tmp_path / "2.JPG"
    path.write_bytes(content)
    photos = load_photos(tmp_path, SIZE)
    (skipped,) = photos.skipped
    assert skipped[0] == path and "no JPEG, PNG, WebP or BMP image" in skipped[1]
    assert f"{path} was skipped: {skipped[1]}" in photos.notes
    assert str(path) in refusal(lambda: load_photo(path, SIZE))


def test_formats_go_by_content(tmp_path: Path) -> None:
    for kind, name in (("PNG", "a.jpg"), ("JPEG", "b"), ("WEBP", "c"), ("BMP", "d.dat")):
        picture(seed=ord(name[0])).save(tmp_path / name, format=kind)
    for kind in ("GIF", "TIFF"):
        picture().save(tmp_path / f"{kind}.png", format=kind)
    photos = load_photos(tmp_path, SIZE)
    assert [path.name for path in photos.paths] == ["a.jpg", "b", "c", "d.dat"]
    assert [path.name for path, _ in photos.skipped] == ["GIF.png", "TIFF.png"]


def test_a_subfolder_is_not_walked(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    picture(seed=1).save(tmp_path / "more" / "1.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    for i in range(2):
        picture(seed=i).save(tmp_path / f"{i}.png")
    photos = load_photos(tmp_path, SIZE)
    assert len(photos.images) == 2
    assert [(path.name, why[:8]) for path, why in photos.skipped] == [
        ("broken.png", "not a re"),
        ("more", "a folder"),
    ]
    assert any(f"{tmp_path / 'more'} was skipped: a folder;" in note for note in photos.notes)


def test_one_photograph_works_and_is_said(tmp_path: Path) -> None:
    picture().save(tmp_path / "1.png")
    photos = load_photos(tmp_path, SIZE)
    assert len(photos.images) == 1
    (note,) = photos.notes
    assert str(tmp_path) in note and "one photograph only; three to six" in note


def test_duplicates_are_said(tmp_path: Path) -> None:
    picture().save(tmp_path / "1.png")
    picture().save(tmp_path / "2.bmp")  # other bytes, the same picture
    picture(seed=1).save(tmp_path / "3.png")
    photos = load_photos(tmp_path, SIZE)
    assert len(photos.images) == 3
    (note,) = photos.notes
    assert note.startswith(f"{tmp_path / '2.bmp'} is the same picture as {tmp_path / '1.png'}")


@pytest.mark.parametrize("name", ["маг 杯子 é.png", "e\u0301.png", "a\nb.png", "\x1b[31m.png"])
def test_any_name_is_read_and_shown_in_one_line(tmp_path: Path, name: str) -> None:
    picture(8, 8).save(tmp_path / name, format="PNG")
    photos = load_photos(tmp_path, SIZE)
    assert photos.paths == (tmp_path / name,)
    assert photos.notes and all(note.isprintable() for note in photos.notes)


def test_names_are_shown_as_they_are_where_possible() -> None:
    assert shown(Path("маг/杯子.png")) == str(Path("маг/杯子.png"))
    assert shown(Path("a\nb")) == r"a\nb"
    shown(Path("a\udcff")).encode()  # a name that is no UTF-8 can be printed


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_image_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    picture(seed=1).save(tmp_path / "1.png")
    path = tmp_path / "2.dat"
    picture(100, 100).save(path, format=kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    for call in (lambda: load_photos(tmp_path, SIZE), lambda: load_photo(path, SIZE)):
        message = refusal(call)
        assert message.startswith(f"{path} is damaged (")
        assert message.endswith("replace it by a whole copy or remove it")


def test_every_cut_of_a_jpeg_is_refused(tmp_path: Path) -> None:
    """`Image.open` and `verify` pass on nearly all of these."""
    path = tmp_path / "1.jpg"
    picture(16, 16).save(path, quality=20)
    data = path.read_bytes()
    for length in range(0, len(data) - 2, 7):
        path.write_bytes(data[:length])
        assert str(path) in refusal(lambda: load_photo(path, SIZE))


def test_damage_inside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    picture().save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert f"{path} is damaged" in refusal(lambda: load_photo(path, SIZE))


@pytest.mark.parametrize("side", [9_500, 20_000])
def test_a_decompression_bomb_is_refused(tmp_path: Path, side: int) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(png(side, side, 1, 0, bytes(1 + side // 8) * 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's own warning must not leak
        message = refusal(lambda: load_photos(tmp_path, SIZE))
    assert message == f"{path} has more than 89.5 megapixels; scale it down or remove it"


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1.png"
    picture().save(path)

    def denied(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)  # permissions do not stop root
    for call in (lambda: load_photos(tmp_path, SIZE), lambda: load_photo(path, SIZE)):
        assert refusal(call).startswith(f"{path} cannot be read (Permission denied); check")


@pytest.mark.parametrize("name", ["none.png", ".", "a\0.png"])
def test_one_photograph_that_is_none(tmp_path: Path, name: str) -> None:
    assert "cannot be read (" in refusal(lambda: load_photo(tmp_path / name, SIZE))


# --- colour and form ----------------------------------------------------------------------------


def test_a_turned_photograph_is_put_upright(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    upright = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    assert np.array_equal(pixels(load_photo(path, SIZE)), np.asarray(upright))


def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    levels = np.linspace(0, 65535, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint16)
    Image.fromarray(levels).save(path)
    expected = np.rint(levels / 257).astype(np.uint8)
    assert np.array_equal(pixels(load_photo(path, SIZE)), np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "LA", "RGBA"])
def test_other_images_of_16_bits(tmp_path: Path, kind: int, channels: int) -> None:
    path = tmp_path / "1.png"
    levels = np.random.default_rng(0).integers(0, 65536, (SIZE, SIZE, channels))
    if channels != 3:
        levels[..., -1] = 65535
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    path.write_bytes(png(SIZE, SIZE, 16, kind, rows))
    expected = (levels >> 8)[..., :3] if channels > 2 else np.repeat(levels[..., :1] >> 8, 3, 2)
    assert np.array_equal(pixels(load_photo(path, SIZE)), expected)


RED, WHITE, GREY = (255, 0, 0), (255, 255, 255), (100, 100, 100)


@pytest.mark.parametrize(
    ("image", "options", "left", "right"),
    [
        (halves((255, 0, 0, 255), (0, 0, 255, 0), "RGBA"), {}, RED, WHITE),
        (halves((255, 0, 0, 255), (0, 0, 255, 0), "RGBA").quantize(), {}, RED, WHITE),
        (halves((0, 0, 255, 128), (0, 0, 255, 0), "RGBA"), {}, (127, 127, 255), WHITE),
        (halves((100, 255), (100, 0), "LA"), {}, GREY, WHITE),
        (halves(RED, (0, 0, 255), "RGB"), {"transparency": (0, 0, 255)}, RED, WHITE),
        (halves(100, 7, "L"), {"transparency": 7}, GREY, WHITE),
        (halves(100 * 257, 9, "I;16"), {"transparency": 9}, GREY, WHITE),
        (halves(RED, GREY, "RGB").quantize(), {}, RED, GREY),
        (halves(100, 255, "L"), {}, GREY, WHITE),
        (halves(0, 1, "1"), {}, (0, 0, 0), WHITE),
    ],
    ids=["RGBA", "P+alpha", "half", "LA", "RGB+key", "L+key", "I;16+key", "P", "L", "1"],
)
def test_every_mode_becomes_opaque_rgb(
    tmp_path: Path, image: Image.Image, options: dict[str, object], left: object, right: object
) -> None:
    path = tmp_path / "1.png"
    image.save(path, **options)
    found = pixels(load_photo(path, SIZE))
    assert (found[:, : SIZE // 2] == left).all() and (found[:, SIZE // 2 :] == right).all()


def test_a_hidden_colour_does_not_bleed_in_by_scaling(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    halves((255, 255, 255, 255), (0, 0, 0, 0), "RGBA", size=300).save(path)
    assert (pixels(load_photo(path, SIZE)) == 255).all()


def test_cmyk(tmp_path: Path) -> None:
    path = tmp_path / "1.jpg"
    Image.new("CMYK", (SIZE, SIZE), (0, 255, 255, 0)).save(path, quality=95)
    assert np.abs(pixels(load_photo(path, SIZE)).astype(int) - RED).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_used_and_said(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "1.png"
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in (RED, WHITE)]
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:], lossless=True)
    photos = load_photos(tmp_path, SIZE)
    assert (pixels(photos.images[0]) == RED).all()
    assert f"{path} is animated; its first frame is used" in photos.notes


def test_a_phones_jpeg_with_a_second_frame_is_a_photograph(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), colour) for colour in (RED, WHITE)]
    frames[0].save(tmp_path / "1.jpg", format="MPO", save_all=True, append_images=frames[1:])
    photos = load_photos(tmp_path, SIZE)
    assert np.abs(pixels(photos.images[0]).astype(int) - RED).max() <= 3
    assert not any("animated" in note for note in photos.notes)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (31, 31), (31, 60)])
def test_a_tiny_image_is_enlarged_and_said(tmp_path: Path, width: int, height: int) -> None:
    image = picture(width, height)
    image.save(tmp_path / "1.png")
    photos = load_photos(tmp_path, SIZE)
    top = (height - width) // 2
    square = image.crop((0, top, width, top + width))
    expected = square.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    assert np.array_equal(pixels(photos.images[0]), np.asarray(expected))
    line = f"{tmp_path / '1.png'} is {width} x {height} pixels, enlarged to 64 x 64; use a larger"
    assert any(note.startswith(line) for note in photos.notes)


@pytest.mark.parametrize(("width", "height"), [(600, 199), (199, 600)])
def test_an_extreme_aspect_is_said(tmp_path: Path, width: int, height: int) -> None:
    picture(width, height).save(tmp_path / "1.png")
    photos = load_photos(tmp_path, SIZE)
    line = f"{tmp_path / '1.png'} is {width} x {height} pixels, longer than 3:1;"
    assert any(note.startswith(line) for note in photos.notes)


def test_the_centre_square_is_scaled_down(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    image = picture(300, 101)
    image.save(path)
    square = image.crop((99, 0, 200, 101))
    expected = square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    assert np.array_equal(pixels(load_photo(path, SIZE)), np.asarray(expected))
    picture(32, 64).save(tmp_path / "2.png")  # exactly half the size: fine, and no line about it
    assert not any("2.png" in note for note in load_photos(tmp_path, SIZE).notes)


def test_the_same_folder_gives_the_same_photographs(tmp_path: Path) -> None:
    for i in range(3):
        picture(90, 70, seed=i).save(tmp_path / f"{i}.jpg")
    first, second = load_photos(tmp_path, SIZE), load_photos(tmp_path, SIZE)
    assert [image.tobytes() for image in first.images] == [i.tobytes() for i in second.images]
    assert (first.paths, first.notes) == (second.paths, second.notes)


# --- metadata that is no reason to refuse -------------------------------------------------------


BOMB = zlib.compress(bytes(200_000_000), 9)  # 200 kB


@pytest.mark.parametrize(
    "part",
    [
        chunk(b"zTXt", b"workflow\0\0" + BOMB),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
        chunk(b"tEXt", b"workflow\0" + b"x" * 3_000_000),
        chunk(b"tEXt", b"\xff\0" * 50),
        chunk(b"iTXt", b"no more"),
        chunk(b"zTXt", b"a\0\5b"),
        chunk(b"gAMA", b"1")[:-1] + b"x",  # a wrong checksum
        chunk(b"cHRM", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", bytes(26)),
        chunk(b"tIME", b"never"),
    ],
    ids=lambda part: ascii(part[4:24]),
)
def test_of_a_png_files_metadata_only_the_pixels_are_used(tmp_path: Path, part: bytes) -> None:
    path = tmp_path / "1.png"
    picture().save(path)
    with_chunks(path, part)
    tracemalloc.start()
    photos = load_photos(tmp_path, SIZE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(pixels(photos.images[0]), np.asarray(picture()))
    assert len(photos.notes) == 1 and "one photograph only" in photos.notes[0]
    assert peak < 64e6


def test_metadata_behind_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    picture().save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-12] + chunk(b"zTXt", b"workflow\0\0" + BOMB) + data[-12:])
    assert np.array_equal(pixels(load_photo(path, SIZE)), np.asarray(picture()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_data_is_said(tmp_path: Path, kind: str) -> None:
    picture().save(tmp_path / "1.png", format=kind, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    picture(seed=1).save(tmp_path / "2.png", format=kind, exif=b"Exif\0\0nonsense")
    photos = load_photos(tmp_path, SIZE)
    assert len(photos.images) == 2
    assert f"{tmp_path / '2.png'} has damaged Exif data; it is taken to be upright" in photos.notes


@pytest.mark.parametrize("compressed", [False, True])
def test_a_png_is_turned_however_it_says_so(tmp_path: Path, compressed: bool) -> None:
    path, turned = tmp_path / "1.png", picture().transpose(Image.Transpose.ROTATE_90)
    xmp = '<rdf:Description tiff:Orientation="6"/>'
    exif = Image.Exif()
    exif[0x0112] = 6
    for key, text in (
        ("XML:com.adobe.xmp", xmp),
        ("Raw profile type exif", f"\nexif\n{26:8}\n{exif.tobytes().hex()}\n"),
    ):
        info = PngInfo()
        add = info.add_itxt if key[0] == "X" else info.add_text
        add(key, text, zip=compressed)
        turned.save(path, pnginfo=info)
        assert np.array_equal(pixels(load_photo(path, SIZE)), np.asarray(picture()))


# --- other kinds of files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.gif", b"GIF89a\1\0\1\0", "a GIF image; convert it to PNG"),
        ("a.tif", b"II*\0\x08\0\0\0", "a TIFF image; convert it to PNG"),
        ("a.TIFF", b"MM\0*\0\0\0\x08", "a TIFF image; convert it to PNG"),
        ("a.dng", b"II*\0\x08\0\0\0", "a camera's raw file; export it as JPEG"),
        ("a.CR2", b"II*\0\x10\0\0\0CR", "a camera's raw file; export it as JPEG"),
        ("a.cr3", b"\0\0\0\x18ftypcrx ", "a camera's raw file; export it as JPEG"),
        ("a.nef", b"MM\0*\0\0\0\x08", "a camera's raw file; export it as JPEG"),
        ("a.jxl", b"\xff\x0a\0\0", "a JPEG XL image; convert it to JPEG or PNG"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 image; convert it to JPEG or PNG"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1\n", "a git-LFS pointer; fetch the"),
        ("a.png", b"  <!doctype html><html>", "a web page; download the photograph itself"),
        ("a.jpeg", b"\0\0\0\x18ftypmp42", "a video; save some of its pictures as PNG"),
        ("a.webp", b"", "an empty file; copy the photograph anew"),
    ],
)
def test_what_cannot_be_read_is_called_what_it_is(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(lambda: load_photos(tmp_path))
    assert message.startswith(
        f"{tmp_path} holds none of the subject's photographs that can be read: {name} "
        f"was skipped: no JPEG, PNG, WebP or BMP image but {told}"
    )
    (tmp_path / f"2{Path(name).suffix}").write_bytes(content)
    assert f"read: 2{Path(name).suffix} and 1 more were skipped: " in refusal(
        lambda: load_photos(tmp_path)
    )


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (SIZE, SIZE), RED).save(tmp_path / "1.avif", quality=100)
    assert np.abs(pixels(load_photo(tmp_path / "1.avif", SIZE)).astype(int) - RED).max() <= 3


def test_heic_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture().resize((256, 256)).save(tmp_path / "1.heic", quality=90)
    upright = load_photo(tmp_path / "1.heic")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, SIZE), RED).save(tmp_path / "2.heic", quality=100, exif=exif.tobytes())
    turned = load_photo(tmp_path / "2.heic")
    assert upright.size == (256, 256) and turned.size == (SIZE, 80)
    assert np.abs(np.asarray(turned).astype(int) - RED).max() <= 3
    data = (tmp_path / "1.heic").read_bytes()
    (tmp_path / "1.heic").write_bytes(data[: len(data) // 2])
    assert str(tmp_path / "1.heic") in refusal(lambda: load_photo(tmp_path / "1.heic"))


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic"
AVIF = b"\0\0\0\x1cftypavif\0\0\0\0mif1avif"


def test_without_their_readers_heic_and_avif_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(features, "check", lambda _: False)
    for number in range(3):
        (tmp_path / f"IMG_{number}.HEIC").write_bytes(HEIC)
    message = refusal(lambda: load_photos(tmp_path))
    assert "that can be read: IMG_0.HEIC and 2 more were skipped" in message
    assert "a HEIC photograph; install cones-diffusion[heif], or convert it to JPEG" in message
    (tmp_path / "1.avif").write_bytes(AVIF)
    message = refusal(lambda: load_photo(tmp_path / "1.avif"))
    assert "an AVIF image; upgrade Pillow, or convert it to PNG" in message


# --- masks, files, patterns ---------------------------------------------------------------------

MASKS = [
    "a-masklabel.png", "a-condlabel.png", "a_mask.png", "a.mask.png", "a.png.mask.png",
    "a_mask_0.jpg", "A-Mask.PNG", "mask_a.png", "a (mask).png", "a_alpha.webp",
]  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_the_mask_of_a_photograph_is_none(tmp_path: Path, name: str) -> None:
    for number, each in enumerate(("a.png", "b.png", name)):
        picture(seed=number).save(tmp_path / each)
    photos = load_photos(tmp_path, SIZE)
    assert [path.name for path in photos.paths] == ["a.png", "b.png"]
    assert photos.skipped == ((tmp_path / name, "named as the mask of another"),)
    assert photos.notes == (f"{tmp_path / name} was skipped: named as the mask of another",)


def test_what_only_is_called_a_mask_is_a_photograph(tmp_path: Path) -> None:
    names = ["mask.png", "mask_2.png", "venetian_mask.png", "gas.png", "gasmask.png", "a-b.png"]
    for number, name in enumerate(names):
        picture(seed=number).save(tmp_path / name)
    (tmp_path / "venetian.txt").write_text("a mask")
    assert {path.name for path in load_photos(tmp_path).paths} == set(names)


def test_many_masks_are_one_line(tmp_path: Path) -> None:
    for number in range(12):
        picture(seed=number).save(tmp_path / f"{number}.png")
        picture(seed=99).save(tmp_path / f"{number}-masklabel.png")
    photos = load_photos(tmp_path)
    first = tmp_path / "0-masklabel.png"
    assert photos.notes == (f"{first} and 11 more were skipped: named as the mask of another",)


def test_files_and_patterns_are_what_their_folder_is(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "9_mask.png"):
        picture(seed=len(name)).save(tmp_path / name)
    whole = load_photos(tmp_path)
    for source in (list(tmp_path.iterdir()), tmp_path / "*.png"):
        assert load_photos(source).paths == whole.paths
    assert [path.name for path in load_photos(tmp_path / "1*").paths] == ["10.png"]
    assert "does not exist; check" in refusal(lambda: load_photos([tmp_path / "none.png"]))
    assert "does not exist; give the folder" in refusal(lambda: load_photos(tmp_path / "*.gif"))
    assert "expected at least one file, found none" in refusal(lambda: load_photos([]))
    brackets = tmp_path / "my [best]"
    brackets.mkdir()
    picture().save(brackets / "1.png")
    assert len(load_photos(brackets).images) == 1


def test_the_class_folder_is_called_so(tmp_path: Path) -> None:
    message = refusal(lambda: load_photos(tmp_path, role="class"))
    assert message == f"the class folder {tmp_path} is empty; put images of the class into it"
    picture().save(tmp_path / "1.png")
    assert load_photos(tmp_path, role="class").notes == ()


def test_a_folder_of_folders_names_the_first(tmp_path: Path) -> None:
    (tmp_path / "10_sks robot").mkdir()
    (tmp_path / ".cache").mkdir()
    message = refusal(lambda: load_photos(tmp_path))
    inner = tmp_path / "10_sks robot"
    assert message == (
        f"{tmp_path} holds the subject's photographs at most in folders in it; name {inner} itself"
    )
