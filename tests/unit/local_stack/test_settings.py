"""Settings of the local stack: bad values get a clear error, secrets stay private."""

import json
import re
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from include.local_stack.settings import (
    ADDED_SECRETS,
    PROJECT_ROOT,
    Secrets,
    Settings,
    StackError,
    free_port,
    port_is_free,
    read_stack_env,
)


def settings_in(home: Path, **ports: int) -> Settings:
    return Settings(
        home, ports.get("kafka", 1), ports.get("db", 2), ports.get("airflow", 3), PROJECT_ROOT / ".local/jars"
    )


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings.home == PROJECT_ROOT / ".local"
    assert settings.jars == PROJECT_ROOT / ".local" / "jars"
    assert settings.ports() == {
        "ANTENNA_KAFKA_PORT": 9092,
        "ANTENNA_DB_PORT": 5433,
        "ANTENNA_AIRFLOW_PORT": 8080,
    }


def test_home_and_ports_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "home")
    settings = Settings.from_environment(
        {"ANTENNA_HOME": str(tmp_path / "link"), "ANTENNA_DB_PORT": "20001", "ANTENNA_KAFKA_PORT": ""}
    )
    # One name for one home, so that `make stop` finds what `make run` started.
    assert settings.home == tmp_path / "home"
    assert (settings.db_port, settings.kafka_port) == (20001, 9092)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "80a", "8080.0", "²", "99999999999"])
def test_what_is_no_port_is_refused(text: str) -> None:
    message = f"ANTENNA_AIRFLOW_PORT={text!r} is no port: give a number from 1 to 65535."
    with pytest.raises(StackError, match=re.escape(message)):
        Settings.from_environment({"ANTENNA_AIRFLOW_PORT": text})


def test_two_services_on_one_port_are_refused() -> None:
    with pytest.raises(StackError, match="ANTENNA_AIRFLOW_PORT and ANTENNA_KAFKA_PORT are both 9092"):
        Settings.from_environment({"ANTENNA_AIRFLOW_PORT": "9092"})


def test_a_taken_port_is_named_with_its_variable(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        settings = settings_in(tmp_path, kafka=free_port(), db=port, airflow=free_port())
        with pytest.raises(StackError, match=rf"Port {port} \(ANTENNA_DB_PORT\) is taken .* another port"):
            settings.check_ports_are_free()
    assert port_is_free(port)
    settings.check_ports_are_free()


def test_a_home_that_is_not_writable_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    with pytest.raises(StackError, match=rf"ANTENNA_HOME={home} is not writable \(Not a directory\)"):
        settings_in(home).create_home()


def test_the_home_is_its_owners_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "new" / "home")
    settings.create_home()
    settings.create_home()
    assert mode(settings.home) == 0o700
    assert settings.logs.is_dir()
    assert settings.storage.is_dir()


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    first = settings.load_secrets()
    assert settings.load_secrets() == first
    assert mode(tmp_path / "secrets.json") == 0o600
    assert len(set(first.__dict__.values())) == len(first.__dict__)
    assert Secrets.generate() != first


def test_a_home_of_an_earlier_version_gets_the_secrets_that_came_later(tmp_path: Path) -> None:
    first = settings_in(tmp_path).load_secrets().__dict__
    earlier = {name: value for name, value in first.items() if name not in ADDED_SECRETS}
    (tmp_path / "secrets.json").write_text(json.dumps(earlier))
    found = settings_in(tmp_path).load_secrets()
    assert found.__dict__ | earlier == found.__dict__
    assert all(found.__dict__[name] for name in ADDED_SECRETS)
    # Made once, and kept.
    assert settings_in(tmp_path).load_secrets() == found
    assert mode(tmp_path / "secrets.json") == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"db_password": "x"})])
def test_broken_secrets_are_an_error_and_are_kept(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(text)
    with pytest.raises(StackError, match=rf"{file} does not hold this stack's secrets"):
        settings_in(tmp_path).load_secrets()
    assert file.read_text() == text


def test_stack_env_is_private_and_a_shell_reads_it(tmp_path: Path) -> None:
    home = tmp_path / "it's a $HOME; with spaces"
    home.mkdir()
    settings = settings_in(home, kafka=20001, db=20002, airflow=20003)
    secrets = settings.load_secrets()
    settings.write_stack_env(secrets)
    assert mode(settings.stack_env_file) == 0o600
    expected = {
        "ANTENNA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:20001",
        "ANTENNA_DB_URL": f"postgresql://antenna:{secrets.db_password}@127.0.0.1:20002/antenna",
        "ANTENNA_JDBC_URI": "jdbc:postgresql://127.0.0.1:20002/antenna",
        "ANTENNA_STORAGE": str(home / "storage"),
        "AIRFLOW_URL": "http://127.0.0.1:20003",
        "AIRFLOW_USER": "admin",
        "AIRFLOW_PASSWORD": secrets.airflow_password,
        "AIRFLOW_VIEWER_USER": "viewer",
        "AIRFLOW_VIEWER_PASSWORD": secrets.airflow_viewer_password,
    }
    assert read_stack_env(settings.stack_env_file) == expected
    for name, value in expected.items():
        script = f'. "$1"; printf %s "${name}"'
        command = ["sh", "-c", script, "sh", str(settings.stack_env_file)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == value
