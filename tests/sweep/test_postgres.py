"""A study over PostgreSQL has what a journal gives it: it outlives its controller and its server, and tells nobody the password."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import pytest
from commands import engine_specs, left_alive, results
from postgres import PASSWORD, USER, Server
from test_bad_input import Refused, refused  # noqa: F401 (a fixture)
from test_controller_dies import KILLED, SLOW, control, history

from harness.paths import StudyPaths
from sweeps import storage

pytestmark = pytest.mark.timeout(600)
STORAGE = "hydra.sweeper.storage="
# The first of each kind of commit; what it is just before: an empty database, no study, no trial, half a point, a report, a trial told.
SAMPLE = ("commit CREATE", "commit INSERT INTO study_directions", "commit UPDATE trials", "commit INSERT INTO trial_params")
LATE_SAMPLE = ("commit INSERT INTO trial_intermediate_values", "commit INSERT INTO trial_values")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(autouse=True)
def password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def database(server: Server, folder: Path) -> str:
    return server.database(f"{folder.name}-{time.monotonic_ns()}")


def history_in(url: str, study: StudyPaths) -> dict[str, Any]:
    kept = storage.database(url)
    try:
        return history(study, kept)
    finally:
        storage.close(kept)


# --- the controller is killed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def immortal(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str]]:
    """The history of a study whose controller was never killed, and its changes."""
    folder = tmp_path_factory.mktemp("immortal")
    url = database(server, folder)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGPASSWORD", PASSWORD)
        assert control(folder, STORAGE + url) == 0
        return history_in(url, StudyPaths(folder / "outputs" / "mortal")), (folder / "changes").read_text().splitlines()


def assert_goes_on(server: Server, folder: Path, dies_at: int, expected: dict[str, Any]) -> None:
    study, url = StudyPaths(folder / "outputs" / "mortal"), database(server, folder)
    assert control(folder, STORAGE + url, dies_at=dies_at) == KILLED
    assert control(folder, STORAGE + url) == 0
    assert history_in(url, study) == expected
    assert left_alive(study) == []
    assert [spec.scratch for spec in engine_specs(study) if Path(spec.scratch).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", [LATE_SAMPLE[1]])
def test_a_killed_controllers_study_goes_on_as_if_it_had_lived(
    server: Server, immortal: tuple[dict[str, Any], list[str]], tmp_path: Path, moment: str
) -> None:
    found, changes = immortal
    assert found["taken"] == [1, 1, 1]
    dies_at = 1 + next(index for index, change in enumerate(changes) if change.startswith(moment))
    assert_goes_on(server, tmp_path, dies_at, found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_so_it_is_before_every_commit(server: Server, immortal: tuple[dict[str, Any], list[str]], tmp_path: Path) -> None:
    found, changes = immortal
    assert {moment for moment in (*SAMPLE, *LATE_SAMPLE) if not any(change.startswith(moment) for change in changes)} == set()
    for index, change in enumerate(changes):
        if change.startswith("commit"):
            folder = tmp_path / str(index + 1)
            folder.mkdir()
            assert_goes_on(server, folder, index + 1, found)


# --- the server goes -------------------------------------------------------------------------------------------------------------------


def training(server: Server, folder: Path, *more: str) -> tuple[Any, StudyPaths, str]:
    """A study of two slots, both of which train; a key of `more` replaces SLOW's."""
    url = database(server, folder)
    keys = {word.partition("=")[0] for word in more}
    slow = [word for word in SLOW if word.partition("=")[0] not in keys]
    controller = commands.start("verl-sweep", *slow, STORAGE + url, *more, cwd=folder)
    commands.wait_until(lambda: len(list(folder.glob("outputs/*/trial-*/attempt-0/metrics.jsonl"))) == 2, meanwhile=[controller])
    return controller, StudyPaths(folder / "outputs" / "two"), url


