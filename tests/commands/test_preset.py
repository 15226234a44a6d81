"""`vidpred preset`: what is written into params.yaml, and what stays as it was."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidpred.cli import app
from vidpred.commands.preset import apply_preset, told
from vidpred.config import load_params
from vidpred.errors import UserError

PRESETS = sorted((Path(__file__).resolve().parents[2] / "presets").glob("*.yaml"))


@pytest.fixture
def project(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(root / "presets", tmp_path / "presets")
    (tmp_path / ".dvc").mkdir()
    for name in ("clips", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_makes_sound_params_and_says_how_it_is_run(path: Path) -> None:
    assert any(f"vidpred preset {path.stem}" in line for line in told(path))
    apply_preset(path.stem)
    load_params()
    assert apply_preset(path.stem) == []


def test_values_are_changed_and_comments_stay(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    done = CliRunner().invoke(app, ["preset", "real_videos", "--source", "clips"])
    assert done.exit_code == 0
    assert "transcode.height: 64 -> 96" in done.stdout
    params = load_params()
    assert (params.fetch.source, params.transcode.height, params.evaluate.crop) == ("clips", 96, 64)
    assert "transcode.fps: 10 -> null" in done.stdout
    after = (project / "params.yaml").read_text()
    changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("- ")]
    touched = {line.partition(": ")[0].split(".")[-1] for line in done.stdout.splitlines() if " -> " in line}
    assert {line[2:].partition(":")[0].strip() for line in changed} <= touched | {"config"}
    assert [line.partition("#")[2] for line in after.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in before.splitlines() if "#" in line
    ]


@pytest.mark.usefixtures("project")
def test_one_that_is_there_already_is_told_so() -> None:
    assert "params.yaml is changed: " in CliRunner().invoke(app, ["preset", "own_folder"]).stdout
    done = CliRunner().invoke(app, ["preset", "own_folder"])
    assert done.stdout == "params.yaml has all of it already: `dvc repro` runs it\n"


@pytest.mark.usefixtures("project")
def test_what_is_there_is_listed() -> None:
    done = CliRunner().invoke(app, ["preset"])
    assert [line.split()[0] for line in done.stdout.splitlines()] == [path.stem for path in PRESETS]


def test_an_unknown_or_unsound_one_changes_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    with pytest.raises(UserError, match=r"no preset is called 'real': did you mean real_videos\?"):
        apply_preset("real")
    with pytest.raises(UserError, match=r"no preset is called '../params': presets/ has cat_gifs, digits"):
        apply_preset("../params")
    for source, why in (
        ("clisp", r"--source is clisp, which is not there \(did you mean clips\?\)"),
        ("~/clips", "--source is ~/clips, and DVC expands neither ~ nor variables: write /"),
        ("", "--source is empty: give a folder of clips"),
        ("https://host/cat.gif", "--source is https://host/cat.gif, but must be a path"),
    ):
        with pytest.raises(UserError, match=why):
            apply_preset("own_folder", source)
    (project / "presets" / "mine.yaml").write_text("# mine\ntranscode: {drop_repeats: true}\n")
    with pytest.raises(UserError, match=r"preset mine: params.yaml: .*drop_repeats"):
        apply_preset("mine")
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_what_was_applied_before_leaves_nothing_behind(path: Path, project: Path) -> None:
    apply_preset(path.stem, "clips")
    alone = load_params()
    for other in PRESETS:
        shutil.copy(project / "presets" / other.name, project / "presets" / "other.yaml")
        apply_preset("other", "elsewhere")
        apply_preset(path.stem, "clips")
        assert load_params() == alone, other.stem


def test_digits_is_params_yaml_as_it_comes(root: Path, project: Path) -> None:
    apply_preset("moving_mnist")
    apply_preset("digits")
    assert load_params(project / "params.yaml") == load_params(root / "params.yaml")


@pytest.mark.usefixtures("project")
def test_a_mapping_that_is_no_section_is_replaced_as_a_whole() -> None:
    assert load_params().train.loss == {"perceptual": 1.0, "gdl": 0.25}
    changes = apply_preset("moving_mnist")
    assert load_params().train.loss == {"mse": 1.0}
    assert any(line.startswith("train.loss: ") for line in changes)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_tells_hardware_time_and_what_to_expect(path: Path) -> None:
    said = " ".join(told(path))
    assert "Hardware: " in said
    assert "Time" in said
    assert "xpect" in said or "not measured" in said or "not yet measured" in said
