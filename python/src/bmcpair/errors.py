"""What can go wrong. Every message is one that a person can act on."""

from __future__ import annotations


class BmcpairError(Exception):
    """The base of all errors of this package."""


class NotFoundError(BmcpairError):
    """A program, a BMC, a sensor or an interface is not there; the message says which there are."""


class StartError(BmcpairError):
    """bmc_emu did not start; the message is what it said."""


class RefusedError(BmcpairError):
    """The daemon refused a call: a wrong fault rule, a value out of range, a full SEL."""


class UnreachableError(BmcpairError):
    """Nobody answers at the daemon's address, or not in time."""


class HostError(BmcpairError):
    """host_driver failed: its bus or its BMC cannot be reached, or the request was never answered."""


class WaitTimeout(BmcpairError, TimeoutError):
    """What was waited for did not come in time."""
