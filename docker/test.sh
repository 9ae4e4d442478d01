#!/bin/sh
# The test of compose.yaml: unmodified IPMI clients on /dev/ipmi0, against what configs/demo.yaml says. Exit status 0: all as it should be.
set -u

# retry SECONDS WHAT COMMAND...: until it succeeds; its output is in $out.
retry() {
  limit=$1 what=$2; shift 2
  end=$(($(date +%s) + limit))
  until out=$("$@" 2>&1); do
    if [ "$(date +%s)" -ge "$end" ]; then
      echo "FAILED: $what did not succeed within $limit s; the last time it said: $out"
      exit 1
    fi
    sleep 0.2
  done
}
# expect WHAT TEXT: what is in $out.
expect() {
  case $out in
    *"$2"*) echo "ok: $1: $2" ;;
    *) echo "FAILED: $1: expected '$2' in: $out"; exit 1 ;;
  esac
}

if [ -n "${EXPECT_FAULTS:-}" ]; then
  faults_added() { bmcctl fault list demo | grep -q name=script; }
  retry 120 "adding the faults" faults_added
fi

retry 120 "ipmitool mc info" ipmitool -I open mc info
expect "ipmitool mc info" "Firmware Revision         : $EXPECT_FIRMWARE"
retry 60 "ipmitool sensor" ipmitool -I open sensor get "Inlet Temp"
expect "ipmitool sensor get" "Sensor Reading        : 23.6"
retry 60 "ipmitool fru" ipmitool -I open fru print 0
expect "ipmitool fru" "Demo Server"
retry 60 "bmc-info" bmc-info --driver-type=OPENIPMI --get-device-id
expect "bmc-info" "Firmware Revision     : $EXPECT_FIRMWARE"
retry 60 "ipmitool sel clear" ipmitool -I open sel clear

# A sensor crosses its threshold; the client finds the event.
retry 60 "bmcctl sensor set" bmcctl sensor set demo "Inlet Temp" 50
event() { ipmitool -I open sel elist | grep "Inlet Temp"; }
retry 60 "the event in the SEL" event
expect "ipmitool sel elist" "Upper Critical going high"
retry 60 "bmcctl sensor release" bmcctl sensor release demo "Inlet Temp"

if [ -n "${EXPECT_FAULTS:-}" ]; then
  # Both refusals happened, and every client above came through all the same.
  refused() { bmcctl fault list demo | grep "name=script" | grep -w over; }
  retry 60 "the refusals of Get Device ID" refused
  echo "ok: $out"
fi
echo "all as it should be"
