"""supervisord keeps the stack's processes running; this writes its configuration and talks to it."""

import configparser
import hashlib
import io
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from include.local_stack.settings import Settings, StackError, write_private

LOG_BYTES = "10MB"
LOG_BACKUPS = 3
# sockaddr_un holds 104 bytes on some systems, and supervisord binds a longer name before it moves it here.
LONGEST_SOCKET_PATH = 85


@dataclass(frozen=True)
class Program:
    """One supervised process."""

    name: str
    command: Sequence[str]
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    # Where the whole process group is signalled, children cannot end in the order that their parent wants.
    signal_group: bool = True


@dataclass(frozen=True)
class ProgramState:
    """What supervisord says of a program; `state` is its own word, such as RUNNING or BACKOFF."""

    name: str
    state: str
    pid: int
    uptime_seconds: int


class Supervisor:
    """The supervisord of one stack."""

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self._logs = settings.logs
        self.socket = _socket_path(settings.home)

    def start(self, programs: Sequence[Program], environment: dict[str, str]) -> None:
        """Start supervisord in a session of its own, where Ctrl-C does not reach; no program runs yet."""
        configuration = self._home / "supervisord.conf"
        write_private(configuration, self._configuration(programs))
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)]
        output = self._logs / "supervisord.out"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while not self.is_running():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise StackError(f"supervisord does not start:\n{output.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def is_running(self) -> bool:
        """Whether supervisord answers."""
        try:
            self._rpc().getState()
        except OSError:
            return False
        return True

    def states(self) -> dict[str, ProgramState]:
        """Program name -> state; empty when supervisord does not run."""
        try:
            found = self._rpc().getAllProcessInfo()
        except OSError:
            return {}
        return {
            info["name"]: ProgramState(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                uptime_seconds=max(info["now"] - info["start"], 0) if info["pid"] else 0,
            )
            for info in found
        }

    def start_program(self, name: str) -> None:
        """Start a program without waiting for it; one that runs is left alone."""
        self._ignoring(Faults.ALREADY_STARTED, self._rpc().startProcess, name, False)

    def stop_program(self, name: str, wait: bool = True) -> None:
        """Stop a program in its own way; one that does not run is left alone."""
        self._ignoring(Faults.NOT_RUNNING, self._rpc().stopProcess, name, wait)

    def shutdown(self) -> None:
        """End supervisord, with whatever it still runs."""
        self._rpc().shutdown()

    @staticmethod
    def _ignoring(code: int, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Fault as fault:
            if fault.faultCode != code:
                raise

    def _rpc(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        return ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def _configuration(self, programs: Sequence[Program]) -> str:
        # Relative to the home, in which supervisord runs: it interpolates some of these twice.
        logs = str(self._logs.relative_to(self._home))
        parser = configparser.RawConfigParser()
        parser["unix_http_server"] = {"file": str(self.socket), "chmod": "0600"}
        parser["rpcinterface:supervisor"] = {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        }
        parser["supervisord"] = {
            "logfile": f"{logs}/supervisord.log",
            "logfile_maxbytes": LOG_BYTES,
            "logfile_backups": str(LOG_BACKUPS),
            "pidfile": "supervisord.pid",
            "childlogdir": logs,
        }
        for program in programs:
            parser[f"program:{program.name}"] = {
                "command": shlex.join(program.command),
                "autostart": "false",
                "autorestart": "true",
                "startretries": "1000",
                "stopsignal": program.stop_signal,
                "stopwaitsecs": str(program.stop_seconds),
                "stopasgroup": str(program.signal_group).lower(),
                "killasgroup": "true",
                "redirect_stderr": "true",
                "stdout_logfile": f"{logs}/{program.name}.log",
                "stdout_logfile_maxbytes": LOG_BYTES,
                "stdout_logfile_backups": str(LOG_BACKUPS),
            }
        # supervisord interpolates.
        for section in parser.sections():
            for key, value in parser[section].items():
                parser[section][key] = value.replace("%", "%%")
        text = io.StringIO()
        parser.write(text)
        return text.getvalue()


def _socket_path(home: Path) -> Path:
    path = home / "run" / "supervisor.sock"
    if len(str(path).encode()) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"antenna-{digest}" / "supervisor.sock"
