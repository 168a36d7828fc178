"""Every kind of image has one meaning; what has none is refused with its reason."""

import os
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from msbatch.cohort.images import FieldOfViewError, ImageError, decode, read_extent

SIDE = 256
HEIGHT, WIDTH = 20, 16

Noise = Callable[..., np.ndarray]
LOSSLESS = ["png", "bmp", "tif"]


def read(path: Path) -> np.ndarray:
    image = decode(path, SIDE)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    height, width = read_extent(path, SIDE)
    assert sorted(image.shape[:2]) == sorted((height, width))
    return image


@pytest.mark.parametrize("kind", LOSSLESS)
def test_rgb_comes_back_as_it_is(tmp_path: Path, noise: Noise, kind: str) -> None:
    pixels = noise((HEIGHT, WIDTH, 3))
    path = tmp_path / f"cell.{kind}"
    Image.fromarray(pixels).save(path)
    assert (read(path) == pixels).all()


@pytest.mark.parametrize("kind", LOSSLESS)
def test_grey_is_replicated(tmp_path: Path, noise: Noise, kind: str) -> None:
    pixels = noise((HEIGHT, WIDTH))
    path = tmp_path / f"cell.{kind}"
    Image.fromarray(pixels).save(path)
    assert (read(path) == pixels[..., None]).all()


@pytest.mark.parametrize("kind", LOSSLESS)
def test_one_bit_becomes_black_and_white(tmp_path: Path, noise: Noise, kind: str) -> None:
    pixels = noise((HEIGHT, WIDTH)) > 128
    path = tmp_path / f"cell.{kind}"
    Image.fromarray(pixels).save(path)
    assert (read(path) == np.where(pixels, 255, 0)[..., None]).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_close_to_what_was_saved(tmp_path: Path, mode: str) -> None:
    ramp = np.linspace(40, 200, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    source = Image.fromarray(ramp).convert(mode)
    source.save(tmp_path / "cell.jpg", quality=95)
    wanted = np.asarray(source.convert("RGB")).astype(int)
    assert np.abs(read(tmp_path / "cell.jpg") - wanted).max() <= 8


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_rgba_is_laid_over_white(tmp_path: Path, noise: Noise, kind: str) -> None:
    pixels = noise((HEIGHT, WIDTH, 4))
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 255
    path = tmp_path / f"cell.{kind}"
    Image.fromarray(pixels).save(path)
    image = read(path)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == pixels[0, 1, :3].tolist()
    white = Image.new("RGBA", (WIDTH, HEIGHT), "white")
    wanted = np.asarray(Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB")).astype(int)
    assert np.abs(image - wanted).max() <= 1


@pytest.mark.parametrize("kind", LOSSLESS)
def test_palette_becomes_its_colours(tmp_path: Path, noise: Noise, kind: str) -> None:
    source = Image.fromarray(noise((HEIGHT, WIDTH, 3))).quantize(16)
    path = tmp_path / f"cell.{kind}"
    source.save(path)
    assert (read(path) == np.asarray(source.convert("RGB"))).all()


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path, noise: Noise) -> None:
    source = Image.fromarray(noise((HEIGHT, WIDTH, 3))).quantize(16)
    source.save(tmp_path / "cell.png", transparency=3)
    index = np.asarray(source)
    image = read(tmp_path / "cell.png")
    assert (image[index == 3] == 255).all()
    assert (image[index != 3] == np.asarray(source.convert("RGB"))[index != 3]).all()


def test_cmyk_tiff_becomes_rgb_as_pillow_converts_it(tmp_path: Path, noise: Noise) -> None:
    inks = noise((HEIGHT, WIDTH, 4))
    tifffile.imwrite(tmp_path / "cell.tif", inks, photometric="separated")
    wanted = Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes()).convert("RGB")
    assert (read(tmp_path / "cell.tif") == np.asarray(wanted)).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_is_scaled_by_its_depth(
    tmp_path: Path, make_deep_png: Callable[..., bytes], channels: int, kind: str
) -> None:
    # All of it far below the top of the range: scaling by the image's own maximum would show.
    samples = np.random.default_rng(1).integers(0, 9000, (HEIGHT, WIDTH, channels)).astype(np.uint16)
    path = tmp_path / f"cell.{kind}"
    if kind == "png":
        path.write_bytes(make_deep_png(samples))
    else:
        tifffile.imwrite(path, samples.squeeze(), photometric="rgb" if channels == 3 else "minisblack")
    wanted = np.round(samples.astype(float) * 255 / 65535)
    assert (read(path) == np.broadcast_to(wanted, (HEIGHT, WIDTH, 3))).all()


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_png_with_alpha_is_laid_over_white(
    tmp_path: Path, make_deep_png: Callable[..., bytes], channels: int
) -> None:
    samples = np.full((2, 2, channels), 257 * 10, np.uint16)
    samples[..., -1] = [[0, 65535], [65535, 0]]
    (tmp_path / "cell.png").write_bytes(make_deep_png(samples))
    assert read(tmp_path / "cell.png")[..., 0].tolist() == [[255, 10], [10, 255]]


