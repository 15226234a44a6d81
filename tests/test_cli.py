"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from vidpred import __version__
from vidpred.cli import STAGES
from vidpred.config import Params

HEAVY = ("cv2", "jinja2", "matplotlib", "mlflow", "numpy", "pandas", "pyarrow", "ray", "sklearn", "torch")
COMMANDS = ("predict", "models", "doctor", "summary", "clean", "ui", "check", "data", "leaderboard", "serve")
ROOT = str(Path(__file__).parents[1])
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def vidpred(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder, with no settings of this machine."""
    clean = {k: v for k, v in os.environ.items() if k not in ("VIDPRED_HOME", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return subprocess.run(
        [sys.executable, "-c", "from vidpred.cli import main; main()", *arguments],
        cwd=cwd,
        env=clean | {"COLUMNS": "140", "PYTHONPATH": ROOT} | (env or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def only_line(text: str) -> str:
    """The one line of a message."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_help_and_refusals_speak_of_options_and_not_of_the_library_that_reads_them(tmp_path: Path) -> None:
    told = vidpred("predict", "--help", cwd=tmp_path).stdout
    assert "--side-by-side" in told
    assert "bool" not in told  # a switch takes no value
    for arguments, said in (
        (("export", "m", "-o", "m.onnx", "--format", "foo"), "'foo' is not one of 'onnx', 'torch'"),
        (("predict", "m", "x.gif", "--frames", "many"), "it should be a valid integer."),
        (("predict", "m", "x.gif", "--frames", "0"), "it should be greater than or equal to 1."),
    ):
        done = vidpred(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr
        assert not re.search("Value error|Input should|parse string", done.stderr)


def test_a_path_that_is_not_utf8_can_be_told(root: Path, tmp_path: Path) -> None:
    home = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        home.mkdir()
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    done = vidpred("clean", "--dry-run", cwd=root, env={"VIDPRED_HOME": str(home), "PYTHONUTF8": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to free in" in done.stdout


def test_version(tmp_path: Path) -> None:
    done = vidpred("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, f"vidpred {__version__}")


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from vidpred.cli import main\n"
        "sys.argv = ['vidpred', '--help']\n"
        "try: main()\n"
        "finally: print('LOADED', sorted(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "140"},
    )
    shown, loaded = done.stdout.split("LOADED")
    for command in (*COMMANDS, *STAGES):
        assert re.search(rf"\b{command}\b", shown), command
    for module in HEAVY:
        assert f"'{module}'" not in loaded, module


@pytest.mark.parametrize("command", [*COMMANDS, *STAGES, "data show", "data verify", "data catalog", "leaderboard"])
def test_every_help_has_an_example(command: str, tmp_path: Path) -> None:
    done = vidpred(*command.split(), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert re.search(rf"Examples?:.*vidpred {command}", ANSI.sub("", done.stdout))


def test_unknown_command_gets_the_nearest_one(tmp_path: Path) -> None:
    done = vidpred("predikt", cwd=tmp_path)
    assert done.returncode == 2
    assert "'predict'" in only_line(done.stderr)


def test_unknown_option_is_one_line(tmp_path: Path) -> None:
    done = vidpred("models", "--jsn", cwd=tmp_path)
    assert done.returncode == 2
    assert "--jsn" in only_line(done.stderr)
    assert "`vidpred models --help`" in only_line(done.stderr)
    done = vidpred("leaderboard", "submit", cwd=tmp_path)
    assert done.returncode == 2
    assert "`vidpred leaderboard submit --help`" in only_line(done.stderr)


def test_shell_completion_knows_the_commands(tmp_path: Path) -> None:
    env = {"PYTHONPATH": ROOT, "_VIDPRED_COMPLETE": "complete_bash", "COMP_WORDS": "vidpred tr", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['vidpred']; from vidpred.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["transcode", "train"]


@pytest.mark.parametrize(
    "command", ["summary", "train", "clean", "check", "data show", "data verify", "data catalog", "leaderboard"]
)
def test_outside_a_project_says_so(command: str, tmp_path: Path) -> None:
    done = vidpred(*command.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert "is not inside a vidpred project" in only_line(done.stderr)


def test_a_file_that_cannot_be_predicted_is_one_line(tmp_path: Path) -> None:
    done = vidpred("predict", "no/such/model", "missing.gif", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "missing.gif" in " ".join(done.stderr.split())


def test_models_as_json_counts_parameters(tmp_path: Path) -> None:
    done = vidpred("models", "--json", cwd=tmp_path)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (rows["copy_last"]["parameters"], rows["copy_last"]["trained"]) == (0, False)
    assert rows["warpmix"]["trained"] is True
    assert rows["warpmix"]["operations"] > rows["warpmix"]["parameters"] > 1000


def test_the_table_of_models_shows_what_stands_in_brackets(tmp_path: Path) -> None:
    assert "2·x[t] - x[t-1], clamped" in vidpred("models", cwd=tmp_path, env={"COLUMNS": "200"}).stdout


def test_what_is_told_of_a_model_can_be_pasted_into_params_yaml(tmp_path: Path, root: Path) -> None:
    done = vidpred("models", "convlstm", cwd=tmp_path)
    assert done.returncode == 0
    assert "arXiv 1506.04214" in done.stdout
    assert re.search(r"filters +16 +Channels of the state", done.stdout)
    space = done.stdout.split("thinned out:\n")[1]
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["tune"]["models"] = yaml.safe_load(space)
    assert set(Params.model_validate(params).tune.models) == {"convlstm"}
    told = json.loads(vidpred("models", "convlstm", "--json", cwd=tmp_path).stdout)
    assert told["search"] == yaml.safe_load(space)["convlstm"]
    assert {key: told["config"][2][key] for key in ("field", "default")} == {"field": "layers", "default": 1}
    done = vidpred("models", "convlsmt", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean 'convlstm'" in " ".join(only_line(done.stderr).split())
    for wrong, meant in (("slow_fusoin", "slow_fusion"), ("c3dd", "c3d"), ("Early-Fusion", "early_fusion")):
        done = vidpred("models", wrong, cwd=tmp_path)
        assert f"did you mean {meant!r}? (those that predict frames: average, " in only_line(done.stderr)
    assert "`vidpred models slowfast --task classify`" in vidpred("models", "slowfast", cwd=tmp_path).stdout


def test_models_table_fits_the_params_of_the_project(tmp_path: Path, root: Path) -> None:
    text = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("height: 64", "height: 32").replace("width: 64", "width: 48"))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    done = vidpred("models", cwd=tmp_path)
    assert done.returncode == 0
    assert "32x48" in done.stdout
    (tmp_path / "params.yaml").write_text(text.replace("fit: crop", "fit: squash"))
    done = vidpred("models", cwd=tmp_path)
    assert done.returncode == 1
    assert "transcode.fit" in only_line(done.stderr)


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A project whose stages `train` and `fetch` are scripts of the test's."""
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/moving_digits.yaml").touch()
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  fetch: {cmd: x, deps: ['${fetch.source}'], outs: [data/raw]}\n"
        "  split: {cmd: x, deps: [stages], outs: [data/split]}\n"
        "  train: {cmd: x, deps: [stages/train.py, data/split], outs: [out], metrics: [m.json: {cache: false}]}\n"
    )
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "data/split").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    (tmp_path / "m.json").write_text("{}")
    return tmp_path


def write_stage(project: Path, text: str) -> None:
    (project / "stages/train.py").write_text(text)


def test_a_stage_runs_in_the_root_without_its_old_outputs_and_gives_its_exit_code(project: Path) -> None:
    write_stage(project, "import os, sys\nprint(os.listdir('.'), os.path.exists('out'))\nsys.exit(7)")
    (project / "below").mkdir()
    done = vidpred("train", cwd=project / "below")
    assert done.returncode == 7
    assert "params.yaml" in done.stdout
    assert "False" in done.stdout
    assert not (project / "m.json").exists()


def test_a_stage_without_its_input_names_the_stage_that_makes_it_and_keeps_what_is_there(project: Path) -> None:
    write_stage(project, "")
    (project / "data/split").rmdir()
    done = vidpred("train", cwd=project)
    assert done.returncode == 1
    assert "dvc repro split" in only_line(done.stderr)
    assert (project / "out/old").exists()


def test_a_stage_with_params_that_are_not_sound_keeps_its_outputs(project: Path) -> None:
    write_stage(project, "raise SystemExit('must not run')")
    replace(project, "  steps: 1500", "  step: 1500")
    done = vidpred("train", cwd=project)
    assert done.returncode == 1
    assert only_line(done.stderr).endswith("params.yaml: train.step is unknown: did you mean steps?")
    assert (project / "out/old").exists()
    assert (project / "m.json").exists()


def test_fetch_hands_reasons_on_and_keeps_what_is_there_where_there_is_no_such_reason_or_source(project: Path) -> None:
    (project / "stages/fetch.py").write_text("import sys\nprint(sys.argv[1:])")
    (project / "data/raw").mkdir()
    done = vidpred("fetch", "--retry", "tmeout", cwd=project)
    assert done.returncode == 1
    assert "--retry tmeout: no such reason (did you mean timeout?)" in only_line(done.stderr)
    (project / "datasets/moving_digits.yaml").rename(project / "datasets/digits.yaml")
    done = vidpred("fetch", cwd=project)
    assert done.returncode == 1
    assert "moving_digits.yaml, which is not there (did you mean datasets/digits.yaml?)" in only_line(done.stderr)
    assert (project / "data/raw").is_dir()
    (project / "datasets/digits.yaml").rename(project / "datasets/moving_digits.yaml")
    done = vidpred("fetch", "--retry", "timeout", "--retry", "http 404", cwd=project)
    assert done.stdout.strip() == "['--retry', 'timeout', '--retry', 'http 404']"
    assert not (project / "data/raw").exists()


def replace(project: Path, old: str, new: str) -> None:
    """Edits params.yaml."""
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new))


def test_check_says_that_all_is_well_and_loads_nothing_that_it_has_no_use_for(project: Path) -> None:
    done = vidpred("check", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert only_line(done.stdout) == "params.yaml is sound; clips come from datasets/moving_digits.yaml"
    code = (
        "import sys\n"
        "from vidpred.commands.check import check_project\n"
        "check_project()\n"
        "print('LOADED', sorted(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=project,
        env=os.environ | {"PYTHONPATH": ROOT},
    )  # fmt: skip
    for module in set(HEAVY) - {"numpy", "torch"}:  # models are built
        assert f"'{module}'" not in done.stdout, module


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("", "fetch.source is empty: it must be text"),
        ("''", "fetch.source is empty: give a folder of clips"),
        ("clips", "fetch.source is clips, which is not there: give a folder of clips, a file or archive, a list of"),
        ("no/such/clips", "no/such/clips, which is not there (nor is "),
        ("datasets/moving_digit.yaml", "(did you mean datasets/moving_digits.yaml?)"),
        ("~/clips", "fetch.source is ~/clips, and DVC expands neither ~ nor variables: write /home/me/clips"),
        ("$HOME/clips", "fetch.source is $HOME/clips, and DVC expands neither ~ nor variables: write /home/me/clips"),
        ("https://host/cat.gif", "must be a path: put URLs into a text file, one a line, and name that"),
        ("[a, b]", 'fetch.source is ["a", "b"]: it must be text'),
    ],
)
def test_check_tells_of_a_source_that_dvc_would_stumble_over(project: Path, source: str, told: str) -> None:
    replace(project, "source: datasets/moving_digits.yaml", f"source: {source}")
    done = vidpred("check", cwd=project, env={"HOME": "/home/me"})
    assert done.returncode == 1
    assert told in only_line(done.stderr)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "    warpmix:\n",
            "    warpmx:\n",
            "tune.models names warpmx, and there is no such model: did you mean warpmix?",
        ),
        (
            "  model: null",
            "  model: zzz",
            "train.model names zzz, and there is no such model: `vidpred models` lists them",
        ),
        ("  fit: crop", "  fti: crop", "transcode.fti is unknown: did you mean fit?"),
    ],
)
def test_check_tells_of_names_that_are_not_there(project: Path, old: str, new: str, told: str) -> None:
    replace(project, old, new)
    done = vidpred("check", cwd=project)
    assert done.returncode == 1
    assert told in only_line(done.stderr)