def assert_whole(study: StudyPaths, url: str) -> None:
    """Each trial ran once and was told once."""
    assert [(result.state.value, result.attempts) for result in results(study).values()] == [("COMPLETE", 1)] * 3
    found = history_in(url, study)
    assert [state for _, state, _, _ in found["optuna"]] == ["COMPLETE"] * 3
    assert found["taken"] == [1, 1, 1]
    assert [sorted(told) for _, _, _, told in found["optuna"]] == found["steps"]
    assert left_alive(study) == []


def test_a_study_waits_for_a_server_that_restarts_while_its_engines_go_on(server: Server, tmp_path: Path) -> None:
    controller, study, url = training(server, tmp_path)
    server.stop()
    log = study.log
    commands.wait_until(lambda: "waiting for it, what runs goes on" in log.read_text(), meanwhile=[controller])
    server.start()
    out, err = controller.communicate(timeout=commands.TIMEOUT_S)
    assert (controller.returncode, err) == (0, "")
    assert out.count("waiting for it, what runs goes on") == out.count("the database answers again") == 1
    assert_whole(study, url)


@pytest.mark.slow
def test_a_study_whose_server_stays_away_ends_with_a_sentence_and_goes_on_later(server: Server, tmp_path: Path) -> None:
    controller, study, url = training(server, tmp_path, "limits.storage_s=2")
    try:
        server.stop()
        _, err = controller.communicate(timeout=commands.TIMEOUT_S)
        assert controller.returncode == 1
        assert err.count("\n") == 1, err
        assert "gave up after 2 s: what runs goes on, and the same command takes it over once the database answers" in err
        later = commands.run("verl-study", "resume", "two", cwd=tmp_path)
        assert (later.returncode, later.stderr.count("\n")) == (2, 1), later.stderr
        assert f"cannot open {url}: connection failed" in later.stderr
    finally:
        server.start()
    ran = commands.run("verl-study", "resume", "two", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert_whole(study, url)


@pytest.mark.slow
def test_a_study_that_waits_can_be_interrupted(server: Server, tmp_path: Path) -> None:
    controller, study, url = training(server, tmp_path, "steps=2000")
    try:
        server.stop()
        commands.wait_until(lambda: "waiting for it" in study.log.read_text(), meanwhile=[controller])
        controller.terminate()
        _, err = controller.communicate(timeout=commands.TIMEOUT_S)
        assert (controller.returncode, err) == (130, "verl-sweep: SIGTERM: interrupted; the same command goes on with the study\n")
        assert left_alive(study) == []
    finally:
        server.start()
    found = history_in(url, study)
    assert [state for _, state, _, _ in found["optuna"]] == ["RUNNING"] * 2


@pytest.mark.slow
def test_a_second_controller_is_refused_while_the_first_lives(server: Server, tmp_path: Path) -> None:
    controller, study, url = training(server, tmp_path)
    controller.send_signal(signal.SIGSTOP)  # however long the second one takes
    second = commands.run("verl-sweep", *SLOW, STORAGE + url, cwd=tmp_path)
    controller.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert "study two is being run by another controller" in second.stderr
    controller.communicate(timeout=commands.TIMEOUT_S)
    assert controller.returncode == 0
    assert_whole(study, url)


# --- what cannot work ------------------------------------------------------------------------------------------------------------------

DRILL = ("-m", "experiment=drill")


@pytest.mark.slow
def test_a_database_that_cannot_be_opened_is_refused_in_a_sentence(
    server: Server,
    refused: Refused,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = server.database("there")
    secret, other = url.replace(f"{USER}@", f"{USER}:{PASSWORD}@"), url.replace(f"{USER}@", f"{USER}:wr0ng@")
    told = {
        url.replace("there", "nowhere"): 'database "nowhere" does not exist',
        other: f'password authentication failed for user "{USER}"; its password comes from PGPASSWORD or ~/.pgpass',
        secret.replace("@127", "@x@127"): "there is more than one @; write that in a password as %40",
        secret.replace(str(server.port), "port"): "the port is no number; write @ : / in a password as %40 %3A %2F",
        secret.replace(str(server.port), "1"): "Connection refused",
        secret.replace("+psycopg", "+pg8000"): "needs the package pg8000",
        secret.replace("postgresql+psycopg", "mysql+nothing"): "Can't load plugin: sqlalchemy.dialects:mysql.nothing",
        "there": "Could not parse SQLAlchemy URL",
    }
    for address, words in told.items():
        sentence = refused(*DRILL, f"{STORAGE}{address}")
        assert sentence.startswith("hydra.sweeper.storage: "), sentence
        assert words in sentence
        assert PASSWORD not in sentence
        assert "wr0ng" not in sentence
    monkeypatch.delenv("PGPASSWORD")
    assert "its password comes from PGPASSWORD or ~/.pgpass" in refused(*DRILL, f"{STORAGE}{url}")


@pytest.mark.slow
def test_a_user_who_may_not_make_tables_is_told_so(server: Server, tmp_path: Path) -> None:
    url = database(server, tmp_path)
    with server.connect("postgres") as connection:
        connection.execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'".encode())
    ran = commands.drill(tmp_path, STORAGE + url.replace(f"{USER}@", "reader@"))
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1), ran.stderr
    assert "permission denied for schema public" in ran.stderr
    assert commands.listing(tmp_path) == []


@pytest.mark.slow
def test_a_study_of_that_name_from_another_folder_is_refused(server: Server, tmp_path: Path) -> None:
    url = database(server, tmp_path)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    arguments = ("-m", "experiment=drill", *commands.QUICK, "hydra.sweeper.n_trials=1", "study.name=one", STORAGE + url)
    assert commands.run("verl-sweep", *arguments, cwd=here).returncode == 0
    ran = commands.run("verl-sweep", *arguments, cwd=there)
    assert ran.returncode == 2
    assert f"the database holds a study one already, that of {os.uname().nodename}:{here}/outputs/one" in ran.stderr
    assert not (there / "outputs").exists()


# --- the password ----------------------------------------------------------------------------------------------------------------------


def files_with(secret: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_password_that_was_typed_is_nowhere_and_resume_says_what_to_set(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    url = database(server, tmp_path)
    typed = STORAGE + url.replace(f"{USER}@", f"{USER}:{PASSWORD}@")
    ran = commands.drill(tmp_path, "hydra.sweeper.n_trials=1", "study.name=one", typed)
    assert ran.returncode == 0
    later = commands.run("verl-study", "resume", "one", cwd=tmp_path)
    assert later.returncode == 2
    assert "its password comes from PGPASSWORD or ~/.pgpass" in later.stderr
    again = commands.drill(tmp_path, "hydra.sweeper.n_trials=2", "study.name=one", typed)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    resumed = commands.run("verl-study", "resume", "one", cwd=tmp_path)
    shown = commands.run("verl-study", "show", "one", cwd=tmp_path)
    assert (again.returncode, resumed.returncode, shown.returncode) == (0, 0, 0)
    assert f"optuna-dashboard {url}" in shown.stdout
    assert files_with(PASSWORD, tmp_path) == []
    assert PASSWORD not in "".join(done.stdout + done.stderr for done in (ran, later, again, resumed, shown))


APP = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    return config.x

main()
"""


@pytest.mark.slow
def test_hydras_own_records_of_a_job_hold_no_password(server: Server, tmp_path: Path) -> None:
    url = database(server, tmp_path).replace(f"{USER}@", f"{USER}:{PASSWORD}@")
    (tmp_path / "app.py").write_text(APP)
    arguments = ("-m", "hydra/sweeper=verl_optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.study_name=s", "+x=interval(0,1)")
    for launcher in ("basic", "local"):
        done = subprocess.run(
            [sys.executable, "app.py", *arguments, f"hydra/launcher={launcher}", STORAGE + url],
            cwd=tmp_path,
            env=commands.environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
    assert len(list(tmp_path.rglob(".hydra/hydra.yaml"))) == 4
    assert files_with(PASSWORD, tmp_path) == []
