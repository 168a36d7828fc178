"""From files to a store: what it holds, that it is always the same, and what is left out or refused."""

import csv
import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from msbatch.cohort.features import FEATURES, measure
from msbatch.cohort.pack import PackOptions, pack
from msbatch.errors import MsbatchError
from msbatch.files import sha256
from msbatch.store import Store

Cohort = tuple[Path, Path]
MakeTable = Callable[..., Path]
Noise = Callable[..., np.ndarray]
SMALL = PackOptions(size_px=24)


def quarantine(store: Path) -> dict[str, str]:
    with store.with_name(store.name + ".quarantine.csv").open(encoding="utf-8", newline="") as handle:
        return {row["file"]: row["reason"] for row in csv.DictReader(handle)}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_the_store_holds_what_the_files_hold(cohort: Cohort, tmp_path: Path) -> None:
    report = pack(*cohort, tmp_path / "c.h5", SMALL)
    assert (report.patients, report.cells, report.per_class) == (4, 12, {"control": 6, "ms": 6})
    pixels = np.asarray(Image.open(cohort[0] / "P1" / "2.png"))
    with Store(tmp_path / "c.h5") as store:
        assert store.patients == ["P0", "P1", "P2", "P3"]
        assert store.feature_names == list(FEATURES)
        assert store.level == "patient"
        assert (store.images("P1")[2, 2:22, 4:20] == pixels).all()
        assert store.labels("P1").tolist() == [1, 1, 1]
        assert store.extents("P1").tolist() == [[20, 16]] * 3
        assert (store.features("P1")[2] == measure(pixels)).all()
        assert store.attributes("P1") == {"sex": "F", "age": "31"}


def test_the_file_has_the_schema_and_readers_can_map_it(cohort: Cohort, tmp_path: Path) -> None:
    pack(*cohort, tmp_path / "c.h5", SMALL)
    with h5py.File(tmp_path / "c.h5") as file:
        group = file["patients/P1"]
        assert [source.decode() for source in group["source"]] == ["P1/0.png", "P1/1.png", "P1/2.png"]
        pixels = np.asarray(Image.open(cohort[0] / "P1" / "0.png"))
        assert group["digest"][0].decode() == hashlib.sha256(b"20x16:" + pixels.tobytes()).hexdigest()
        assert {name: str(group[name].dtype) for name in ("images", "labels", "digest", "extent", "features")} == {
            "images": "uint8",
            "labels": "uint8",
            "digest": "|S64",
            "extent": "uint16",
            "features": "float32",
        }
        offset, shape = group["images"].id.get_offset(), group["images"].shape
        wanted = group["images"][()]
        assert json.loads(file.attrs["settings"])["fit"] == "pad"
    mapped = np.memmap(tmp_path / "c.h5", np.uint8, "r", offset, shape)
    assert (mapped == wanted).all()


def test_the_bytes_do_not_depend_on_workers_or_the_clock(cohort: Cohort, tmp_path: Path) -> None:
    (cohort[0] / "P2" / "broken.png").write_bytes(b"")
    first = pack(*cohort, tmp_path / "a.h5", SMALL)
    time.sleep(1.1)  # HDF5 would keep whole seconds
    other = pack(*cohort, tmp_path / "b.h5", PackOptions(size_px=24, workers=3))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert first.quarantined == other.quarantined


def test_the_hash_stands_beside_the_store(cohort: Cohort, tmp_path: Path) -> None:
    report = pack(*cohort, tmp_path / "c.h5", SMALL)
    assert (tmp_path / "c.h5.sha256").read_text() == f"{report.sha256}  c.h5\n"
    assert report.sha256 == sha256(tmp_path / "c.h5")
    assert files(tmp_path) == ["c.h5", "c.h5.sha256", "cohort.csv"]
    assert oct((tmp_path / "c.h5").stat().st_mode)[-3:] == "600"


