"""What may stand in the file of a store: anything else is refused before a value of it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o

from msbatch.text import has_control, shown

PATIENTS = "patients"
KINDS = {
    "images": np.dtype("uint8"),
    "labels": np.dtype("uint8"),
    "digest": np.dtype("S64"),
    "extent": np.dtype("uint16"),
    "features": np.dtype("float32"),
}
DATASETS = tuple(KINDS)
OPTIONAL = ("source",)  # where cells came from; never read

MAX_SIZE_PX = 1024
MAX_TEXT_BYTES = 1 << 20
MAX_PATIENT_BYTES = 64 << 30

Shape = tuple[int, ...]


class SchemaError(ValueError):
    """A file holds what no store has; the message is a clause that begins with "it" or with a part's name."""


def check_schema(file: h5py.File) -> int:
    """Check all groups and datasets of a store, reading nothing but their headers; give the number of patients.

    Every link has to lead to an object of this very file, every dataset to hold all the bytes that it declares, as they
    are: no external link, soft link, external storage, virtual dataset, filter or unwritten part.

    Raises
    ------
    SchemaError
        Where that is not so; the message names the first place.
    Exception
        Whatever HDF5 raises on a damaged file.
    """
    size, width = number(file.id, "size"), len(texts(file.id, "features"))
    if not 1 <= size <= MAX_SIZE_PX:
        raise SchemaError(f"its cells are {size} px wide")
    _only(file.id, (PATIENTS,), "it")
    group = _group(file.id, PATIENTS)
    names = list(group)
    for name in names:
        _check_patient(group, name, size, width)
    return len(names)


def number(owner: h5o.ObjectID, name: str) -> int:
    """Read an attribute that is one integer.

    Raises
    ------
    SchemaError
        If it is missing or something else.
    """
    value = _attribute(owner, name, lambda dtype: dtype.kind in "iu")
    return int(value)


def text(owner: h5o.ObjectID, name: str) -> str:
    """Read an attribute that is one text of at most 1 MiB; raises as `number`."""
    value = _attribute(owner, name, lambda dtype: h5py.check_string_dtype(dtype) is not None)
    if len(value) > MAX_TEXT_BYTES:  # of a text of variable length this is not known before
        raise SchemaError(f"its attribute {name} is too long")
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def texts(owner: h5o.ObjectID, name: str) -> list[str]:
    """Read an attribute that is a JSON list of texts; raises as `number`."""
    value: list[str] = parsed(owner, name, list)
    if not all(isinstance(each, str) for each in value):
        raise SchemaError(f"its {name} are not all text")
    return value


def parsed(owner: h5o.ObjectID, name: str, kind: type) -> Any:
    """Read an attribute that is JSON of a kind, list or dict; raises as `number`."""
    try:
        value = json.loads(text(owner, name))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, SchemaError) else SchemaError(f"its {name} are not JSON") from None
    if not isinstance(value, kind):
        raise SchemaError(f"its {name} are not a JSON {kind.__name__}")
    return value


def _attribute(owner: h5o.ObjectID, name: str, fits: Callable[[np.dtype[Any]], bool]) -> Any:
    if not h5a.exists(owner, name.encode()):
        raise SchemaError(f"its attribute {name} is missing")
    attribute = h5a.open(owner, name.encode())
    if attribute.shape != () or attribute.get_storage_size() > MAX_TEXT_BYTES or not fits(attribute.dtype):
        raise SchemaError(f"its attribute {name} is of another kind")
    value = np.empty((), attribute.dtype)
    attribute.read(value, h5py.h5t.py_create(value.dtype))
    return value[()]


def _check_patient(patients: h5g.GroupID, raw_name: bytes, size: int, width: int) -> None:
    name = raw_name.decode(errors="surrogateescape")
    if has_control(name):
        raise SchemaError(f"the patient {shown(name)} has a name that cannot be shown")
    group, where = _group(patients, name), f"patient {name}"
    there = _only(group, DATASETS + OPTIONAL, where)
    missing = [each for each in DATASETS if each not in there]
    if missing:
        raise SchemaError(f"{where} lacks {', '.join(missing)}")
    opened = {each: _dataset(group, each, where) for each in there}
    count = opened["labels"].shape[0] if opened["labels"].rank == 1 else 0
    if count < 1:
        raise SchemaError(f"{where} has no list of cells")
    for each, dataset in opened.items():
        if each in KINDS:
            shape = {"images": (count, size, size, 3), "extent": (count, 2), "features": (count, width)}.get(each)
            _check_array(dataset, KINDS[each], shape or (count,), f"{each} of {where}")


def _check_array(dataset: h5d.DatasetID, dtype: np.dtype[Any], shape: Shape, where: str) -> None:
    found = dataset.shape
    if dataset.dtype != dtype or len(found) != len(shape):
        raise SchemaError(f"{where} are of another kind than {dtype}")
    if found[0] != shape[0]:
        raise SchemaError(f"{where.partition(' of ')[2]} has datasets of different lengths")
    if found != shape:
        raise SchemaError(f"{where} have the shape {found}, not {shape}")
    declared, held = dtype.itemsize * math.prod(shape), dataset.get_storage_size()
    if declared > MAX_PATIENT_BYTES:
        raise SchemaError(f"{where} declare {declared >> 30} GiB")
    if declared > held:
        raise SchemaError(f"{where} declare {declared} bytes, of which the file holds {held}")


def _group(parent: h5g.GroupID, name: str) -> h5g.GroupID:
    opened = _opened(parent, name)
    if not isinstance(opened, h5g.GroupID):
        raise SchemaError(f"{name} is not a group")
    return opened


def _dataset(parent: h5g.GroupID, name: str, where: str) -> h5d.DatasetID:
    opened = _opened(parent, name)
    if not isinstance(opened, h5d.DatasetID):
        raise SchemaError(f"{name} of {where} is not a dataset")
    properties = opened.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL or properties.get_external_count():
        raise SchemaError(f"{name} of {where} lie in another file")
    if properties.get_nfilters():
        raise SchemaError(f"{name} of {where} are compressed or filtered")
    return opened


def _opened(parent: h5g.GroupID, name: str) -> h5o.ObjectID:
    raw_name = name.encode(errors="surrogateescape")
    if parent.links.get_info(raw_name).type != h5l.TYPE_HARD:
        raise SchemaError(f"{name} is a link, which may lead to another file")
    return h5o.open(parent, raw_name)


def _only(group: h5g.GroupID, known: tuple[str, ...], where: str) -> list[str]:
    there = [name.decode(errors="replace") for name in group]
    strange = [name for name in there if name not in known]
    if strange:
        raise SchemaError(f"{where} holds {shown(strange[0])}, which no store has")
    return there