def twelve_bit_tiff(samples: np.ndarray) -> bytes:
    """Make a TIFF by hand whose BitsPerSample is 12: two samples packed into three bytes."""
    height, width = samples.shape
    pairs = samples.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12) | pairs[:, 1]
    data = b"".join(int(value).to_bytes(3, "big") for value in packed)
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def test_a_tiff_that_declares_12_bits_is_scaled_by_12_bits(tmp_path: Path) -> None:
    samples = np.array([[0, 1000], [2048, 4095]], np.uint16)
    (tmp_path / "cell.tif").write_bytes(twelve_bit_tiff(samples))
    assert read(tmp_path / "cell.tif")[..., 0].tolist() == [[0, 62], [128, 255]]


def test_a_tiff_where_zero_is_white_is_inverted(tmp_path: Path, noise: Noise) -> None:
    pixels = noise((HEIGHT, WIDTH))
    tifffile.imwrite(tmp_path / "cell.tif", pixels, photometric="miniswhite")
    assert (read(tmp_path / "cell.tif") == (255 - pixels)[..., None]).all()


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "packbits"])
def test_compressed_and_planar_tiff(tmp_path: Path, noise: Noise, compression: str) -> None:
    pixels = noise((HEIGHT, WIDTH, 3))
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression=compression)
    planes = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "b.tif", planes, photometric="rgb", planarconfig="separate", compression=compression)
    assert (read(tmp_path / "a.tif") == pixels).all()
    assert (read(tmp_path / "b.tif") == pixels).all()


@pytest.mark.parametrize("kind", ["png", "tif", "jpg"])
def test_orientation_is_applied(tmp_path: Path, kind: str) -> None:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2] = 255
    source = Image.fromarray(pixels)
    exif = source.getexif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: what was on top comes to the right
    path = tmp_path / f"cell.{kind}"
    source.save(path, exif=exif)
    image = read(path)
    assert image.shape == (WIDTH, HEIGHT, 3)
    assert image[:, 0].mean() < 5
    assert image[:, -1].mean() > 250


def test_content_counts_not_the_name(tmp_path: Path, noise: Noise) -> None:
    pixels = noise((HEIGHT, WIDTH, 3))
    Image.fromarray(pixels).save(tmp_path / "cell.tif")
    (tmp_path / "cell.tif").rename(tmp_path / "cell.png")
    assert (read(tmp_path / "cell.png") == pixels).all()


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        decode(path, SIDE)
    assert str(path) in caught.value.problem
    assert "\n" not in caught.value.problem
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n  <html><body>Log in</body></html>", "web page"),
        (b"GIF89a" + bytes(40), "no PNG, JPEG, TIFF or BMP"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "cannot be decoded"),
        (b"II*\0" + bytes(40), "cannot be decoded"),
        (b"\xff\xd8\xff" + bytes(40), "cannot be decoded"),
        (b"BM" + bytes(60), "cannot be decoded"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "cell.png").write_bytes(data)
    assert reason in refusal(tmp_path / "cell.png")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.png") == "it does not exist"
    assert "cannot be decoded" in refusal(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_what_never_ends_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "cell.png")
    assert refusal(tmp_path / "cell.png") == "it cannot be decoded: it is no regular file"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "cell.png").open("wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n")
        out.truncate(1 << 40)
    with pytest.raises(FieldOfViewError, match="1048576 MiB"):
        decode(tmp_path / "cell.png", SIDE)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, noise: Noise, kind: str, kept: float) -> None:
    path = tmp_path / f"cell.{kind}"
    Image.fromarray(noise((60, 50, 3))).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert "cannot be decoded" in refusal(path)


