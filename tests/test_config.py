"""params.yaml as a user writes it: what is impossible is one line that names the place, the value and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vidpred.config import Params, load_params
from vidpred.errors import UserError
from vidpred.training.figures import FURTHER_UNITS

Change = Callable[[str, object], Path]
LEFT_OUT = object()


@pytest.fixture
def change(tmp_path: Path, root: Path) -> Change:
    """Writes the project's params.yaml with one value changed, or left out."""

    def write(place: str, value: object) -> Path:
        values = yaml.safe_load((root / "params.yaml").read_text())
        *above, name = place.split(".")
        section = values
        for key in above:
            section = section[key]
        if value is LEFT_OUT:
            del section[name]
        else:
            section[name] = value
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
        return tmp_path / "params.yaml"

    return write


def told(path: Path) -> str:
    """What a user is told of a params.yaml, without the path."""
    with pytest.raises(UserError) as caught:
        load_params(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    for word in ("Value error", "Input should", "Extra inputs", "Field required", "pydantic"):
        assert word not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("section", ["split", "tune", "train"])
@pytest.mark.parametrize(("seed", "limit"), [(-1, "at least 0"), (2**63, f"less than {2**63}")])
def test_seeds_that_no_generator_takes_are_told(change: Change, section: str, seed: int, limit: str) -> None:
    assert told(change(f"{section}.seed", seed)) == f"{section}.seed is {seed}: it must be {limit}"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("train.step", 3, "train.step is unknown: did you mean steps?"),
        ("train.augment.scale", [1.4, 0.7], "train.augment: scale is [1.4, 0.7]: give the smaller factor first"),
        ("train.augment.scale", [0.1, 1.4], "train.augment.scale[0] is 0.1: it must be at least 0.25"),
        ("train.augment.scale", [2], "train.augment.scale[1] is missing"),
        ("train.augment.scale", [1, 2, 3], "train.augment.scale is [1, 2, 3]: it must be a list of 2 at the most"),
        ("train.augment.scale", 2, "train.augment.scale is 2: it must be a list"),
        ("train.unroll_steps", [], "train.unroll_steps is []: it must be a whole number or a list of 1 or more"),
        (
            "train.augment.flip",
            "up",
            "train.augment.flip is \"up\": it must be true or false or 'left_right' or 'upside_down'",
        ),
        (
            "train.augment.labels",
            {"flip": {}},
            "train.augment.labels.flip is unknown: there are left_right, upside_down, transpose, reverse",
        ),
        ("train.mixup", 0.2, "train.mixup is for task.kind classify, not predict: set it to 0"),
        ("train.augment.stride", 0, "train.augment.stride is 0: it must be at least 1"),
        ("trian", {}, "trian is unknown: did you mean train?"),
        ("flow.zzz", 1, "flow.zzz is unknown: there are method, preset"),
        ("tune.models.warpmix.confg", {}, "tune.models.warpmix.confg is unknown: did you mean config?"),
        (
            "tune.models.warpmix.train.learn_rate",
            [1],
            "tune.models.warpmix.train.learn_rate is unknown: did you mean learning_rate?",
        ),
        ("fetch.source", LEFT_OUT, "fetch.source is missing"),
        ("fetch.source", None, "fetch.source is empty: it must be text"),
        ("fetch", None, "fetch is empty: it must be a section of `key: value` lines"),
        ("train.steps", "many", 'train.steps is "many": it must be a whole number'),
        ("train.steps", 1.5, "train.steps is 1.5: it must be a whole number"),
        ("train.steps", 0, "train.steps is 0: it must be at least 1"),
        ("train.learning_rate", "fast", 'train.learning_rate is "fast": it must be a number'),
        ("transcode.fps", 0, "transcode.fps is 0: it must be more than 0"),
        ("transcode.fit", "crp", "transcode.fit is \"crp\": it must be 'crop', 'pad' or 'stretch'"),
        (
            "transcode.background",
            "red",
            'transcode.background is "red": it must be of the form (black|white|#[0-9a-fA-F]{6})',
        ),
        ("transcode.crop_bars", "maybe", 'transcode.crop_bars is "maybe": it must be true or false'),
        (
            "evaluate.protocol",
            "mathieu2015",
            "evaluate.protocol mathieu2015 is for task.kind predict and task.context 4, not predict and 5",
        ),
        ("split.test", 0.85, "split: val + test is 0.95: leave at least 0.1 for training"),
        ("train.loss", {}, "train: loss is empty: name at least one, such as {perceptual: 1.0}"),
        (
            "transcode.min_frames",
            2,
            "transcode.min_frames is 2, but a window of the task spans 6 frames: set it to at least that",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_value_and_what_to_write(
    change: Change, place: str, value: object, message: str
) -> None:
    assert told(change(place, value)) == message


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"low": 3, "hig": 4}, "W.high is missing; W.hig is unknown: did you mean high?"),
        ({"low": 3, "high": 1}, "W: low 3.0 and high 1.0 span nothing"),
        (
            {"low": 0, "high": 1, "log": True},
            "W: low is 0, but a logarithm has no 0: give a low above it",
        ),
        (3, "W is 3: it must be a section of `key: value` lines or a list"),
        ([], "W is []: it must be a list of 1 or more"),
        ([8, None], "W[1] is empty: it must be true or false, a whole number, a number or text"),
    ],
)
def test_a_value_that_may_be_of_two_kinds_is_told_of_the_one_that_was_meant(
    change: Change, space: object, message: str
) -> None:
    place = "tune.models.warpmix.config.width"
    assert told(change(place, space)) == message.replace("W", place)


def test_every_further_metric_may_be_asked_for_and_no_other(change: Change) -> None:
    known = list(FURTHER_UNITS)
    assert load_params(change("evaluate.metrics", known)).evaluate.metrics == known
    assert told(change("evaluate.metrics", ["pd_movin"])).startswith('evaluate.metrics[0] is "pd_movin": it must be ')


@pytest.mark.parametrize("written", ["1e4", "1.0e4", "10000", "1e+4", "10000.0"])
def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path, root: Path, params: Params, written: str) -> None:
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace(f"steps: {params.train.steps}", f"steps: {written}"))
    assert load_params(tmp_path / "params.yaml").train.steps == 10_000


def test_a_number_with_a_fraction_is_no_count(tmp_path: Path, root: Path, params: Params) -> None:
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace(f"steps: {params.train.steps}", "steps: 1.5e-1"))
    assert told(tmp_path / "params.yaml") == "train.steps is 0.15: it must be a whole number"


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "text"])
def test_a_file_of_something_else_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    assert "it must be a section of `key: value` lines" in told(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", [b"a: [1\n", b"a: \xff\n", b"a: b: c\n"])
def test_a_file_that_is_no_yaml_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(UserError, match="is not YAML"):
        load_params(tmp_path / "params.yaml")


def test_several_mistakes_are_told_at_once(change: Change) -> None:
    path = change("train.step", 3)
    path.write_text(path.read_text().replace("fit: crop", "fit: squash"))
    assert told(path).count(";") == 1