def test_unusable_files_are_listed_with_their_reason_and_the_rest_is_packed(cohort: Cohort, tmp_path: Path) -> None:
    images = cohort[0]
    (images / "P0" / "empty.png").write_bytes(b"")
    (images / "P0" / "page.png").write_text("<html></html>")
    (images / "P1" / "cut.png").write_bytes((images / "P1" / "0.png").read_bytes()[:500])
    Image.new("RGB", (100, 20)).save(images / "P2" / "field.png")
    (images / "P3" / "gone.png").symlink_to("nowhere.png")
    (images / "P3" / "scan.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (images / "P3" / "slide.SVS").write_bytes(b"II*\0")
    os.truncate(images / "P3" / "slide.SVS", 70 << 20)
    (images / "P3" / "moving.gif").write_bytes(b"GIF89a")
    (images / "P3" / "notes.txt").write_text("no image, so nobody misses it")
    report = pack(*cohort, tmp_path / "c.h5", SMALL)
    assert report.cells == 12
    found = quarantine(tmp_path / "c.h5")
    assert found == dict(report.quarantined)
    reasons = {
        "P0/empty.png": "empty",
        "P0/page.png": "web page",
        "P1/cut.png": "cannot be decoded",
        "P2/field.png": "100 x 20 px",
        "P3/gone.png": "does not exist",
        "P3/scan.dcm": "DICOM",
        "P3/slide.SVS": "whole slide",
        "P3/moving.gif": "no PNG, JPEG, TIFF or BMP",
    }
    assert found.keys() == reasons.keys()
    assert all(reason in found[name] for name, reason in reasons.items())
    assert "Left out: 8 files" in report.text()


def test_a_file_that_a_spreadsheet_would_run_is_quoted_in_the_list(cohort: Cohort, tmp_path: Path) -> None:
    images, table = cohort
    (images / "P0").rename(images / "=P0")
    table.write_text(table.read_text().replace("P0", "=P0"))
    (images / "=P0" / "empty.png").write_bytes(b"")
    report = pack(images, table, tmp_path / "c.h5", SMALL)
    assert dict(report.quarantined).keys() == {"=P0/empty.png"}
    assert quarantine(tmp_path / "c.h5").keys() == {"'=P0/empty.png"}
    with Store(tmp_path / "c.h5") as store:
        assert store.patients == ["=P0", "P1", "P2", "P3"]


def test_a_pipe_among_the_images_is_left_out(cohort: Cohort, tmp_path: Path) -> None:
    os.mkfifo(cohort[0] / "P0" / "pipe.png")
    pack(*cohort, tmp_path / "c.h5", SMALL)
    assert "no regular file" in quarantine(tmp_path / "c.h5")["P0/pipe.png"]


def test_a_later_pack_without_such_files_removes_the_list(cohort: Cohort, tmp_path: Path) -> None:
    (cohort[0] / "P0" / "empty.png").write_bytes(b"")
    pack(*cohort, tmp_path / "c.h5", SMALL)
    (cohort[0] / "P0" / "empty.png").unlink()
    pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=24, overwrite=True))
    assert files(tmp_path) == ["c.h5", "c.h5.sha256", "cohort.csv"]


@pytest.mark.parametrize("name", ["empty.png", "copy.png"])
def test_strict_fails_on_the_first_such_file(cohort: Cohort, tmp_path: Path, name: str) -> None:
    (cohort[0] / "P0" / name).write_bytes(b"" if name == "empty.png" else (cohort[0] / "P0" / "0.png").read_bytes())
    with pytest.raises(MsbatchError, match=f"P0/{name}: it"):
        pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=24, strict=True))
    assert files(tmp_path) == ["cohort.csv"]


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n"])
def test_a_patient_who_loses_every_image_is_an_error(cohort: Cohort, tmp_path: Path, data: bytes) -> None:
    for path in (cohort[0] / "P2").iterdir():
        path.write_bytes(data)
    with pytest.raises(MsbatchError, match=r"Patient P2 has no usable image; the first is P2/0\.png"):
        pack(*cohort, tmp_path / "c.h5", SMALL)
    assert files(tmp_path) == ["cohort.csv"]


def test_a_patient_whose_images_are_all_truncated_is_an_error_too(cohort: Cohort, tmp_path: Path) -> None:
    for path in (cohort[0] / "P2").iterdir():
        path.write_bytes(path.read_bytes()[:-200])  # the header is whole
    with pytest.raises(MsbatchError, match=r"Patient P2 has no usable image.*cannot be decoded"):
        pack(*cohort, tmp_path / "c.h5", SMALL)
    assert files(tmp_path) == ["cohort.csv"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_pixels_in_two_patients_are_refused_naming_both(cohort: Cohort, tmp_path: Path, workers: int) -> None:
    Image.open(cohort[0] / "P0" / "1.png").save(cohort[0] / "P3" / "other name.bmp")
    with pytest.raises(MsbatchError, match=r"P0 and P3 share the same pixels: P0/1\.png and P3/other name\.bmp"):
        pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=24, workers=workers))
    assert files(tmp_path) == ["cohort.csv"]


def test_the_same_pixels_twice_in_a_patient_are_kept_once(cohort: Cohort, tmp_path: Path) -> None:
    Image.open(cohort[0] / "P0" / "1.png").save(cohort[0] / "P0" / "copy.tif")
    report = pack(*cohort, tmp_path / "c.h5", SMALL)
    assert report.cells == 12
    assert quarantine(tmp_path / "c.h5") == {"P0/copy.tif": "it holds the same pixels as P0/1.png"}


def test_the_same_pixels_under_two_labels_are_refused(cohort: Cohort, tmp_path: Path, make_table: MakeTable) -> None:
    Image.open(cohort[0] / "P0" / "1.png").save(cohort[0] / "P0" / "copy.png")
    table = make_table(("path", "patient", "label"), ("P0/1.png", "A", "ms"), ("P0/copy.png", "A", "control"))
    with pytest.raises(MsbatchError, match="two labels"):
        pack(cohort[0], table, tmp_path / "c.h5", SMALL)


def test_a_folder_of_fields_of_view_is_refused_as_a_whole(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(MsbatchError, match="12 of 12 images look like whole fields of view") as caught:
        pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=9))
    assert "--size" in caught.value.hint


