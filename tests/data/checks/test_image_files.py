"""Image files that are missing, broken, turned, or of another size."""

import io

import pytest
from PIL import Image, PngImagePlugin

from stageinteractor.data.checks.image_files import read_image_file
from stageinteractor.data.image_io import read_image


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


def encoded(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    noise().save(stream, kind, **options)
    return stream.getvalue()


KINDS = {
    "jpeg": {"format": "JPEG"},
    "progressive": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP"},
    "bmp": {"format": "BMP"},
}


@pytest.mark.parametrize("name", KINDS)
def test_whole_files_are_readable_and_cut_ones_are_not(tmp_path, name):
    options = dict(KINDS[name])
    data = encoded(options.pop("format"), **options)
    path = tmp_path / "image"
    path.write_bytes(data)
    whole = read_image_file(path)
    assert (whole.width, whole.height, whole.orientation, whole.fault) == (64, 48, 1, None)
    for share in (0.02, 0.3, 0.6, 0.9, 0.98):
        path.write_bytes(data[: int(len(data) * share)])
        cut = read_image_file(path)
        assert cut.fault and cut.exists and cut.width == 0, share


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_files_that_are_not_images(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    fault = read_image_file(tmp_path / "a.png").fault
    assert fault and "\n" not in fault and "BytesIO" not in fault


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_images_are_turned_as_in_training(tmp_path, kind, orientation):
    stored = Image.new("RGB", (64, 48))
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"image.{kind.lower()}"
    stored.save(path, exif=exif)
    file = read_image_file(path)
    assert (file.width, file.height) == read_image(path).size
    assert file.stored_size == (64, 48)


def test_an_orientation_in_the_xmp_of_a_png_is_seen(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:li tiff:Orientation="6"/></x:xmpmeta>')
    noise().save(tmp_path / "a.png", pnginfo=text)
    file = read_image_file(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (file.width, file.height) == (48, 64)


# What is reported


def test_missing_and_unreadable_images_are_errors(content, photos, check):
    (photos / "a.png").unlink()
    (photos / "b.png").write_bytes(b"not an image")
    lines = {f.kind: f.line() for f in check(content).findings}
    assert lines["missing_image"].startswith("image id 11 (a.png): ")
    assert str(photos / "a.png") in lines["missing_image"]
    reason = "cannot be read: not an image of a known kind"
    assert lines["unreadable_image"].startswith(f"image id 12 (b.png): {reason}")


def test_another_size_is_an_error(content, photos, only):
    noise(50, 52).save(photos / "b.png")
    finding = only(content)
    assert (finding.kind, finding.severity) == ("other_size", "error")
    assert finding.problem == "50x50 in the JSON, 50x52 in the file"


@pytest.mark.parametrize("width", ["60", None, 0, -60])
def test_a_size_that_is_none_is_an_error(content, only, width):
    content["images"][0]["width"] = width
    assert only(content).kind == "invalid_size"


def rotated(path, orientation: int, width: int = 60, height: int = 40) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    noise(width, height).save(path, exif=exif)


def test_a_size_before_exif_rotation_is_an_error(content, photos, only):
    rotated(photos / "a.png", 6)
    finding = only(content)
    assert (finding.kind, finding.severity) == ("exif_size", "error")
    assert finding.problem == "60x40 in the JSON, 40x60 in the file, turned by EXIF orientation 6"


@pytest.mark.parametrize(("orientation", "stored"), [(3, (60, 40)), (6, (40, 60))])
def test_a_rotated_image_of_the_right_size_is_a_warning(content, photos, only, orientation, stored):
    rotated(photos / "a.png", orientation, *stored)
    finding = only(content)
    assert (finding.kind, finding.severity) == ("exif", "warning")
    assert f"EXIF orientation {orientation}" in finding.line()
