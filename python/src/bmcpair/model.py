"""What a BMC is made of, as values: nothing here changes once it is made."""

from __future__ import annotations

import dataclasses
import enum
import struct
from typing import Optional, Tuple, Union


class NetFn(enum.IntEnum):
    """Network functions of requests (IPMI 2.0 table 5-1)."""

    CHASSIS = 0x00
    BRIDGE = 0x02
    SENSOR = 0x04
    APP = 0x06
    FIRMWARE = 0x08
    STORAGE = 0x0A
    TRANSPORT = 0x0C


@dataclasses.dataclass(frozen=True)
class Interface:
    """A system interface: what one host at a time drives."""

    name: str
    kind: str  #: "kcs", "bt" or "smic"
    has_interrupt: bool
    held_by: str  #: who is attached; empty: nobody


@dataclasses.dataclass(frozen=True)
class Sensor:
    number: int
    name: str
    threshold: bool  #: else discrete
    sensor_type: int  #: IPMI 2.0 table 42-3
    unit: int  #: IPMI 2.0 table 43-15
    raw: int
    value: Optional[float]  #: of threshold sensors, in `unit`
    states: int  #: discrete: a mask of asserted offsets; threshold: comparison status bits
    scanning: bool
    lun: int = 0


@dataclasses.dataclass(frozen=True)
class SelRecord:
    """A record of the system event log (IPMI 2.0 ch. 32). The fields of a system event are None in OEM records."""

    id: int
    raw: bytes  #: 16 bytes
    record_type: int
    timestamp: Optional[int]  #: seconds since 1970, or since the BMC's start below 0x20000000; None: record has none
    sensor_type: Optional[int]
    sensor_number: Optional[int]
    event_type: Optional[int]
    asserted: Optional[bool]
    data: Optional[bytes]  #: event data 1 to 3

    @property
    def offset(self) -> Optional[int]:
        """The event's offset: bits 3:0 of event data 1."""
        return None if self.data is None else self.data[0] & 0x0F

    @staticmethod
    def decode(record_id: int, raw: bytes) -> SelRecord:
        if len(raw) != 16:
            raise ValueError(f"a SEL record has 16 bytes, this one {len(raw)}")
        record_type = raw[2]
        timestamp = struct.unpack_from("<I", raw, 3)[0] if record_type < 0xE0 else None
        if record_type >= 0xC0:
            return SelRecord(record_id, raw, record_type, timestamp, None, None, None, None, None)
        return SelRecord(
            record_id, raw, record_type, timestamp, raw[10], raw[11], raw[12] & 0x7F, not raw[12] & 0x80, raw[13:16]
        )


def system_event(
    sensor_type: int,
    sensor_number: int,
    data: Union[bytes, Tuple[int, int, int]],
    *,
    event_type: int = 0x01,
    asserted: bool = True,
    generator: int = 0x20,
) -> bytes:
    """The 16 bytes of a system event record, for `Sel.add`; record id and time are the BMC's."""
    data = bytes(data)
    if len(data) != 3:
        raise ValueError(f"event data has 3 bytes, this {len(data)}")
    return (
        struct.pack("<HBIHBBBB", 0, 0x02, 0, generator, 0x04, sensor_type, sensor_number, event_type | (not asserted) << 7)
        + data
    )


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault rule in force (docs/faults.md)."""

    id: int
    rule: str  #: in the short form
    name: str
    interfaces: Tuple[str, ...]
    matched: int  #: how often its conditions held, counts and probability aside
    fired: int
    remaining: Optional[int]  #: None: without a bound
    over: bool  #: it will not fire any more


@dataclasses.dataclass(frozen=True)
class Message:
    """One IPMI request as the BMC took it, and its answer."""

    interface: str
    at: float  #: seconds on the daemon's clock
    took: float  #: seconds until the answer
    request: bytes  #: NetFn<<2|LUN, Cmd, data
    response: bytes  #: NetFn<<2|LUN, Cmd, completion code, data; empty: there was none
    faults: Tuple[int, ...]  #: ids of the rules that fired for it

    @property
    def netfn(self) -> int:
        return self.request[0] >> 2 if self.request else 0

    @property
    def lun(self) -> int:
        return self.request[0] & 3 if self.request else 0

    @property
    def cmd(self) -> int:
        return self.request[1] if len(self.request) > 1 else 0

    @property
    def data(self) -> bytes:
        """The request's data."""
        return self.request[2:]

    @property
    def cc(self) -> Optional[int]:
        """The completion code; None: no answer, or one without it."""
        return self.response[2] if len(self.response) > 2 else None

    @property
    def response_data(self) -> bytes:
        """What follows the completion code."""
        return self.response[3:]

    def __str__(self) -> str:
        answer = self.response.hex(" ") if self.response else "no answer"
        fired = f"  (faults {', '.join(map(str, self.faults))})" if self.faults else ""
        return f"{self.at:10.6f} {self.interface}: {self.request.hex(' ')} -> {answer}{fired}"


@dataclasses.dataclass(frozen=True)
class Access:
    """One register access, or a fault that fired between two (`offset` is None)."""

    interface: str
    kind: str  #: "kcs", "bt" or "smic"
    at: float  #: seconds on the daemon's clock
    by_host: bool  #: else by the BMC
    write: bool
    offset: Optional[int]
    value: int
    flags_after: int  #: status, BT_CTRL or SMIC flags, as the host would read it
    interrupt_after: bool
    fault: Optional[int]  #: the rule that changed it


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that changed; the kinds are those of `bmcctl watch`."""

    bmc: str
    interface: str
    at: float
    kind: str  #: "sensor", "sel", "power", "attached", "detached", "message", "fault"…
    value: int
    text: str
    dropped: int = 0  #: kind "dropped": events lost just before this one


@dataclasses.dataclass(frozen=True)
class RawReply:
    """What a raw request brought back to the host."""

    cc: int
    data: bytes

    @property
    def ok(self) -> bool:
        return self.cc == 0
