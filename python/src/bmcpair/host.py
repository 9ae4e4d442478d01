"""A host at a system interface: the program host_driver."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Union

from .errors import HostError
from .model import RawReply

if TYPE_CHECKING:
    from .daemon import Programs

_CC_NOT_OK = 4  # host_driver raw: the BMC answered another completion code than 0


class Host:
    """Drives one interface. Each call is a host of its own: it attaches, brings the interface up, and lets go.

    What bringing up asks (Get Device ID and more) is in the BMC's traffic, too.
    """

    def __init__(self, bus: str, programs: Programs, *, profile: str = "hardened", timeout: float = 60.0) -> None:
        self.bus = bus
        self._programs = programs
        self._profile = profile
        self._timeout = timeout

    def command(self, *words: str) -> Any:
        """`host_driver WORDS` for this bus, with its JSON as values: command("sensors"), command("sel", "list")."""
        done = self._host_driver("--profile", self._profile, "--json", *words)
        try:
            answer = json.loads(done.stdout)[0]
        except (ValueError, IndexError, KeyError):
            raise HostError(f"host_driver {' '.join(words)}: exit status {done.returncode}: {done.stderr.strip()}") from None
        if "error" in answer or done.returncode not in (0, _CC_NOT_OK):
            raise HostError(f"host_driver {' '.join(words)}: {answer.get('error') or done.stderr.strip()}")
        return answer

    def raw(self, netfn: int, cmd: int, data: Union[bytes, Sequence[int]] = b"", *, lun: int = 0) -> RawReply:
        """One request, through the driver and the registers."""
        answer = self.command("raw", "--lun", str(lun), *(str(byte) for byte in (netfn, cmd, *bytes(data))))
        return RawReply(int(answer["completion_code"]), bytes.fromhex(answer["data"]))

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = False,
        timeout: Optional[float] = None,
        input: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program that believes in a /dev/ipmi0 (or a KCS port): `host.run(["ipmitool", "sdr"])`.

        The answer is subprocess.run's, with text. `env` is added to the environment.
        """
        done = self._host_driver("run", "--", *command, timeout=timeout, input=input, env=env)
        if check and done.returncode != 0:
            raise HostError(f"{' '.join(command)}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def _host_driver(
        self,
        *words: str,
        timeout: Optional[float] = None,
        input: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> subprocess.CompletedProcess[str]:
        wanted = self._timeout if timeout is None else timeout
        arguments: List[str] = [self._programs.path("host_driver"), "--bus", self.bus, *words]
        try:
            return subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL if input is None else None,
                input=input,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=wanted,
                env={**os.environ, **(env or {})},
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"host_driver {' '.join(words)}: not done within {wanted:g} s") from None
