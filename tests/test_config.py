"""Settings: read, overridden, written, and refused by name."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbatch.config import Settings, full_name, short_name
from msbatch.errors import MsbatchError
from msbatch.files import sha256_json
from msbatch.settings_file import load_settings, parse_settings, to_toml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "msbatch.toml"


def test_without_a_file_the_defaults_hold(file: Path) -> None:
    assert load_settings(file) == Settings()


def test_flags_override_the_file_and_the_file_overrides_defaults(file: Path) -> None:
    file.write_text("[plan]\nseed = 7\nval_patients = 3\n[training]\nlr = 0.1\n")
    settings = load_settings(file, {"plan": {"seed": 8, "val_patients": None}, "compute": {"threads": 2}})
    assert (settings.plan.seed, settings.plan.val_patients, settings.training.lr) == (8, 3, 0.1)
    assert settings.compute.threads == 2


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("[plan]\nsede = 1\n", "there is no setting plan.sede", "The nearest is seed"),
        ("[trainnig]\nlr = 1\n", "there is no setting trainnig", "The nearest is training"),
        ("seed = 1\n", "there is no setting seed", "The nearest is"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_valid_one(file: Path, text: str, problem: str, hint: str) -> None:
    file.write_text(text)
    with pytest.raises(MsbatchError) as refusal:
        load_settings(file)
    assert problem in refusal.value.problem
    assert str(file) in refusal.value.problem
    assert refusal.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[plan]\nseed = -1\n", "plan.seed"),
        ("[plan]\nbackbones = []\n", "plan.backbones"),
        ("[training]\nlr = 'fast'\n", "training.lr"),
        ("[training]\nprecision = 'fp8'\n", "training.precision"),
        ("[compute]\ndevice = 'tpu'\n", "compute.device"),
        ("plan = 3\n", "plan"),
        ("[plan]\ntrain_on = 'women'\n", "plan.train_on"),
        ("[plan]\nseeds = 0\n", "plan.seeds"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_key(file: Path, text: str, key: str) -> None:
    file.write_text(text)
    with pytest.raises(MsbatchError, match=rf"{key}: "):
        load_settings(file, {"plan": {"val_patients": 1}})


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 50_000,
        "a = " + "9" * 5000,
        "[plan]\nseed = " + "9" * 400,
        "[plan]\nseed = 007",
        "[plan]\nrebalance = no",
        '[plan]\nbackbones = "\\u001b[2J"',
        '[plan]\n"\\u001b[2J" = 1',
        "!!python/object/apply:os.system [touch ran]",
        "[plan]\nseed = nan",
        "plan = 3",
        "[[plan]]\nseed = 3",
        "[cluster]\nsite = [3]",
        "\x00",
    ],
)
def test_settings_of_an_adversary_are_one_line_and_nothing_is_run(
    file: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    file.write_text(text)
    with pytest.raises(MsbatchError) as caught:
        load_settings(file)
    assert caught.value.problem.replace("\n", "").isprintable()
    assert len(caught.value.problem) < 3000
    assert list(file.parent.iterdir()) == [file]


def test_what_looks_like_a_number_or_a_truth_stays_text(file: Path) -> None:
    file.write_text('[plan]\ntrain_on = "sex=007"\nbalance = ["no", "0123"]\n')
    plan = load_settings(file).plan
    assert (plan.train_on, plan.balance) == ("sex=007", ("class", "no", "0123"))


def test_text_that_is_no_toml_is_refused_with_its_line(file: Path) -> None:
    file.write_text("[plan]\nseed = = 3\n")
    with pytest.raises(MsbatchError, match=r"cannot be read as TOML.*line 2"):
        load_settings(file)


@pytest.mark.parametrize(
    "values", [{}, {"plan": {"val_patients": 2, "backbones": ["a", "b"], "train_on": "sex=F"}, "training": {"lr": 1}}]
)
def test_written_settings_are_read_back_and_keep_their_identity(values: dict[str, dict[str, object]]) -> None:
    settings = parse_settings(values, "test")
    again = parse_settings(tomllib.loads(to_toml(settings)), "test")
    assert again == settings
    assert sha256_json(again.scientific()) == sha256_json(settings.scientific())


names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(lambda text: text.isprintable())


@given(names)
def test_any_printable_path_survives_being_written(name: str) -> None:
    settings = parse_settings({"weights": {"dir": f"/weights/{name}"}}, "test")
    assert parse_settings(tomllib.loads(to_toml(settings)), "test") == settings


def test_every_written_setting_says_what_it_means() -> None:
    lines = [line for line in to_toml(Settings()).splitlines() if "=" in line]
    assert all("  # " in line for line in lines)
    assert any(line.startswith("# val_patients =") for line in lines)


def test_resources_and_places_are_no_part_of_the_identity() -> None:
    other = parse_settings({"compute": {"threads": 9, "device": "cuda"}, "weights": {"dir": "/x"}}, "test")
    assert other.scientific() == Settings().scientific()
    assert parse_settings({"augment": {"blur": 0.5}}, "test").scientific() != Settings().scientific()
    assert parse_settings({"weights": {"pretrained": False}}, "test").scientific() != Settings().scientific()


def test_classes_are_always_in_balance() -> None:
    def balance(*names: str) -> tuple[str, ...]:
        return parse_settings({"plan": {"balance": names}}, "test").plan.balance

    assert balance() == balance("class") == Settings().plan.balance == ("class",)
    assert balance("sex") == balance("class", "sex") == balance("sex", "class") == ("class", "sex")


def test_only_a_design_that_is_asked_for_is_part_of_the_identity() -> None:
    same = parse_settings({"plan": {"balance": ["class"], "seeds": 4, "permute_labels": 9}}, "test")
    assert same.scientific() == Settings().scientific()
    other = parse_settings({"plan": {"rebalance": True, "train_on": "sex=F"}}, "test").scientific()
    assert other == {**Settings().scientific(), "rebalance": True, "train_on": "sex=F"}


def test_short_names_stand_for_timm_names_and_others_for_themselves() -> None:
    assert full_name("swin") == "swin_tiny_patch4_window7_224"
    assert full_name("resnet50") == "resnet50"
    assert full_name("some_other_network") == "some_other_network"
    assert full_name("swin.seed-1") == "swin_tiny_patch4_window7_224.seed-1"
    assert full_name("resnet50.a1_in1k") == "resnet50.a1_in1k"
    assert short_name("swin_tiny_patch4_window7_224.seed-1") == "swin.seed-1"
    assert short_name("some_other_network") == "some_other_network"
