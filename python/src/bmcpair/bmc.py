"""One BMC of a running bmc_emu: sensors, SEL, faults, power, traffic."""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, TypeVar, Union

import grpc

from .connection import Connection, translated
from .errors import NotFoundError, WaitTimeout
from .host import Host
from .model import Access, Event, Fault, Interface, Message, SelRecord, Sensor
from .rpc import control_pb2

if TYPE_CHECKING:
    from .daemon import BmcEmu, Programs

T = TypeVar("T")
Rule = Union[str, Mapping[str, Any]]

_KINDS = {0: "", 1: "kcs", 2: "bt", 3: "smic"}
_NO_REGISTER = 0xFFFF  # of a trace's entry that is no access: a fault that fired
_POWER = {
    "off": "POWER_ACTION_OFF",
    "on": "POWER_ACTION_ON",
    "cycle": "POWER_ACTION_CYCLE",
    "reset": "POWER_ACTION_HARD_RESET",
    "diag": "POWER_ACTION_DIAGNOSTIC_INTERRUPT",
    "soft": "POWER_ACTION_SOFT_SHUTDOWN",
}
_RESET = {"cold": "RESET_KIND_COLD", "warm": "RESET_KIND_WARM"}
# Keys of a rule whose values are hexadecimal in a file.
_HEX_KEYS = frozenset({"cc", "xor", "read_value", "read_xor", "value"})


def rules_text(rules: Sequence[Union[Rule, pathlib.Path]]) -> str:
    """Fault rules as the daemon reads them: short forms, YAML texts, mappings and files, but one kind at a time."""
    if all(isinstance(rule, Mapping) for rule in rules):
        return json.dumps({"faults": [_plain(rule) for rule in rules if isinstance(rule, Mapping)]})  # JSON is YAML
    texts = []
    for rule in rules:
        if isinstance(rule, Mapping):
            raise TypeError("rules as mappings and rules as text do not go together in one call")
        texts.append(rule.read_text(encoding="utf-8") if isinstance(rule, pathlib.Path) else rule)
    return "\n".join(texts)


def _plain(rule: Mapping[str, Any]) -> Dict[str, Any]:
    out: Dict[str, Any] = {}
    for key, value in rule.items():
        if isinstance(value, (bytes, bytearray)):
            value = value.hex(" ")
        elif isinstance(value, datetime.timedelta):
            value = f"{value // datetime.timedelta(microseconds=1)}us"
        elif key in _HEX_KEYS and isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:02x}"
        out[key] = value
    return out


class Sensors:
    """`bmc.sensors["CPU Temp"]` reads, `bmc.sensors["CPU Temp"] = 96` pins a value, by name or number."""

    def __init__(self, bmc: VirtualBmc) -> None:
        self._bmc = bmc

    def list(self) -> List[Sensor]:
        reply = self._bmc._call("ListSensors", control_pb2.ListSensorsRequest())
        return [_sensor(sensor) for sensor in reply.sensors]

    def __iter__(self) -> Iterator[Sensor]:
        return iter(self.list())

    def _one(self, method: str, request: Any) -> Sensor:
        try:
            return _sensor(self._bmc._call(method, request))
        except NotFoundError as error:
            raise NotFoundError(f"{error}; there are: {', '.join(sensor.name for sensor in self.list())}") from None

    def get(self, sensor: Union[str, int]) -> Sensor:
        return self._one("GetSensor", control_pb2.GetSensorRequest(sensor=str(sensor)))

    __getitem__ = get

    def set(self, sensor: Union[str, int], value: float) -> Sensor:
        """Pins a threshold sensor's value, in its unit. Crossings have raised their events when this returns."""
        return self._one("SetSensor", control_pb2.SetSensorRequest(sensor=str(sensor), value=value))

    def __setitem__(self, sensor: Union[str, int], value: float) -> None:
        self.set(sensor, value)

    def set_states(self, sensor: Union[str, int], states: int) -> Sensor:
        """Pins a discrete sensor's asserted states, a mask of offsets 0 to 14."""
        return self._one("SetSensor", control_pb2.SetSensorRequest(sensor=str(sensor), states=states))

    def release(self, sensor: Union[str, int]) -> Sensor:
        """Back to the wave form of the configuration."""
        return self._one("ReleaseSensor", control_pb2.ReleaseSensorRequest(sensor=str(sensor)))