WARPMIX_SPACE = "        width: [16, 24]"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"  model: null": "  model: warpmix", "  config: {}": "  config: {widht: 8}"},
            "train.config: warpmix has no config field 'widht': did you mean 'width'?",
        ),
        (
            {"  model: null": "  model: warpmix", "  config: {}": "  config: {width: 3}"},
            "train.config: warpmix: width is 3: give an even number",
        ),
        ({"  model: null": "  model: copy_last"}, "train.model: copy_last has nothing to train: name another"),
        ({"    convlstm:\n": "    linear:\n"}, "tune.models: linear has nothing to train: name another"),
        (
            {WARPMIX_SPACE: "        widht: [16, 24]"},
            "tune.models.warpmix.config.widht is unknown: did you mean width?",
        ),
        (
            {WARPMIX_SPACE: "        prior: [none, both]"},
            "tune.models.warpmix.config.prior may be both, which is impossible: warpmix: prior is 'both': give one of",
        ),
        (
            {"  context: 5": "  context: 2"},
            "tune.models.warpmix: warpmix looks at 3 frames but the context has 2: set its `frames` to 2",
        ),
        (
            {"learning_rate: {low: 1.0e-3, high: 6.0e-3, log: true}": "learning_rate: [-1.0]"},
            "tune.models.warpmix.train: learning_rate is -1.0: it must be more than 0",
        ),
    ],
)
def test_check_builds_the_models_and_tells_which_cannot_be(project: Path, changes: dict[str, str], told: str) -> None:
    for old, new in changes.items():
        replace(project, old, new)
    done = vidpred("check", cwd=project)
    assert done.returncode == 1
    assert told in only_line(done.stderr)


def test_ctrl_c_ends_a_stage_with_its_own_exit_code(project: Path) -> None:
    write_stage(
        project,
        "import sys, time\ntry:\n  open('up', 'w').close(); time.sleep(60)\nexcept KeyboardInterrupt:\n  sys.exit(130)",
    )
    with subprocess.Popen(
        [sys.executable, "-c", "from vidpred.cli import main; main()", "train"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": ROOT},
    ) as process:
        deadline = time.monotonic() + 30
        while not (project / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
