"""Pseudonyms: stable, told by the key alone; what a key's file must be; what a store under pseudonyms leaves out."""

import csv
import os
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from PIL import Image

from msbatch.cohort.pack import PackOptions, pack
from msbatch.cohort.pseudonyms import Key, new_key, pseudonymised, read_key
from msbatch.cohort.table import Cohort, Patient
from msbatch.errors import MsbatchError
from msbatch.files import sha256
from msbatch.store import Store

Folder = tuple[Path, Path]
SECRET = bytes(range(32))


@pytest.fixture
def key(tmp_path: Path) -> Key:
    new_key(tmp_path / "key")
    return read_key(tmp_path / "key")


@pytest.fixture
def options(key: Key) -> PackOptions:
    return PackOptions(size_px=24, key=key)


def test_a_pseudonym_is_the_keyed_hash_of_the_normalised_identifier() -> None:
    # printf 'msbatch patient\0M\xc3\xbcller' | openssl dgst -sha256 -mac HMAC -macopt hexkey:00...1f -binary | base32
    assert Key(Path("k"), SECRET).pseudonym("Müller") == "P-NNQ4HTFOWA"


def test_every_spelling_of_one_identifier_has_one_pseudonym_and_other_identifiers_have_others(key: Key) -> None:
    name = "Zoë 7"
    spellings = {unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name), f" {name}\t"}
    assert len(spellings) == 3
    assert len({key.pseudonym(spelling) for spelling in spellings}) == 1
    assert len({key.pseudonym(other) for other in ("7", "07", "007", "P7", "p7", name)}) == 6


def test_another_key_gives_other_pseudonyms_and_another_fingerprint(key: Key, tmp_path: Path) -> None:
    new_key(tmp_path / "other")
    other = read_key(tmp_path / "other")
    assert other.pseudonym("P1") != key.pseudonym("P1")
    assert other.fingerprint != key.fingerprint
    assert key.fingerprint not in {key.pseudonym(""), key.pseudonym("").casefold()}


def test_two_patients_of_one_pseudonym_are_refused(key: Key) -> None:
    patients = tuple(Patient(unicodedata.normalize(form, "Zoë"), (), {}) for form in ("NFC", "NFD"))
    with pytest.raises(MsbatchError, match="have the same pseudonym"):
        pseudonymised(Cohort(patients, ("a", "b"), 0, ()), key)


def test_a_new_key_is_random_private_and_never_replaced(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        new_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    content = (tmp_path / "key").read_bytes()
    assert len(bytes.fromhex(content.decode())) == 32
    with pytest.raises(MsbatchError, match="exists already"):
        new_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660])
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    new_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(MsbatchError, match="by others") as caught:
        read_key(tmp_path / "key")
    assert f"chmod 600 {tmp_path / 'key'}" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    new_key(tmp_path / "key")
    os.chown(tmp_path / "key", 65534, -1)
    with pytest.raises(MsbatchError, match="belongs to somebody else"):
        read_key(tmp_path / "key")


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "secret", "g" * 64, "00" * 32 + "\n" + "00" * 32])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(MsbatchError, match="64 hexadecimal digits") as caught:
        read_key(tmp_path / "key")
    assert not text or text not in str(caught.value)


def test_a_key_that_is_missing_a_folder_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, said in (("gone", "no such file"), (".", "is not a file"), ("pipe", "is not a file")):
        with pytest.raises(MsbatchError, match=said) as caught:
            read_key(tmp_path / name)
        assert "msbatch key new" in str(caught.value)


def test_a_key_shows_itself_in_no_text(key: Key) -> None:
    assert key.secret.hex() not in f"{key} {key!r} {PackOptions(key=key)!r}"
    assert repr(key.secret) not in f"{key} {key!r} {PackOptions(key=key)!r}"