class Sel:
    """The system event log."""

    def __init__(self, bmc: VirtualBmc) -> None:
        self._bmc = bmc

    def list(self) -> List[SelRecord]:
        reply = self._bmc._call("SelList", control_pb2.SelListRequest())
        return [SelRecord.decode(record.id, record.record) for record in reply.records]

    def __iter__(self) -> Iterator[SelRecord]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def add(self, record: bytes) -> int:
        """Adds 16 bytes (`bmcpair.system_event` makes them); the new record's id. Durable when it returns."""
        return int(self._bmc._call("SelAdd", control_pb2.SelAddRequest(record=bytes(record))).id)

    def clear(self) -> None:
        self._bmc._call("SelClear", control_pb2.SelClearRequest())


class Faults:
    """Faults on demand, with the rules of docs/faults.md."""

    def __init__(self, bmc: VirtualBmc) -> None:
        self._bmc = bmc

    def add(self, *rules: Union[Rule, pathlib.Path]) -> List[Fault]:
        """In force when it returns: all of them, or none.

        A rule is the short form ("cc=d5 cmd=get_device_id count=2"), a YAML text with `faults:`, a pathlib.Path to
        such a file, or a mapping ({"cc": 0xd5, "cmd": "get_device_id"}) in which integers of hexadecimal keys, bytes
        and datetime.timedelta may stand.
        """
        if not rules:
            raise TypeError("faults.add: no rule was given")
        request = control_pb2.AddFaultRequest(rules=rules_text(rules))
        if len(rules) == 1 and isinstance(rules[0], pathlib.Path):
            request.file_name = str(rules[0])
        return [_fault(fault) for fault in self._bmc._call("AddFault", request).faults]

    def list(self) -> List[Fault]:
        return [_fault(fault) for fault in self._bmc._call("ListFaults", control_pb2.ListFaultsRequest()).faults]

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.list())

    def get(self, fault: Union[Fault, int]) -> Fault:
        """The rule as it is now: how often it fired."""
        wanted = fault.id if isinstance(fault, Fault) else fault
        for one in self.list():
            if one.id == wanted:
                return one
        raise NotFoundError(f"there is no fault {wanted}; there are: {[one.id for one in self.list()]}")

    def clear(self, *faults: Union[Fault, int]) -> int:
        """Ends these, or all; what they have imposed ends at once. How many there were."""
        ids = [fault.id if isinstance(fault, Fault) else fault for fault in faults]
        return int(self._bmc._call("ClearFaults", control_pb2.ClearFaultsRequest(ids=ids)).cleared)

    @contextlib.contextmanager
    def in_force(self, *rules: Union[Rule, pathlib.Path]) -> Iterator[List[Fault]]:
        """`with bmc.faults.in_force("hold=b_busy"):`; cleared at its end."""
        added = self.add(*rules)
        try:
            yield added
        finally:
            self.clear(*added)


