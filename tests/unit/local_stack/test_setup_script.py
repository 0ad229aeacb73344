"""scripts/setup.sh on machines that lack something: says what, and how to mend it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from include.local_stack.settings import PROJECT_ROOT

TOOLS = ("sh", "dirname", "sed", "head", "cmp", "cp", "rm", "touch")
# As if it were not root, so that nothing is ever installed here.
ID = "echo 1000"
JAVA = "echo 'openjdk version \"{}\" 2026-01-01' >&2"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that was never set up, and in bin/ the only programs that there are."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(PROJECT_ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    program(tmp_path, "id", ID)
    return tmp_path


def program(checkout: Path, name: str, script: str) -> Path:
    file = checkout / "bin" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def set_up(checkout: Path, mode: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "scripts" / "setup.sh"), mode],
        env={"PATH": str(checkout / "bin"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_java(checkout: Path) -> None:
    result = set_up(checkout)
    assert result.returncode == 1
    assert "error: Java 17 or newer is needed, and there is no java on PATH." in result.stderr
    assert "apt-get install openjdk-17-jre-headless" in result.stderr


def test_root_on_debian_gets_java_installed(checkout: Path) -> None:
    program(checkout, "id", "echo 0")
    installed = checkout / "bin" / "java"
    program(
        checkout,
        "apt-get",
        f"""echo "$*" >> {checkout}/asked
case "$*" in
    *openjdk-21-jre-headless)
        printf '#!/bin/sh\\necho version \\"21.0.1\\"\\n' > {installed}
        chmod 755 {installed} ;;
    *openjdk-17-jre-headless) exit 100 ;;
esac""",
    )
    (checkout / "bin" / "chmod").symlink_to(str(shutil.which("chmod")))
    result = set_up(checkout)
    assert "→ Installing Java" in result.stderr
    asked = (checkout / "asked").read_text().splitlines()
    assert asked[0].startswith("update")
    assert [line.split()[-1] for line in asked[1:]] == ["openjdk-17-jre-headless", "openjdk-21-jre-headless"]
    # Java is there now; the next thing that this machine lacks is Python.
    assert "error: Python 3.11 to 3.13 is needed" in result.stderr


@pytest.mark.parametrize(("version", "major"), [("11.0.2", 11), ("1.8.0_402", 8), ("16", 16)])
def test_java_too_old(checkout: Path, version: str, major: int) -> None:
    java = program(checkout, "java", JAVA.format(version))
    result = set_up(checkout)
    assert result.returncode == 1
    assert f"error: {java} is Java {major}, and 17 or newer is needed." in result.stderr


def test_java_home_is_asked_first(checkout: Path) -> None:
    program(checkout, "java", JAVA.format("17.0.15"))
    result = set_up(checkout, JAVA_HOME="/nowhere")
    assert result.returncode == 1
    assert "error: JAVA_HOME=/nowhere has no bin/java." in result.stderr


@pytest.mark.parametrize("version", ["17", "17.0.15", "21.0.1"])
def test_no_python(checkout: Path, version: str) -> None:
    program(checkout, "java", JAVA.format(version))
    result = set_up(checkout)
    assert result.returncode == 1
    assert "error: Python 3.11 to 3.13 is needed, and none is on PATH" in result.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("minor", [9, 14])
def test_python_of_another_version(checkout: Path, minor: int) -> None:
    program(checkout, "java", JAVA.format("17.0.15"))
    program(checkout, "python3", f"echo {minor}")
    # A shim that finds no interpreter behind it.
    program(checkout, "python3.12", "exit 127")
    result = set_up(checkout)
    assert result.returncode == 1
    assert (
        f"error: Python 3.11 to 3.13 is needed, and none is on PATH ( python3 is 3.{minor};" in result.stderr
    )


def test_python_without_venv(checkout: Path) -> None:
    program(checkout, "java", JAVA.format("17.0.15"))
    program(checkout, "python3.11", '[ "$1" = -c ] && echo 11')
    result = set_up(checkout)
    assert result.returncode == 1
    assert "cannot make a virtual environment. On Debian: apt-get install python3-venv" in result.stderr


def test_no_chromium(checkout: Path) -> None:
    """Only tests need it: the mode `run` never asks for it."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "complete").touch()
    (checkout / ".venv" / "bin" / "python").symlink_to("/bin/true")
    for name in ("requirements.txt", ".venv/installed-requirements.txt"):
        (checkout / name).touch()
    program(checkout, "java", JAVA.format("17.0.15"))
    assert set_up(checkout).returncode == 0
    result = set_up(checkout, "dev")
    assert result.returncode == 1
    assert "error: The tests need the browser chromium, and there is none on PATH." in result.stderr
    assert "apt-get install chromium" in result.stderr


def test_a_wrong_word(checkout: Path) -> None:
    result = set_up(checkout, "everything")
    assert result.returncode == 1
    assert "usage: scripts/setup.sh run|dev" in result.stderr


def test_what_is_installed_is_not_installed_again() -> None:
    """This very checkout was set up by the script."""
    result = subprocess.run(
        [str(PROJECT_ROOT / "scripts" / "setup.sh"), "dev"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