def test_one_scale_for_the_cohort_and_what_is_cropped_is_counted(
    tmp_path: Path, make_table: MakeTable, noise: Noise
) -> None:
    for cell in range(201):
        path = tmp_path / "images" / "AB"[cell % 2] / f"{cell}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 60 if cell == 1 else 40
        Image.fromarray(noise((side, side, 3), cell)).save(path)
    table = make_table(("patient", "label"), ("A", "ms"), ("B", "control"))
    report = pack(tmp_path / "images", table, tmp_path / "c.h5", PackOptions(size_px=32))
    assert report.scale == pytest.approx(32 / 40)
    assert report.cropped == 1
    assert "scaled by 0.800" in report.text()
    with Store(tmp_path / "c.h5") as store:
        assert store.settings["scale"] == report.scale
        assert store.settings["cropped"] == 1
        assert store.extents("B").max() == 60


def test_an_existing_store_is_replaced_only_on_request(cohort: Cohort, tmp_path: Path) -> None:
    pack(*cohort, tmp_path / "c.h5", SMALL)
    before = (tmp_path / "c.h5").read_bytes()
    with pytest.raises(MsbatchError, match="exists already"):
        pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=32))
    assert (tmp_path / "c.h5").read_bytes() == before
    report = pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=32, overwrite=True))
    with Store(tmp_path / "c.h5") as store:
        assert store.size == 32
    assert report.sha256 in (tmp_path / "c.h5.sha256").read_text()


def test_a_failed_pack_leaves_an_existing_store_as_it_is(cohort: Cohort, tmp_path: Path) -> None:
    pack(*cohort, tmp_path / "c.h5", SMALL)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    for path in (cohort[0] / "P2").iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MsbatchError, match="P2"):
        pack(*cohort, tmp_path / "c.h5", PackOptions(size_px=24, overwrite=True))
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_cells_may_carry_the_label(cohort: Cohort, tmp_path: Path, make_table: MakeTable) -> None:
    rows = [(f"P{n}/{c}.png", f"P{n}", ("ms", "control")[c % 2]) for n in range(4) for c in range(3)]
    pack(cohort[0], make_table(("file", "subject", "class"), *rows), tmp_path / "c.h5", SMALL)
    with Store(tmp_path / "c.h5") as store:
        assert store.level == "cell"
        assert store.labels("P2").tolist() == [1, 0, 1]


def test_a_single_class_is_packed_with_a_warning(cohort: Cohort, tmp_path: Path, make_table: MakeTable) -> None:
    table = make_table(("patient", "label"), *[(f"P{n}", "ms") for n in range(4)])
    report = pack(cohort[0], table, tmp_path / "c.h5", SMALL)
    assert "no cell of class (none)" in report.text()


def test_progress_counts_every_image_in_both_phases(cohort: Cohort, tmp_path: Path) -> None:
    counted: dict[str, list[int]] = {}

    def progress(label: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        counted[label] = [total, 0]
        assert unit == "images"

        def advance(n: int) -> None:
            counted[label][1] += n

        return nullcontext(advance)

    pack(*cohort, tmp_path / "c.h5", SMALL, progress)
    assert counted == {"reading headers": [12, 12], "packing": [12, 12]}


def test_names_in_metadata_do_not_reach_the_store(cohort: Cohort, tmp_path: Path) -> None:
    path = cohort[0] / "P0" / "0.png"
    image = Image.open(path)
    exif = image.getexif()
    exif[0x010E] = "Jane Canary Doe"
    image.save(path.with_suffix(".tif"), exif=exif, description="Jane Canary Doe")
    path.unlink()
    assert b"Canary" in path.with_suffix(".tif").read_bytes()
    pack(*cohort, tmp_path / "c.h5", SMALL)
    assert b"Canary" not in (tmp_path / "c.h5").read_bytes()


@pytest.mark.realdata
def test_real_cells_pack(tmp_path: Path, make_table: MakeTable) -> None:
    root = Path(os.environ.get("MSBATCH_SHARED", Path(__file__).parents[2] / ".." / "shared"))
    folder = root / "data" / "malaria_cells12"
    if not folder.is_dir():
        pytest.skip(f"the real cell images are not at {folder}")
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    chosen = [row for row in rows if row[header.index("patient_id")] in ("C103", "C113", "C39")]
    report = pack(folder, make_table(header, *chosen), tmp_path / "c.h5", PackOptions(label="cell_class", workers=2))
    assert (report.patients, report.cells) == (3, 180)
    assert report.per_class == {"uninfected": 90, "parasitized": 90}
    assert report.quarantined == ()
    assert 0.5 < report.scale < 1
    with Store(tmp_path / "c.h5") as store:
        assert store.level == "cell"
        sides = store.features("C39")[:, [FEATURES.index("height"), FEATURES.index("width")]]
        # These crops are tight, so a mask that found the cell reaches nearly from border to border.
        assert np.median(sides / store.extents("C39")) > 0.9
