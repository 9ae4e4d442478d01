"""bmcpair: a virtual BMC for tests. docs/pytest.md shows its use; `bmcpair.pytest_plugin` holds the fixtures."""

from .bmc import Faults, Sel, Sensors, VirtualBmc, Watch, connect
from .connection import Connection
from .daemon import DEFAULT_CONFIG, BmcEmu, Programs
from .errors import BmcpairError, HostError, NotFoundError, RefusedError, StartError, UnreachableError, WaitTimeout
from .host import Host
from .model import Access, Event, Fault, Interface, Message, NetFn, RawReply, SelRecord, Sensor, system_event

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_CONFIG",
    "Access",
    "BmcEmu",
    "BmcpairError",
    "Connection",
    "Event",
    "Fault",
    "Faults",
    "Host",
    "HostError",
    "Interface",
    "Message",
    "NetFn",
    "NotFoundError",
    "Programs",
    "RawReply",
    "RefusedError",
    "Sel",
    "SelRecord",
    "Sensor",
    "Sensors",
    "StartError",
    "UnreachableError",
    "VirtualBmc",
    "WaitTimeout",
    "Watch",
    "connect",
    "system_event",
]
