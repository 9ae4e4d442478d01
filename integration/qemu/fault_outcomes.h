// The faults that a guest meets, as data.
#pragma once

#include <string>
#include <vector>

namespace bmcpair::integration {

struct FaultRow {
  const char* name;
  const char* rule;      // as for bmcctl fault add
  std::string kinds;     // "bt", "kcs"; empty: both
  bool registers;        // needs a face with registers
  const char* prepare = "";  // what the guest does first, with the fault in force
};

// Loads the driver anew: what Linux does while it probes.
constexpr const char* kProbe = "modprobe -r ipmi_si; modprobe ipmi_si; sleep 1";

inline const std::vector<FaultRow> kFaultRows = {
    {"completion code D5, once", "cc=d5 cmd=get_device_id count=1", "", false},
    {"completion code C0, once", "cc=c0 cmd=get_device_id count=1", "", false},
    {"completion code C3, once", "cc=c3 cmd=get_device_id count=1", "", false},
    {"completion code D1, once", "cc=d1 cmd=get_device_id count=1", "", false},
    {"completion code D2, once", "cc=d2 cmd=get_device_id count=1", "", false},
    {"completion code FF, once", "cc=ff cmd=get_device_id count=1", "", false},
    {"no answer, once", "drop=answer cmd=get_device_id count=1", "", false},
    {"answer 1 s late, once", "delay=1s cmd=get_device_id count=1", "", false},
    {"answer 7 s late, once", "delay=7s cmd=get_device_id count=1", "", false},
    {"wrong sequence, once", "sequence=1 cmd=get_device_id count=1", "", false},
    {"wrong NetFn, once", "answer_netfn=0x0b cmd=get_device_id count=1", "", false},
    {"wrong Cmd, once", "answer_cmd=2 cmd=get_device_id count=1", "", false},
    {"answer cut to 2 bytes, once", "truncate=2 cmd=get_device_id count=1", "", false},
    {"answer cut to 6 bytes, once", "truncate=6 cmd=get_device_id count=1", "", false},
    {"answer 8 bytes longer, once", "extend=8 cmd=get_device_id count=1", "", false},
    {"BT length byte 2, once", "length_byte=2 cmd=get_device_id count=1", "bt", true},
    {"BT length byte FF, once", "length_byte=255 cmd=get_device_id count=1", "bt", true},
    {"data byte corrupted, once", "corrupt=3 cmd=get_device_id count=1", "", false},
    {"bad checksum, once", "bad_checksum=true cmd=get_device_id count=1", "vm", false},
    {"the answer before again, once", "previous_answer=true cmd=get_device_id count=1", "", false},
    {"answered twice, once", "duplicate=1 cmd=get_device_id count=1", "", false},
    {"B_BUSY held 3 s", "hold=b_busy duration=3s", "bt", true},
    {"H2B_ATN held 3 s", "hold=h2b_atn duration=3s", "bt", true},
    {"B2H_ATN withheld 3 s", "withhold=b2h_atn duration=3s", "bt", true},
    {"H_BUSY held 3 s", "hold=h_busy duration=3s", "bt", true},
    {"IBF held 3 s", "hold=ibf duration=3s", "kcs", true},
    {"OBF withheld 3 s", "withhold=obf duration=3s", "kcs", true},
    {"KCS error while writing, once", "bmc=error phase=write access=write count=1", "kcs", true},
    {"KCS error while reading, once", "bmc=error phase=read access=read count=1", "kcs", true},
    {"BMC stalls 3 s", "bmc=stall duration=3s", "", true},
    {"a write lost, once", "lose_write=true phase=write count=1", "", true},
    {"interrupts lost for 3 s", "interrupt=lose until=3s", "", true},
    {"spurious interrupts for 3 s", "interrupt=spurious period=5ms until=3s", "", true},
    {"interrupt storm, 2 s", "interrupt=storm duration=2s", "", true},
    {"SMS_ATN storm, 2 s", "attention=storm duration=2s", "", true},
    {"registers read FF for 3 s", "read_value=ff until=3s", "", true},
    {"warm reset while writing", "bmc=warm_reset phase=write access=write count=1", "", true},
    {"warm reset while executing", "bmc=warm_reset cmd=get_device_id count=1", "", false},
    {"cold reset while reading", "bmc=cold_reset phase=read access=read count=1", "", true},
    {"probe: D5 to Get Device ID, once", "cc=d5 cmd=get_device_id count=1", "", false, kProbe},
    {"probe: D5 to Get Device ID, twice", "cc=d5 cmd=get_device_id count=2", "", false, kProbe},
    {"probe: D5 to Get Device ID, always", "cc=d5 cmd=get_device_id", "", false, kProbe},
    {"probe: C0 to every command, 3 times", "cc=c0 count=3", "", false, kProbe},
    {"probe: no answer, once", "drop=answer count=1", "", false, kProbe},
};

}  // namespace bmcpair::integration
