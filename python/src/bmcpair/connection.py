"""The gRPC connection to a bmc_emu: bmcpair.v1.Control."""

from __future__ import annotations

import os
from typing import Any, List, Mapping, Optional, Union

import grpc

from .errors import NotFoundError, RefusedError, UnreachableError

try:
    from .rpc import control_pb2, control_pb2_grpc
except ImportError as error:  # a source tree that was never built
    raise ImportError(
        f"bmcpair.rpc cannot be imported ({error}): it is made when the package is built. "
        "Install the package (pip install ./python), or build the CMake target bmcpair_python "
        "and put its folder, BUILD/python, on PYTHONPATH"
    ) from error

_REPLY_BYTES_MAX = 16 * 1024 * 1024


class Connection:
    """A connection to a daemon: `Connection("unix:/run/bmcpair/bmc_emu.sock")`, `Connection("bmc:7080")`.

    `timeout` is in seconds, of each call. `tls_ca`, `tls_certificate` and `tls_key` are PEM files.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 30.0,
        tls_ca: Union[str, os.PathLike[str], None] = None,
        tls_certificate: Union[str, os.PathLike[str], None] = None,
        tls_key: Union[str, os.PathLike[str], None] = None,
    ) -> None:
        self.address = f"unix:{address}" if address.startswith("/") else address
        self.timeout = timeout
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", _REPLY_BYTES_MAX)]
        if tls_ca or tls_certificate or tls_key:
            credentials = grpc.ssl_channel_credentials(_file(tls_ca), _file(tls_key), _file(tls_certificate))
            self._channel = grpc.secure_channel(self.address, credentials, options)
        else:
            self._channel = grpc.insecure_channel(self.address, options)
        self.stub: Any = control_pb2_grpc.ControlStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: Any) -> Any:
        """One call of the service Control; its errors become ours."""
        try:
            return getattr(self.stub, method)(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise translated(error, self.address) from None

    def version(self) -> str:
        return str(self.call("Version", control_pb2.VersionRequest()).version)

    def names(self) -> List[str]:
        """The names of the daemon's BMCs, in the configuration's order."""
        return [bmc.name for bmc in self.call("List", control_pb2.ListRequest()).bmcs]


def _file(path: Union[str, os.PathLike[str], None]) -> Optional[bytes]:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


_KINDS: Mapping[Any, type] = {
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.UNAVAILABLE: UnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnreachableError,
}


def translated(error: grpc.RpcError, address: str) -> Exception:
    code, details = error.code(), error.details()
    if code == grpc.StatusCode.UNAVAILABLE:
        details = f"nobody answers at {address} ({details})"
    elif code == grpc.StatusCode.DEADLINE_EXCEEDED:
        details = f"no answer from {address} in time"
    kind = _KINDS.get(code, RefusedError)
    made = kind(details)
    assert isinstance(made, Exception)
    return made
