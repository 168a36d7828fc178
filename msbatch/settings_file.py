"""Settings as text: read from TOML files, with flags laid over them, and written as TOML."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msbatch.config import Settings
from msbatch.errors import MsbatchError
from msbatch.files import read_text
from msbatch.layout import data_dir


def load_settings(path: Path, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """Read the settings file, if there is one, and lay flags over it.

    Parameters
    ----------
    path : Path
        A TOML file; defaults hold where it does not exist.
    overrides : mapping, optional
        Section to key to value; values that are None are left out.

    Raises
    ------
    MsbatchError
        For text that is not TOML, an unknown key (naming the nearest valid one) or a value out of range.
    """
    merged: dict[str, Any] = _over_site(read_toml(path) if path.is_file() else {})
    if site := (overrides or {}).get("cluster", {}).get("site"):
        merged = {**merged, "cluster": {**merged.get("cluster", {}), **read_site(Path(site))}}
    for section, values in (overrides or {}).items():
        given = {key: value for key, value in values.items() if value is not None}
        present = merged.get(section, {})
        if isinstance(present, dict):  # what is no table is refused below
            merged[section] = {**present, **given}
    return parse_settings(merged, str(path))


def read_site(path: Path) -> dict[str, Any]:
    """Read a site's settings: the keys of [cluster], without that heading.

    Parameters
    ----------
    path : Path
        A TOML file, or the name of one that ships with msbatch.

    Raises
    ------
    MsbatchError
        If it cannot be read, or a key or value does not fit.
    """
    shipped = data_dir("slurm") / f"{path.name}.toml"
    source = path if path.is_file() or not shipped.is_file() else shipped
    values = read_toml(source)
    unlimited = {"time_min": 10**6} if "signal_lead_s" not in values else {}  # which of the two is wrong is seen later
    parse_settings({"cluster": {**values, **unlimited}}, str(source))
    return values


def _over_site(values: dict[str, Any]) -> dict[str, Any]:
    """Lay the settings of a file over those of the site that it names."""
    cluster = values.get("cluster", {})
    if not isinstance(cluster, dict) or not isinstance(cluster.get("site"), str):  # what it is then is refused below
        return values
    return {**values, "cluster": {**read_site(Path(cluster["site"])), **cluster}}


def parse_settings(values: Mapping[str, Any], source: str) -> Settings:
    """Check raw settings.

    Raises
    ------
    MsbatchError
        For the first key or value that does not fit, naming it and `source`.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _explain(error, source) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    MsbatchError
        If it is not TOML; the message gives the line.
    """
    try:
        return tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number too long, or nested too deeply
        raise MsbatchError(f"{path} cannot be read as TOML: {error}.") from None


def to_toml(settings: Settings, left_out: Container[str] = ()) -> str:
    """Write settings as commented TOML, the text that `read_toml` reads back; some sections as comments only."""
    lines: list[str] = []
    for name, section in settings:
        lines += [f"# {type(section).__doc__}", f"[{name}]"]
        for key, field in type(section).model_fields.items():
            value = section.model_dump(mode="json")[key]
            text = f"{key} = {json.dumps(value, ensure_ascii=False)}" if value is not None else f"{key} ="
            mark = "# " if value is None or name in left_out else ""
            lines.append(f"{mark}{text}  # {field.description}")
        lines.append("")
    return "\n".join(lines)


def _explain(error: ValidationError, source: str) -> MsbatchError:
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"]]
    dotted = ".".join(keys)
    if first["type"] == "value_error":
        return MsbatchError(f"{source} and flags: {dotted}: {first['msg'].removeprefix('Value error, ')}.")
    if first["type"] != "extra_forbidden":
        return MsbatchError(f"{source}: {dotted}: {first['msg']} (it is {first['input']!r}).")
    known = _known_keys(keys[:-1])
    near = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0)
    return MsbatchError(
        f"{source}: there is no setting {dotted}.", f"The nearest is {near[0]}; all: {', '.join(known)}."
    )


def _known_keys(section: list[str]) -> list[str]:
    model: Any = Settings
    for key in section:
        model = model.model_fields[key].annotation
    return list(model.model_fields)