def test_the_store_holds_the_same_cells_under_pseudonyms_in_their_order(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    pack(*cohort, tmp_path / "named.h5", replace(options, key=None))
    pack(*cohort, tmp_path / "c.h5", options)
    assert options.key is not None
    with Store(tmp_path / "named.h5") as named, Store(tmp_path / "c.h5") as store:
        assert store.patients == sorted(options.key.pseudonym(name) for name in named.patients)
        for name in named.patients:
            own = options.key.pseudonym(name)
            assert (store.images(own) == named.images(name)).all()
            assert (store.labels(own) == named.labels(name)).all()
            assert not store.attributes(own)
            assert named.attributes(name)
    with h5py.File(tmp_path / "c.h5") as file:
        assert all("source" not in group for group in file["patients"].values())


def test_the_same_key_gives_the_same_bytes_and_only_the_key_does(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    new_key(tmp_path / "other")
    keys = [options.key, options.key, read_key(tmp_path / "other")]
    stores = [tmp_path / f"{number}.h5" for number in range(3)]
    for store, own in zip(stores, keys, strict=True):
        pack(*cohort, store, replace(options, key=own))
    first, again, other = map(sha256, stores)
    assert first == again != other


def test_the_private_table_leads_back(cohort: Folder, tmp_path: Path, options: PackOptions) -> None:
    lookup, options = tmp_path / "who.csv", replace(options, keep=("age",))
    pack(*cohort, tmp_path / "c.h5", replace(options, lookup=lookup))
    assert lookup.stat().st_mode & 0o777 == 0o600
    with lookup.open(newline="") as table, Store(tmp_path / "c.h5") as store:
        rows = list(csv.DictReader(table))
        assert [row["pseudonym"] for row in rows] == store.patients
        assert {row["identifier"] for row in rows} == {"P0", "P1", "P2", "P3"}
        ages = {row["identifier"]: store.attributes(row["pseudonym"])["age"] for row in rows}
    assert ages == {f"P{n}": str(30 + n) for n in range(4)}
    before = lookup.read_bytes()
    with pytest.raises(MsbatchError, match=r"who\.csv exists already"):
        pack(*cohort, tmp_path / "d.h5", replace(options, lookup=lookup))
    assert lookup.read_bytes() == before
    assert not (tmp_path / "d.h5").exists()
    pack(*cohort, tmp_path / "c.h5", replace(options, lookup=lookup, overwrite=True))
    assert lookup.read_bytes() == before


def test_what_a_killed_writer_left_of_the_private_table_is_removed(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / ".who.csv.tmp.1").write_text("pseudonym,identifier")
    pack(*cohort, tmp_path / "c.h5", replace(options, lookup=tmp_path / "own" / "who.csv"))
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["who.csv"]


def test_the_private_table_takes_the_place_of_nothing_else(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    images, table = cohort
    before = table.read_bytes()
    for lookup in (table, tmp_path / "c.h5"):
        with pytest.raises(MsbatchError, match="does not replace it"):
            pack(images, table, tmp_path / "c.h5", replace(options, lookup=lookup, overwrite=True))
    assert table.read_bytes() == before
    assert not (tmp_path / "c.h5").exists()


def test_a_store_is_not_replaced_under_another_key_or_by_names(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    pack(*cohort, tmp_path / "c.h5", options)
    before = (tmp_path / "c.h5").read_bytes()
    new_key(tmp_path / "other")
    again = replace(options, overwrite=True)
    with pytest.raises(MsbatchError, match=r"is not the key that .* was packed with"):
        pack(*cohort, tmp_path / "c.h5", replace(again, key=read_key(tmp_path / "other")))
    with pytest.raises(MsbatchError, match="holds pseudonyms"):
        pack(*cohort, tmp_path / "c.h5", replace(again, key=None))
    assert (tmp_path / "c.h5").read_bytes() == before
    pack(*cohort, tmp_path / "c.h5", again)
    assert (tmp_path / "c.h5").read_bytes() == before


def test_what_cannot_be_read_is_replaced_under_a_key_alone(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    store = tmp_path / "c.h5"
    pack(*cohort, store, options)
    whole = store.read_bytes()
    store.write_bytes(whole[:1000])
    with pytest.raises(MsbatchError, match="may hold pseudonyms") as caught:
        pack(*cohort, store, replace(options, key=None, overwrite=True))
    assert "--pseudonymise" in str(caught.value)
    assert store.read_bytes() == whole[:1000]
    pack(*cohort, store, replace(options, overwrite=True))
    assert store.read_bytes() == whole


@pytest.mark.parametrize("named", [True, False])
def test_pack_replaces_nothing_but_a_store(cohort: Folder, options: PackOptions, named: bool) -> None:
    images, table = cohort
    assert options.key is not None
    for other in (table, options.key.path, images / "P0" / "0.png"):
        before = other.read_bytes()
        with pytest.raises(MsbatchError, match="is no store"):
            pack(images, table, other, replace(options, key=None if named else options.key, overwrite=True))
        assert other.read_bytes() == before


def test_a_private_table_that_cannot_be_written_leaves_the_store_as_it_was(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MsbatchError, match=r"who\.csv cannot be written"):
        pack(*cohort, tmp_path / "c.h5", replace(options, lookup=tmp_path / "file" / "who.csv"))
    assert not list(tmp_path.glob("*c.h5*"))


def test_files_that_are_left_out_are_named_on_the_terminal_alone(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    (cohort[0] / "P1" / "0.png").write_bytes(b"<html>")
    shutil.copy(cohort[0] / "P2" / "0.png", cohort[0] / "P2" / "copy.png")
    pack(*cohort, tmp_path / "c.h5", replace(options, key=None))
    assert (tmp_path / "c.h5.quarantine.csv").exists()
    report = pack(*cohort, tmp_path / "c.h5", replace(options, overwrite=True))
    assert not (tmp_path / "c.h5.quarantine.csv").exists(), "nor does an older one stay"
    said = report.text()
    assert "P1/0.png: it is a web page" in said
    assert "P2/copy.png: it holds the same pixels as P2/0.png" in said
    assert "quarantine.csv" not in said


def test_no_column_that_was_not_asked_for_stays_beside_a_pseudonym(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    report = pack(*cohort, tmp_path / "c.h5", options)
    with Store(tmp_path / "c.h5") as store:
        assert not any(store.attributes(patient) for patient in store.patients)
    assert "Columns left out, as --keep does not name them: sex, age." in report.text()


def test_columns_that_were_asked_for_stay(cohort: Folder, tmp_path: Path, options: PackOptions) -> None:
    report = pack(*cohort, tmp_path / "c.h5", replace(options, keep=("sex",)))
    with Store(tmp_path / "c.h5") as store:
        assert {tuple(store.attributes(patient)) for patient in store.patients} == {("sex",)}
    assert "Columns left out, as --keep does not name them: age." in report.text()
    with pytest.raises(MsbatchError, match="no further column 'sexx' to keep; it has: sex, age"):
        pack(*cohort, tmp_path / "d.h5", replace(options, keep=("sexx",)))


def test_names_in_metadata_of_any_format_do_not_reach_the_store(
    cohort: Folder, tmp_path: Path, options: PackOptions
) -> None:
    for suffix, patient in ((".tif", "P0"), (".jpg", "P1"), (".png", "P2")):
        path = cohort[0] / patient / "0.png"
        image = Image.open(path)
        exif = image.getexif()
        exif[0x010E] = exif[0x9286] = "Jane Canary Doe"
        path.unlink()
        image.save(path.with_suffix(suffix), exif=exif)
        assert b"Canary" in path.with_suffix(suffix).read_bytes()
    pack(*cohort, tmp_path / "c.h5", options)
    assert b"Canary" not in (tmp_path / "c.h5").read_bytes()
