"""What is kept when a version is registered, and how it is found again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from tests.tracking.conftest import Project
from tests.tracking.lineage.conftest import git
from vidpred import workspace
from vidpred.commands.explain import explain, page, tree
from vidpred.commands.reproduce import reproduce
from vidpred.config import TrainParams
from vidpred.errors import UserError
from vidpred.tracking import store
from vidpred.tracking.lineage import dvc, reading, record
from vidpred.tracking.lineage.git import without_credentials
from vidpred.tracking.lineage.subject import identity_of, opened
from vidpred.tracking.lineage.way import way
from vidpred.tracking.promotion import rollback

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]
CHAMPION = "models:/vidpred@champion"


def tags(number: str = "1") -> dict[str, str]:
    return dict(store.connect().get_model_version("vidpred", number).tags)


def test_a_version_leads_back_to_its_commit_parameters_data_and_sources(checkout: Project) -> None:
    checkout.register()
    commit = git(checkout.folder, "rev-parse", "HEAD")
    said = tags()
    assert said["vidpred.git_commit"] == commit
    assert said["vidpred.git_dirty"] == "false"
    assert said["vidpred.git_remote"] == "https://git.example.org/anna/clips.git"
    assert said["vidpred.params_sha256"] == workspace.file_sha256(checkout.folder / "params.yaml")
    run = store.connect().get_run(store.connect().get_model_version("vidpred", "1").run_id)
    assert run.data.tags["mlflow.source.git.commit"] == commit
    with opened("models:/vidpred@champion") as subject:
        assert identity_of(subject.info) == said["vidpred.identity"]
        assert not subject.damaged
        found = way(subject)
    hops = {hop.name: hop for hop in found.hops}
    assert hops["weights"].hash == said["vidpred.weights_sha256"]
    assert hops["weights"].known_from == ("model.json", "the version's tag", "the record on its run")
    assert hops["code"].hash == commit
    assert hops["data"].hash == checkout.shards.data_id
    assert len(found.sources) == 30
    assert {source.licence for source in found.sources} == {"unknown"}
    json.dumps(found.as_json())


def test_changed_code_is_kept_without_what_may_be_secret(checkout: Project) -> None:
    folder = checkout.folder
    (folder / "vidpred/net.py").write_text("width = 16\n")
    (folder / "params.yaml").write_text((folder / "params.yaml").read_text().replace("20", "40"))
    (folder / "deploy/server.env").write_text("PASSWORD=new\n")
    (folder / "vidpred/new.py").write_text("depth = 2\n")
    checkout.register()
    said = tags()
    assert said["vidpred.git_dirty"] == "true"
    with opened("models:/vidpred/1") as subject:
        assert subject.record is not None
        patch = subject.file(record.PATCH)
        assert patch is not None
        text = patch.read_text()
        assert reading.read_yaml(subject.file("params.yaml"))["train"]["steps"] == 40
        assert subject.record["git"]["untracked"]["code"] == ["vidpred/new.py"]
    assert "+width = 16" in text
    assert not {"PASSWORD", "password", "depth", "steps"} & set(text.replace("=", " ").split())
    git(folder, "checkout", "--", ".")
    git(folder, "apply", "--check", str(_copy(folder, text)))


def test_a_dry_run_shows_all_that_would_be_laid_over_the_commit(
    checkout: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkout.folder
    (folder / "vidpred/net.py").write_text("width = 16\n")
    (folder / "params.yaml").write_text((folder / "params.yaml").read_text().replace("20", "40"))
    (folder / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  train:\n    cmd: python -m stages.train\n    outs:\n    - path: models/trained\n"
    )
    checkout.register()
    arguments = {"yes": False, "dry_run": True, "keep": False, "evaluate": False, "pull": False, "trust": False}
    assert reproduce(CHAMPION, **arguments, as_json=False) == 0
    shown = capsys.readouterr()
    assert "train.steps: 40 instead of the commit's 20" in shown.err
    assert "vidpred/net.py changed since the commit" in shown.err
    for line in (
        "-width = 8",
        "+width = 16",
        "-train: {model: conv2d, steps: 20}",
        "+train: {model: conv2d, steps: 40}",
    ):
        assert line in shown.out.splitlines()
    assert reproduce(CHAMPION, **arguments, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["params"] == {"train.steps": ["20", "40"]}
    assert "+width = 16" in told["changes"]
    git(folder, "checkout", "--", ".")
    git(folder, "apply", "--check", str(_copy(folder, told["changes"])))


def _copy(folder: Path, text: str) -> Path:
    path = folder / "secret.txt"
    path.write_text(text)
    return path


def test_a_patch_too_large_is_told(checkout: Project, caplog: pytest.LogCaptureFixture) -> None:
    (checkout.folder / "vidpred/net.py").write_text("x = 1\n" * 400_000)
    checkout.register()
    assert "too many to keep: commit them" in caplog.text
    with opened("models:/vidpred/1") as subject:
        assert subject.file(record.PATCH) is None
        assert subject.record is not None
        assert subject.record["git"]["patch_left_out"] > record.LARGEST_PATCH


def test_without_git_a_version_is_registered_and_the_lack_told(
    checkout: Project, caplog: pytest.LogCaptureFixture
) -> None:
    (checkout.folder / ".git").rename(checkout.folder / "not-git")
    assert checkout.register()["alias"] == "champion"
    assert "no git commit" in caplog.text
    assert "vidpred.git_commit" not in tags()
    with opened("models:/vidpred/1") as subject:
        code = next(hop for hop in way(subject).hops if hop.name == "code")
    assert code.unseen


def test_an_experiment_is_named(checkout: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "brave-cat")
    checkout.register()
    assert tags()["vidpred.experiment"] == "brave-cat"
    monkeypatch.delenv("DVC_EXP_NAME")
    checkout.register()  # the same weights, by hand
    assert "vidpred.experiment" not in tags()


def test_a_record_that_was_changed_is_not_believed(home: Path, checkout: Project) -> None:
    checkout.register()
    (note,) = home.rglob(record.RECORD)
    params = note.with_name("params.yaml")
    params.write_text("fetch: {source: /elsewhere}\n")
    with opened("models:/vidpred/1") as subject:
        assert subject.damaged == ["params.yaml was changed"]
        assert subject.file("params.yaml") is None
    note.write_text(note.read_text().replace("conv2d", "convlstm"))
    with opened("models:/vidpred/1") as subject:
        assert subject.record is None
        assert "changed since it was registered" in subject.unseen["record"]
        way(subject)


def test_a_hostile_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / record.RECORD
    for text in ("[]", "{}", '{"format": 1, "files": [1]}', "nonsense"):
        path.write_text(text)
        with pytest.raises(UserError, match="none that this version reads"):
            reading.read(path)
    bomb = tmp_path / "params.yaml"
    bomb.write_text("a: &a [1, 1]\nb: [*a, *a]\n")
    assert reading.read_yaml(bomb) == {}


def test_credentials_do_not_travel() -> None:
    assert without_credentials("https://u:p@host/x.git#y") == "https://host/x.git"
    assert without_credentials("ssh://git:p@host:22/x.git") == "ssh://host:22/x.git"
    assert without_credentials("git@host:x.git") == "git@host:x.git"
    assert without_credentials("git:pass@host:x.git") == "git@host:x.git"
    assert without_credentials("/home/me/x") == "/home/me/x"


def test_from_another_machine_the_way_is_seen_as_far_as_it_goes(
    server: str, checkout: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    checkout.register()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    model = shutil.copytree(checkout.folder / "model-1.0-3", elsewhere / "model")
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("VIDPRED_HOME")
    with opened(str(model)) as subject:  # such as `vidpred pull` brings
        assert subject.uri.startswith("models:/vidpred/")
        assert not subject.damaged
        found = way(subject)
    hops = {hop.name: hop for hop in found.hops}
    assert hops["code"].hash == git(checkout.folder, "rev-parse", "HEAD")
    assert hops["data"].hash == checkout.shards.data_id
    assert hops["data"].unseen == "the frames themselves are not in this project's data/shards"
    assert len(found.sources) == 30


def test_long_lists_do_not_drown_the_way(checkout: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkout.register()
    stages = ["fetch", "transcode", "split", "flow", "train"]
    with opened(CHAMPION) as subject:
        assert subject.record is not None
        assert subject.files is not None
        files = ", ".join(f"vidpred/data/{number}.py (modified)" for number in range(40))
        subject.record["dvc"]["stale"] = {stage: ["changed deps: " + files, "changed command"] for stage in stages}
        subject.record["keys"]["tune"] = "0123"
        subject.record["git"] |= {"dirty": True, "changed": [f"{n}.py" for n in range(50)], "changed_count": 70}
        subject.info["params"] = TrainParams(steps=77).model_dump(mode="json")
        (subject.files / "best.yaml").write_text("{model: conv2d, config: {}, train: {}}")
        found = way(subject)
        (subject.files / "best.yaml").write_text(
            "{model: conv2d, config: {variant: seed}, train: {learning_rate: 0.1}}"
        )
        other = way(subject)
    hops = {hop.name: hop for hop in found.hops}
    short, whole = (hops["code"].shown(every=every) for every in (False, True))
    assert short["stale stages"] == "fetch, transcode, split and 2 more did not agree with dvc.lock (--all tells all)"
    assert "train (changed deps: vidpred/data/0.py (modified), " in whole["stale stages"]
    assert short["changed"] == "0.py, 1.py, 2.py and 67 more (--all tells all)"
    assert whole["changed"].endswith("48.py, 49.py and 20 more")
    assert hops["params"].shown(every=False)["train"] == "the defaults but for steps: 77 (--all tells all)"
    assert "warmup_steps: " in hops["params"].shown(every=True)["train"]
    by_name = {hop["name"]: hop for hop in found.as_json()["hops"]}
    assert by_name["code"]["facts"] == whole
    assert "short" not in by_name["code"]
    assert hops["sweep"].facts["found"] == "conv2d at its defaults"
    (sweep,) = (hop for hop in other.hops if hop.name == "sweep")
    assert sweep.facts["found"] == "conv2d with variant: seed; trained with learning_rate: 0.1"
    for every, told in ((False, "67 more (--all"), (True, "48.py, 49.py")):
        Console(width=10_000).print(tree(found, every=every))
        assert told in capsys.readouterr().out
        assert "48.py, 49.py" in page(found, [], every=every)
    explain(CHAMPION, as_json=False, html=tmp_path / "page.html", every=False)
    assert capsys.readouterr().out == f"{tmp_path}/page.html is the page\n"
    assert "--all" not in (tmp_path / "page.html").read_text()


def test_reasons_of_dvc_in_few_words() -> None:
    reasons = [
        "changed deps: a (modified), b (modified), params.yaml: train.steps (modified), c (new)",
        "changed command",
    ]
    assert dvc.in_few(reasons) == "a (modified), b (modified), params.yaml: train.steps (modified) and 2 more"
    assert dvc.in_few(["changed command"]) == "changed command"


def test_a_version_that_was_rolled_back_is_not_told_to_be_champion(checkout: Project) -> None:
    checkout.register(0.5)
    checkout.register(0.9)
    rollback("vidpred", reason="flickers")
    with opened("models:/vidpred/2") as subject:
        (version,) = (hop for hop in way(subject).hops if hop.name == "version")
    assert version.facts["decision"].startswith("rolled back to version 1")