class Watch:
    """Events as they come, none missed since `bmc.watch()` was entered. A context manager."""

    def __init__(self, bmc: VirtualBmc, messages: bool) -> None:
        self._address = bmc.connection.address
        self._timeout = bmc.connection.timeout
        self._stream = bmc.connection.stub.Watch(control_pb2.WatchRequest(bmc=bmc.name, messages=messages))
        self._queue: queue.Queue[Union[Event, Exception]] = queue.Queue()
        self._thread = threading.Thread(target=self._read, name="bmcpair watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        first = self.next(self._timeout)
        assert first.kind == "watching", first
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.cancel()
        self._thread.join()

    def _read(self) -> None:
        try:
            for event in self._stream:
                self._queue.put(
                    Event(event.bmc, event.interface, event.at_us / 1e6, event.kind, event.value, event.text, event.dropped)
                )
            self._queue.put(EOFError("the daemon ended the watch"))
        except grpc.RpcError as error:
            self._queue.put(translated(error, self._address))

    def next(self, timeout: float = 10.0) -> Event:
        try:
            event = self._queue.get(timeout=max(timeout, 0))
        except queue.Empty:
            raise WaitTimeout(f"no event within {timeout:g} s") from None
        if isinstance(event, Exception):
            raise event
        return event

    def wait_for(self, kind: str, text: str = "", timeout: float = 10.0) -> Event:
        """The next event of a kind, with this in its text. Events before it are passed over."""
        end = time.monotonic() + timeout
        seen: List[str] = []
        while True:
            try:
                event = self.next(end - time.monotonic())
            except WaitTimeout:
                raise WaitTimeout(
                    f"no event '{kind}'{f' with {text!r}' if text else ''} within {timeout:g} s; there were: {seen or 'none'}"
                ) from None
            if event.kind == kind and text in event.text:
                return event
            seen.append(f"{event.kind}: {event.text}")


class VirtualBmc:
    """One BMC. `daemon` is the process behind it, where this package started it."""

    def __init__(
        self, connection: Connection, name: str, *, daemon: Optional[BmcEmu] = None, programs: Optional[Programs] = None
    ) -> None:
        self.connection = connection
        self.name = name
        self._daemon = daemon
        self._programs = programs
        self.sensors = Sensors(self)
        self.sel = Sel(self)
        self.faults = Faults(self)

    def __repr__(self) -> str:
        return f"<VirtualBmc {self.name} at {self.address}>"

    def _call(self, method: str, request: Any) -> Any:
        request.bmc = self.name
        return self.connection.call(method, request)

    # ---- where it is ----
    @property
    def address(self) -> str:
        """Of the daemon's gRPC server: "unix:/…" or "HOST:PORT"; what BMCPAIR_ADDRESS is to bmcctl."""
        return self.connection.address

    @property
    def daemon(self) -> BmcEmu:
        if self._daemon is None:
            raise NotFoundError(f"the daemon at {self.address} was not started here")
        return self._daemon

    def bus(self, interface: str = "") -> str:
        """The bus spec of an interface, for `host_driver --bus`; the first interface when none is named."""
        there = [one.name for one in self.interfaces()]
        if not interface:
            if not there:
                raise NotFoundError(f"{self.name} has no system interface")
            interface = there[0]
        elif interface not in there:
            raise NotFoundError(f"{self.name} has no interface '{interface}'; there are: {', '.join(there)}")
        return f"grpc:{self.address}#{self.name}/{interface}"

    def host(self, interface: str = "", *, profile: str = "hardened", timeout: float = 60.0) -> Host:
        """A host at an interface: raw requests, and programs that see /dev/ipmi0."""
        from .daemon import Programs

        return Host(self.bus(interface), self._programs or Programs(), profile=profile, timeout=timeout)

    def interfaces(self) -> List[Interface]:
        summary = self._call("Describe", control_pb2.DescribeRequest()).summary
        return [Interface(i.name, _KINDS.get(i.kind, ""), i.has_interrupt, i.held_by) for i in summary.interfaces]

    # ---- what it does ----
    @property
    def power(self) -> str:
        """The host's power: "on" or "off"."""
        return "on" if self._call("Describe", control_pb2.DescribeRequest()).summary.power_on else "off"

    def set_power(self, action: str) -> str:
        """on, off, cycle, reset, diag or soft; the power after it."""
        request = control_pb2.PowerRequest(action=_one_of("power", action, _POWER))
        return "on" if self._call("Power", request).power_on else "off"

    def reset(self, kind: str = "cold") -> None:
        """Resets the BMC itself: cold or warm. Its interfaces are away for the configuration's `reset` times."""
        self._call("Reset", control_pb2.ResetRequest(kind=_one_of("reset", kind, _RESET)))

    # ---- what it saw ----
    def record_traffic(self, on: bool = True) -> None:
        """Begins anew, or ends. The fixtures begin when the BMC starts."""
        self._call("SetTrace", control_pb2.SetTraceRequest(on=False))
        if on:
            self._call("SetTrace", control_pb2.SetTraceRequest(on=True))

    def clear_traffic(self) -> None:
        """Forgets what was recorded so far."""
        self.record_traffic()

    def traffic(
        self, netfn: Optional[int] = None, cmd: Optional[int] = None, *, interface: str = ""
    ) -> List[Message]:
        """The requests that the BMC took, oldest first, and its answers; only these, if NetFn, Cmd or interface is given."""
        reply = self._call("GetTrace", control_pb2.GetTraceRequest(interface=interface))
        out = [
            Message(m.interface, m.at_ns / 1e9, m.took_ns / 1e9, m.request, m.response, tuple(m.faults))
            for m in reply.messages
            if not interface or m.interface == interface
        ]
        return [m for m in out if (netfn is None or m.netfn == netfn) and (cmd is None or m.cmd == cmd)]

    def accesses(self, interface: str = "") -> List[Access]:
        """Every register access of both sides, oldest first, as far as the daemon's bound reaches."""
        reply = self._call("GetTrace", control_pb2.GetTraceRequest(interface=interface))
        return [
            Access(
                a.interface,
                _KINDS.get(a.kind, ""),
                a.at_ns / 1e9,
                a.face == 1,
                a.is_write,
                None if a.offset == _NO_REGISTER else a.offset,
                a.value,
                a.flags_after,
                a.interrupt_after,
                a.fault or None,
            )
            for a in reply.accesses
        ]

    def watch(self, *, messages: bool = False) -> Watch:
        """Events as they come: `with bmc.watch() as events: …; events.wait_for("sel")`."""
        return Watch(self, messages)

    def wait_for(self, condition: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
        """Until `condition()` is true; its value. Asked again and again: it must not change anything."""
        end = time.monotonic() + timeout
        pause = 0.002
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() >= end:
                raise WaitTimeout(f"{what or 'what was waited for'} did not come within {timeout:g} s; last: {value!r}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    def wait_for_message(
        self,
        netfn: Optional[int] = None,
        cmd: Optional[int] = None,
        *,
        count: int = 1,
        interface: str = "",
        timeout: float = 10.0,
    ) -> List[Message]:
        """Until that many such requests have been recorded; all of them."""

        def enough() -> List[Message]:
            found = self.traffic(netfn, cmd, interface=interface)
            return found if len(found) >= count else []

        wanted = f"NetFn {'any' if netfn is None else hex(netfn)}, Cmd {'any' if cmd is None else hex(cmd)}"
        return self.wait_for(enough, timeout, f"{count} request(s) with {wanted}")


def connect(address: str, bmc: str = "", **how: Any) -> VirtualBmc:
    """A BMC of a daemon that runs elsewhere, e.g. `connect("bmc:7080")`; `how` is Connection's."""
    connection = Connection(address, **how)
    try:
        names = connection.names()
        if bmc and bmc not in names:
            raise NotFoundError(f"{connection.address} has no BMC '{bmc}'; there are: {', '.join(names)}")
        if not bmc and len(names) != 1:
            raise NotFoundError(f"{connection.address} has {len(names)} BMCs; say which: {', '.join(names)}")
    except BaseException:
        connection.close()
        raise
    return VirtualBmc(connection, bmc or names[0])


def _one_of(what: str, word: str, table: Mapping[str, str]) -> str:
    if word not in table:
        raise ValueError(f"{what}: '{word}' is none of {', '.join(table)}")
    return table[word]


def _sensor(sensor: Any) -> Sensor:
    return Sensor(
        sensor.number,
        sensor.name,
        sensor.threshold,
        sensor.sensor_type,
        sensor.unit,
        sensor.raw,
        sensor.value if sensor.threshold else None,
        sensor.states,
        sensor.scanning,
        sensor.lun,
    )


def _fault(fault: Any) -> Fault:
    return Fault(
        fault.id,
        fault.rule,
        fault.name,
        tuple(fault.interfaces),
        fault.matched,
        fault.fired,
        fault.remaining if fault.bounded else None,
        fault.over,
    )
