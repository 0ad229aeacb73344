"""What one local stack is made of: its home folder, its ports and its generated secrets."""

import json
import os
import secrets
import shlex
import socket
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

PROJECT_ROOT = Path(__file__).resolve().parents[2]
TOPIC = "devices"
# History of any age can be replayed.
MAX_LATENESS = "unlimited"
# Set for every process of a stack and for nothing else: `make stop` finds them by it, also after a crash.
STACK_MARKER = "ANTENNA_STACK_HOME"
# The names of secrets that a home made by the first version does not hold.
ADDED_SECRETS = ("db_reader_password", "airflow_viewer_password")


class StackError(Exception):
    """The stack cannot do what was asked. The message names the value, the rule and the fix."""


@dataclass(frozen=True)
class Secrets:
    """Passwords and keys of one stack, made at its first start."""

    db_superuser_password: str
    db_password: str
    db_reader_password: str
    airflow_db_password: str
    airflow_password: str
    airflow_viewer_password: str
    airflow_fernet_key: str
    airflow_jwt_secret: str
    airflow_api_secret: str

    @classmethod
    def generate(cls) -> Self:
        return cls(
            db_superuser_password=secrets.token_urlsafe(24),
            db_password=secrets.token_urlsafe(24),
            db_reader_password=secrets.token_urlsafe(24),
            airflow_db_password=secrets.token_urlsafe(24),
            airflow_password=secrets.token_urlsafe(12),
            airflow_viewer_password=secrets.token_urlsafe(12),
            airflow_fernet_key=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            airflow_jwt_secret=secrets.token_urlsafe(64),
            airflow_api_secret=secrets.token_urlsafe(32),
        )


@dataclass(frozen=True)
class Settings:
    """One local stack. Two stacks with different homes and ports run side by side."""

    home: Path
    kafka_port: int
    db_port: int
    airflow_port: int
    jars: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read ANTENNA_HOME and the ports; raise StackError for a value that cannot be."""
        home = Path(environment.get("ANTENNA_HOME") or PROJECT_ROOT / ".local").expanduser().resolve()
        jars = Path(environment.get("ANTENNA_JARS") or home / "jars").expanduser().resolve()
        settings = cls(
            home=home,
            kafka_port=_port(environment, "ANTENNA_KAFKA_PORT", 9092),
            db_port=_port(environment, "ANTENNA_DB_PORT", 5433),
            airflow_port=_port(environment, "ANTENNA_AIRFLOW_PORT", 8080),
            jars=jars,
        )
        taken: dict[int, str] = {}
        for variable, port in settings.ports().items():
            if port in taken:
                raise StackError(
                    f"{variable} and {taken[port]} are both {port}; each service needs a port of its own."
                )
            taken[port] = variable
        return settings

    def ports(self) -> dict[str, int]:
        """Environment variable -> port."""
        return {
            "ANTENNA_KAFKA_PORT": self.kafka_port,
            "ANTENNA_DB_PORT": self.db_port,
            "ANTENNA_AIRFLOW_PORT": self.airflow_port,
        }

    @property
    def storage(self) -> Path:
        return self.home / "storage"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def ledger_file(self) -> Path:
        """Where the simulator and the DAG simulate_devices count what they send."""
        return self.home / "simulator" / "ledger.sqlite"

    @property
    def kafka_bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.kafka_port}"

    @property
    def jdbc_uri(self) -> str:
        return f"jdbc:postgresql://127.0.0.1:{self.db_port}/antenna"

    @property
    def airflow_url(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def stack_env_file(self) -> Path:
        return self.home / "stack.env"

    def db_url(self, password: str) -> str:
        return f"postgresql://antenna:{password}@127.0.0.1:{self.db_port}/antenna"

    def create_home(self) -> None:
        """Make the home folder, readable by its owner alone; raise StackError when it is not writable."""
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.home / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StackError(
                f"ANTENNA_HOME={self.home} is not writable ({error.strerror}), and the stack keeps its data "
                "there. Set ANTENNA_HOME to a folder that you may write to."
            ) from None
        self.logs.mkdir(exist_ok=True)
        self.storage.mkdir(exist_ok=True)

    def load_secrets(self) -> Secrets:
        """The stack's secrets; made and kept (mode 0600) at the first call."""
        file = self.home / "secrets.json"
        made = Secrets.generate()
        if file.exists():
            kept = _read_secrets(file)
            # A home of an earlier version lacks what came later.
            later = {name: value for name, value in made.__dict__.items() if name in ADDED_SECRETS}
            try:
                found = Secrets(**{**later, **kept})
            except TypeError as error:
                raise _broken_secrets(file, error) from None
            if found.__dict__ == kept:
                return found
            made = found
        write_private(file, json.dumps(made.__dict__, indent=2) + "\n")
        return made

    def check_ports_are_free(self) -> None:
        """Raise StackError naming the first port that something else listens on."""
        for variable, port in self.ports().items():
            if not port_is_free(port):
                raise StackError(
                    f"Port {port} ({variable}) is taken by another program. Stop that program, "
                    f"or choose another port: make run {variable}={free_port()}"
                )

    def write_stack_env(self, generated: Secrets) -> None:
        """Write stack.env: how to reach the running stack, as shell assignments."""
        values = {
            "ANTENNA_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "ANTENNA_DB_URL": self.db_url(generated.db_password),
            "ANTENNA_JDBC_URI": self.jdbc_uri,
            "ANTENNA_STORAGE": str(self.storage),
            "AIRFLOW_URL": self.airflow_url,
            "AIRFLOW_USER": "admin",
            "AIRFLOW_PASSWORD": generated.airflow_password,
            # May look at everything and change nothing.
            "AIRFLOW_VIEWER_USER": "viewer",
            "AIRFLOW_VIEWER_PASSWORD": generated.airflow_viewer_password,
        }
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        write_private(self.stack_env_file, "".join(lines))


