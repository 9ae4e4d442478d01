#!/bin/sh
# A script of faults, for compose.faults.yaml: bmcctl, in the order in which things are to go wrong.
set -eu
bmcctl health --wait 60
# A busy BMC: the first two Get Device ID of a client are refused; then requests are lost and answers are late.
bmcctl fault add demo "cc=c0 cmd=get_device_id interface=kcs count=2 name=script"
bmcctl fault add demo /faults/slow-and-lossy.yaml
echo "faults in force:"
exec bmcctl watch demo
