"""A private bmc_emu process."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
from typing import Any, Deque, Dict, Iterator, List, Mapping, Optional, Sequence, Union

from .bmc import VirtualBmc
from .connection import Connection
from .errors import NotFoundError, StartError

#: What a test gets that asks for nothing: one BMC with KCS and BT, quick to answer.
DEFAULT_CONFIG: Dict[str, Any] = {
    "bmcs": [
        {
            "name": "bmc",
            "interfaces": [
                {"kind": "kcs", "latency": {"access": "2us", "response": "50us"}},
                {"kind": "bt", "latency": {"access": "2us", "response": "50us"}},
            ],
            "sensors": [
                {
                    "name": "Temp",
                    "type": "temperature",
                    "initial": 30,
                    "thresholds": {"upper_non_critical": 70, "upper_critical": 80},
                },
                {"name": "Fan", "type": "fan", "min": 0, "max": 15000, "initial": 7200, "thresholds": {"lower_critical": 1500}},
                {"name": "PSU", "type": "power supply", "states": [0]},
            ],
            "frus": [{"product": {"manufacturer": "bmcpair", "name": "Virtual", "serial": "1"}}],
        }
    ]
}

Config = Union[str, "os.PathLike[str]", Mapping[str, Any], None]
_LOG_LINES_MAX = 2000


class Programs:
    """Where bmc_emu and host_driver are: `folder`, else $BMCPAIR_BIN_DIR, else the PATH."""

    def __init__(self, folder: Union[str, os.PathLike[str], None] = None) -> None:
        self.folder = os.fspath(folder) if folder else os.environ.get("BMCPAIR_BIN_DIR", "")

    def path(self, program: str) -> str:
        if self.folder:
            path = os.path.join(self.folder, program)
            if os.access(path, os.X_OK):
                return path
            raise NotFoundError(f"there is no program {path}; the folder is that of BMCPAIR_BIN_DIR or bmcpair_bin_dir")
        found = shutil.which(program)
        if found is None:
            raise NotFoundError(f"{program} is not on the PATH; say where it is with BMCPAIR_BIN_DIR")
        return found


class BmcEmu:
    """A daemon with the BMCs of a configuration, on a private unix socket, until `stop()`. A context manager.

    `config` is a YAML file's path, a mapping of the same shape (docs/configuration.md), or None for DEFAULT_CONFIG.
    `state` is a folder in which SEL, FRU writes, users and settings survive `restart()`. `listen` adds an address, e.g.
    "127.0.0.1:0". `options` are more options of bmc_emu. The daemon ends when this process ends, however it does.
    """

    def __init__(
        self,
        config: Config = None,
        *,
        programs: Optional[Programs] = None,
        state: Union[str, os.PathLike[str], None] = None,
        listen: str = "",
        options: Sequence[str] = (),
        record_traffic: bool = True,
        timeout: float = 60.0,
    ) -> None:
        self._programs = programs or Programs()
        self._state = os.fspath(state) if state else ""
        self._listen = listen
        self._options = list(options)
        self._record_traffic = record_traffic
        self._timeout = timeout
        self._log: Deque[str] = collections.deque(maxlen=_LOG_LINES_MAX)
        self._process: Optional[subprocess.Popen[str]] = None
        self._reader: Optional[threading.Thread] = None
        self._bmcs: Dict[str, VirtualBmc] = {}
        # Not below a test's own folder: a socket's path has at most 107 bytes.
        self._folder = tempfile.mkdtemp(prefix="bmcpair-")
        try:
            self._config = self._config_file(config)
            self.connection = self._start()
            for name in self.connection.names():
                self._bmcs[name] = VirtualBmc(self.connection, name, daemon=self, programs=self._programs)
            self._begin_recording()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> BmcEmu:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- its BMCs ----
    def __getitem__(self, name: str) -> VirtualBmc:
        if name not in self._bmcs:
            raise NotFoundError(f"there is no BMC '{name}'; there are: {', '.join(self._bmcs)}")
        return self._bmcs[name]

    def __iter__(self) -> Iterator[VirtualBmc]:
        return iter(self._bmcs.values())

    def __len__(self) -> int:
        return len(self._bmcs)

    @property
    def first(self) -> VirtualBmc:
        return next(iter(self._bmcs.values()))

    # ---- the process ----
    @property
    def address(self) -> str:
        """"unix:/…" of its private socket."""
        return self.connection.address

    @property
    def tcp_addresses(self) -> List[str]:
        """What it listens on besides, with the ports that were chosen."""
        lines = [line.split("gRPC on ", 1)[1].split(" (")[0] for line in self.log if "gRPC on " in line]
        return [address for address in lines if not address.startswith("unix:")]

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StartError("bmc_emu is not running")
        return self._process.pid

    @property
    def log(self) -> List[str]:
        """What it printed, the newest 2000 lines."""
        return list(self._log)

    def stop(self) -> Optional[int]:
        """SIGTERM, and waits; what it kept in private folders is gone. Its exit status; None: it was not running."""
        status = self._end(signal.SIGTERM)
        if hasattr(self, "connection"):
            self.connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return status

    def kill(self) -> None:
        """SIGKILL: a daemon that dies. `restart()` brings it back, with what `state` kept."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops it, if it runs, and starts it again at the same address. Fault rules that were added are gone."""
        self._end(signal.SIGTERM)
        connection = self._start()
        self.connection.close()
        self.connection = connection
        for bmc in self._bmcs.values():
            bmc.connection = connection
        self._begin_recording()

    # ---- inside ----
    def _config_file(self, config: Config) -> str:
        if config is None:
            config = DEFAULT_CONFIG
        if isinstance(config, Mapping):
            path = pathlib.Path(self._folder, "config.yaml")
            path.write_text(json.dumps(config, indent=1), encoding="utf-8")  # JSON is YAML
            return str(path)
        return os.path.abspath(config)

    def _begin_recording(self) -> None:
        if self._record_traffic:
            for bmc in self._bmcs.values():
                bmc.record_traffic()

    def _start(self) -> Connection:
        run = os.path.join(self._folder, "run")
        socket = os.path.join(run, "bmc_emu.sock")
        arguments = [self._programs.path("bmc_emu"), self._config, "--run-dir", run, "--listen", f"unix:{socket}"]
        if self._listen:
            arguments += ["--listen", self._listen]
        if self._state:
            arguments += ["--state", self._state]
        # Its standard input is a pipe that nobody writes to: it ends with us, and the daemon with it.
        arguments += ["--stop-with-stdin", *self._options]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BMCPAIR_")}
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        self._process = process
        said: List[str] = []
        ready = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                line = line.rstrip("\n")
                self._log.append(line)
                if not ready.is_set():
                    said.append(line)
                    if line == "bmc_emu: ready":
                        ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, name="bmc_emu log", daemon=True)
        self._reader.start()
        if not ready.wait(self._timeout):
            self._end(signal.SIGKILL)
            raise StartError(f"bmc_emu was not ready within {self._timeout:g} s; it said: {' / '.join(said) or 'nothing'}")
        if not said or said[-1] != "bmc_emu: ready":
            status = self._end(None)
            raise StartError(f"bmc_emu did not start (exit status {status}):\n" + "\n".join(said))
        return Connection(f"unix:{socket}")

    def _end(self, number: Optional[int]) -> Optional[int]:
        process, self._process = self._process, None
        if process is None:
            return None
        if number is not None and process.poll() is None:
            process.send_signal(number)
        try:
            status = process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if self._reader is not None:
            self._reader.join()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return status
