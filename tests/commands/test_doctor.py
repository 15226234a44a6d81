"""`vidpred doctor`: a line a finding, exit code 1 where something is missing."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from vidpred.commands.doctor import examine


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/moving_digits.yaml").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("VIDPRED_HOME", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What was found, by its name: `ok …`, `warn …` or `fail …`."""
    found = {}
    for line in capsys.readouterr().out.splitlines():
        level, rest = line.split(maxsplit=1)
        assert level in ("ok", "warn", "fail")
        name = rest[:14].strip()
        found[name] = f"{level} {rest[14:]}"
    return found


def test_a_sound_machine(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert examine() == 0
    found = lines(capsys)
    assert found["ffmpeg"].startswith("ok ")
    assert "bundled" in found["ffmpeg"]
    assert "cores" in found["CPU"]
    assert found["VIDPRED_HOME"] == f"ok {project / 'runs'}"
    assert "made by the first run" in found["MLflow"]
    assert "GiB free" in found["disk"]


def test_a_package_that_is_missing_fails_and_one_that_differs_warns(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "requirements.lock").write_text(
        "# comment\nno-such-package==1.0\ntyper==0.0.1\n    # via x\nnot-here==1 ; sys_platform == 'never'\n"
    )
    assert examine() == 1
    shown = capsys.readouterr().out
    assert "not installed: no-such-package" in shown
    assert "(locked: 0.0.1)" in shown
    assert "not-here" not in shown


@pytest.mark.usefixtures("project")
def test_servers_that_do_not_answer_fail_quickly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        assert examine() == 1
    found = lines(capsys)
    assert found["Ray"].startswith("fail ")
    assert found["MLflow"].startswith("fail ")
    assert str(port) in found["MLflow"]


def test_bad_params_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (project / "params.yaml").read_text().replace("context: 5", "context: none")
    (project / "params.yaml").write_text(text)
    assert examine() == 1
    assert capsys.readouterr().out.count("task.context") == 1


def test_a_source_that_is_not_there_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "datasets/moving_digits.yaml").unlink()
    assert examine() == 1
    assert "which is not there" in lines(capsys)["source"]


def test_a_pulled_model_that_no_registry_here_knows_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "models/trained").mkdir(parents=True)
    (project / "results/register").mkdir(parents=True)
    (project / "results/register/receipt.json").write_text(
        '{"name": "vidpred", "identity": "01", "weights_sha256": "23", "alias": null}'
    )
    assert examine() == 0
    told = lines(capsys)["registry"]
    assert told.startswith(f"warn sqlite:///{project}/runs/mlflow.db has no version of vidpred with weights 23")
    assert "`vidpred register --if-missing` registers it" in told


def test_shards_are_verified(project: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = Path(shutil.copytree(digits / "shards", project / "data/shards"))
    assert examine() == 0
    found = lines(capsys)["shards"]
    assert found.startswith("ok 48 clips, data_id ")
    assert found.endswith(", verified")
    file = next(shards.glob("*.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert examine() == 1
    assert "has changed since it was written: `dvc checkout --force " in lines(capsys)["shards"]


def test_remotes_are_listed_without_their_passwords(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text(
        "[core]\n    remote = team\n['remote \"team\"']\n    url = https://me:secret@host/data\n"
    )
    examine()
    found = lines(capsys)
    assert found["DVC remote"] == "ok team: https://host/data (default)"


def test_addresses_of_remotes_may_hold_percent_signs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text(
        "[core]\n    remote = team\n['remote \"team\"']\n    url = azure://box/of%20ours\n"
    )
    examine()
    assert lines(capsys)["DVC remote"] == "ok team: azure://box/of%20ours (default)"


@pytest.mark.parametrize(("file", "what"), [(".dvc/config", "DVC remote"), ("data/shards/meta.json", "shards")])
def test_a_damaged_file_is_a_line_that_names_it(
    project: Path, capsys: pytest.CaptureFixture[str], file: str, what: str
) -> None:
    (project / file).parent.mkdir(parents=True)
    (project / file).write_text("[core")
    assert examine() == 1
    told = lines(capsys)[what]
    assert told.startswith("fail ")
    assert file.rpartition("/")[0] in told
