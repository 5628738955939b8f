import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockwright import settings
from dockwright.db import schema
from dockwright.services import doctor
from dockwright.services.doctor import Finding


@pytest.fixture
def here(tmp_path: Path) -> settings.Settings:
    return settings.load({"DOCKWRIGHT_HOME": str(tmp_path / "home")}, tmp_path / "none")


def found(check: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.message) for finding in check]


def test_every_finding_but_ok_has_a_remedy_and_one_line(here, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    findings = doctor.examine(here)
    assert {finding.place for finding in findings} == set(doctor.CHECKS)
    by_place = {finding.place: finding for finding in findings}
    assert by_place["engine"].severity == "error"
    assert by_place["git"].severity == "error"
    for finding in findings:
        assert finding.severity == "ok" or finding.remedy
        assert "\n" not in finding.message + (finding.remedy or "")


def test_the_command_ends_with_3_when_a_needed_part_is_missing(tmp_path) -> None:
    environ = {"DOCKWRIGHT_HOME": str(tmp_path), "DOCKER_HOST": "unix:///nowhere/docker.sock", "PATH": "/nowhere"}
    command = [str(Path(sys.executable).with_name("dockwright")), "doctor", "--json"]
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is False
    engine = next(finding for finding in document["findings"] if finding["place"] == "engine")
    assert set(engine) == {"severity", "place", "message", "remedy"}
    assert "unix:///nowhere/docker.sock" in engine["message"]


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3", "ok"),
        ("github.com/docker/buildx v0.14.0 171fcbeb", "ok"),
        ("github.com/docker/buildx v0.12.1", "error"),
        ("no number at all", "error"),
        ("", "error"),
    ],
)
def test_a_version_is_old_or_new_enough(text: str, severity: str) -> None:
    finding = doctor._version("buildx", "buildx", text, doctor.OLDEST_BUILDX, "is here")
    assert finding.severity == severity


def test_a_full_disk_is_named_with_its_folder(here, tmp_path) -> None:
    full = settings.load(
        {"DOCKWRIGHT_HOME": str(tmp_path / "home"), "BUILD_DISK_MIN_FREE": "900000TB"}, tmp_path / "none"
    )
    findings = list(doctor._disk(full))
    assert {finding.severity for finding in findings} == {"error"}
    assert "GB are free at " in findings[0].message
    assert {finding.severity for finding in doctor._disk(here)} == {"ok"}


def test_the_database_s_revision_is_compared(here) -> None:
    assert found(doctor._database(here)) == [("ok", "Not there yet; the first command makes it")]
    schema.connect(here).close()
    assert [severity for severity, _ in found(doctor._database(here))] == ["ok"]
    assert here.database_file is not None
    with sqlite3.connect(here.database_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    [(severity, message)] = found(doctor._database(here))
    assert severity == "warning"
    assert "0000" in message and schema.HEAD in message


def test_a_file_that_is_no_database_is_told(here) -> None:
    assert here.database_file is not None
    here.database_file.parent.mkdir(parents=True)
    here.database_file.write_text("this is no database, it is a text that is long enough to be looked at" * 20)
    [(severity, message)] = found(doctor._database(here))
    assert severity == "error"
    assert str(here.database_file) in message