def test_a_truncated_16_bit_png_is_refused(tmp_path: Path, make_deep_png: Callable[..., bytes]) -> None:
    data = make_deep_png(np.random.default_rng(0).integers(0, 65536, (60, 50, 3)))
    (tmp_path / "cell.png").write_bytes(data[: len(data) // 2])
    assert "cannot be decoded" in refusal(tmp_path / "cell.png")


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (np.zeros((3, 30, 20), np.uint8), {"photometric": "minisblack"}, "several pages"),
        (np.zeros((3, 30, 20), np.uint8), {"imagej": True}, "several pages"),
        (np.zeros((30, 20), np.float32), {}, "float32"),
        (np.zeros((30, 20), np.uint32), {}, "uint32"),
        (np.zeros((30, 20), np.int16), {}, "int16"),
        (np.zeros((30, 20, 3), np.uint8), {"photometric": "cielab"}, "CIELAB"),
        (np.zeros((30, 20, 4), np.uint8), {"photometric": "rgb", "extrasamples": ["assocalpha"]}, "extra channel"),
    ],
)
def test_tiff_without_a_defined_meaning_is_refused(
    tmp_path: Path, pixels: np.ndarray, options: dict[str, Any], reason: str
) -> None:
    tifffile.imwrite(tmp_path / "cell.tif", pixels, **options)
    assert reason in refusal(tmp_path / "cell.tif")


def test_an_animation_is_refused(tmp_path: Path, noise: Noise) -> None:
    frames = [Image.fromarray(noise((30, 20, 3), seed)) for seed in range(3)]
    frames[0].save(tmp_path / "cell.png", save_all=True, append_images=frames[1:])
    assert "several images" in refusal(tmp_path / "cell.png")


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(
    tmp_path: Path, make_png: Callable[..., bytes], width: int, height: int
) -> None:
    (tmp_path / "cell.png").write_bytes(make_png(width, height, 8, 2, b""))
    refusal(tmp_path / "cell.png")
    (tmp_path / "cell.bmp").write_bytes(
        b"BM" + struct.pack("<IIIIiiHH", 54, 0, 54, 40, width, height, 1, 24) + bytes(24)
    )
    refusal(tmp_path / "cell.bmp")


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_field_of_view_is_refused_by_its_longer_side(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"cell.{kind}"
    Image.new("RGB", (SIDE, 20)).save(path)
    assert read_extent(path, SIDE) == (20, SIDE)
    Image.new("RGB", (SIDE + 1, 20)).save(path)
    with pytest.raises(FieldOfViewError, match=f"{SIDE + 1} x 20 px.*whole field of view"):
        decode(path, SIDE)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_huge_image_is_refused_before_it_is_decoded(
    tmp_path: Path, make_png: Callable[..., bytes], side: int, peak_code: str
) -> None:
    (tmp_path / "huge.png").write_bytes(make_png(side, side, 1, 0, bytes(side * (side // 8 + 1))))
    code = f"""
        from pathlib import Path
        from msbatch.cohort.images import FieldOfViewError, decode
        {peak_code}
        before = peak()
        try:
            decode(Path({str(tmp_path / "huge.png")!r}), 256)
        except FieldOfViewError:
            print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert int(done.stdout) < 10_000  # KiB; the pixels alone are 12 to 1200 MB
    assert done.stderr == ""


def test_a_compressed_bomb_in_a_small_tiff_is_refused(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(50 << 20), 9)
    tifffile.imwrite(
        tmp_path / "cell.tif",
        iter([bomb]),
        shape=(60, 50, 3),
        dtype="uint8",
        photometric="rgb",
        compression="deflate",
        rowsperstrip=60,
    )
    assert "cannot be decoded" in refusal(tmp_path / "cell.tif")


@pytest.mark.parametrize("name", ["cell.dcm", "cell.png", "cell"])
def test_dicom_is_refused_in_words_under_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0Doe^Jane")
    with pytest.raises(ImageError, match="it is DICOM, which names the patient"):
        decode(tmp_path / name, 100)


def test_a_tiff_behind_a_dicom_preamble_is_refused_too(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((150, 150, 3), np.uint8)).save(tmp_path / "plain.tif")
    plain = (tmp_path / "plain.tif").read_bytes()
    (tmp_path / "dual.tif").write_bytes(plain[:128] + b"DICM" + plain[132:])
    with pytest.raises(ImageError, match="it is DICOM"):
        decode(tmp_path / "dual.tif", 200)


@pytest.mark.parametrize("suffix", [".svs", ".NDPI", ".mrxs", ".scn", ".czi"])
def test_a_scanners_whole_slide_is_refused_although_its_content_could_be_read(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "slide.tif")
    slide = (tmp_path / "slide.tif").rename(tmp_path / f"slide{suffix}")
    with pytest.raises(ImageError, match="a scanner's whole slide, which may name the patient"):
        decode(slide, 100)