def _read_secrets(file: Path) -> dict[str, str]:
    try:
        kept = json.loads(file.read_text())
    except ValueError as error:
        raise _broken_secrets(file, error) from None
    if not isinstance(kept, dict):
        raise _broken_secrets(file, "it is no JSON object")
    return kept


def _broken_secrets(file: Path, why: object) -> StackError:
    return StackError(
        f"{file} does not hold this stack's secrets ({why}). Restore it, or move {file.parent} "
        "away to start with an empty stack."
    )


def read_stack_env(file: Path) -> dict[str, str]:
    """The assignments of a stack.env."""
    words = shlex.split(file.read_text())
    return dict(word.split("=", 1) for word in words)


def flag(environment: Mapping[str, str], name: str, default: bool) -> bool:
    """A setting that is 0 or 1; raise StackError for anything else."""
    text = environment.get(name, "")
    if text not in ("", "0", "1"):
        raise StackError(f"{name}={text!r} is neither 0 nor 1.")
    return text == "1" if text else default


def write_private(file: Path, text: str) -> None:
    """Replace a file by one that only its owner can read, in one step."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    part.replace(file)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def base_environment() -> dict[str, str]:
    """The caller's environment with this virtual environment's programs first and the project importable."""
    roots = (PROJECT_ROOT, PROJECT_ROOT / "spark_jobs", PROJECT_ROOT / "plugins")
    venv_bin = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{venv_bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join(map(str, roots)),
        # The pinned Spark, whatever else is installed; its scripts do not find it below a path with a space.
        "SPARK_HOME": str(package_folder("pyspark")),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        # The Spark UI and the driver's ports are nobody else's business.
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


def package_folder(name: str) -> Path:
    """Where a package is installed, found without importing it; raises StackError when it is not."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(f"{name} is not installed in this Python. Run `make setup`.")
    return Path(spec.origin).parent


def _port(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise StackError(f"{variable}={text!r} is no port: give a number from 1 to 65535.")
    return int(text)
