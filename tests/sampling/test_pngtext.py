"""The texts of PNG files are read, whatever the rest of the file says."""

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cones.errors import InputError
from cones.sampling.pictures import read_provenance
from cones.subjects.pngtext import MAX_TEXT, SIGNATURE, read_png_texts


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
END = chunk(b"IEND")


def written(folder: Path, *chunks: bytes) -> Path:
    path = folder / "x.png"
    path.write_bytes(b"".join([SIGNATURE, HEADER, *chunks]))
    return path


def test_pillow_s_texts_are_read(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("plain", "a\nb")
    texts.add_text("packed", "c" * 999, zip=True)
    texts.add_itxt("international", "ä犬", "de", "Wort")
    texts.add_itxt("both", "é" * 999, zip=True)
    Image.new("RGB", (2, 2)).save(tmp_path / "x.png", pnginfo=texts, dpi=(72, 72))
    assert read_png_texts(tmp_path / "x.png") == {
        "plain": "a\nb",
        "packed": "c" * 999,
        "international": "ä犬",
        "both": "é" * 999,
    }


def test_a_huge_header_is_no_matter(tmp_path: Path) -> None:
    path = written(tmp_path, chunk(b"tEXt", b"cones\0001"), chunk(b"IDAT"), END)
    assert read_provenance(path) == {"cones": "1"}


def test_texts_of_other_programs_are_left_out_where_they_are_large(tmp_path: Path) -> None:
    bomb = zlib.compress(b"x" * (2**26))
    path = written(
        tmp_path,
        chunk(b"tEXt", b"cones\0001"),
        chunk(b"tEXt", b"large\0" + b"x" * MAX_TEXT),
        chunk(b"zTXt", b"bomb\0\0" + bomb),
        END,
    )
    assert read_png_texts(path) == {"cones": "1"}


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (chunk(b"tEXt", b"cones\0001"),),
        (chunk(b"tEXt", b"cones\0001")[:-1] + b"?", END),
        (chunk(b"zTXt", b"cones\0\0nothing"), END),
        (chunk(b"iTXt", b"cones\0\0\0\0\0\xff"), END),
        (chunk(b"iTXt", b"cones\0\1\0\0\0\xff"), END),
        (struct.pack(">I", 2**32 - 1) + b"tEXt",),
        (chunk(b"tEXt", b"cones\0001"), chunk(b"tEXt", b"cones\0002"), END),
        (chunk(b"IDAT") * 2**16, END),
    ],
)
def test_damage_is_refused(tmp_path: Path, chunks: tuple[bytes, ...]) -> None:
    path = written(tmp_path, *chunks)
    with pytest.raises(InputError, match="no PNG file, or a damaged one") as caught:
        read_png_texts(path)
    assert str(caught.value).startswith(f"{path}: cannot be read")


def test_what_is_no_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no")
    with pytest.raises(InputError, match="no PNG file"):
        read_png_texts(tmp_path / "a")
    for path in (tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_png_texts(path)
