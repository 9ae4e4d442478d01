// The faults that a guest meets, as data: the rows of docs/guest_faults.md.
#pragma once

#include <cstdint>
#include <vector>

namespace bmcpair::integration {

// Which devices can meet a fault: the registers are ours over vfio-user, QEMU's on the VM protocol.
enum FaultTarget : uint8_t { kOnBt = 1, kOnKcs = 2, kOnVmBt = 4, kOnVmKcs = 8 };
constexpr uint8_t kOnRegisters = kOnBt | kOnKcs;
constexpr uint8_t kOnVm = kOnVmBt | kOnVmKcs;
constexpr uint8_t kOnAll = kOnRegisters | kOnVm;

struct FaultRow {
  const char* name;
  const char* rule;  // as for bmcctl fault add
  uint8_t targets = kOnAll;
  bool probe = false;  // the driver is loaded anew with the fault in force
  // Where it never works again though the fault has gone, and why.
  uint8_t dead = 0;
  // Where it may come to that.
  uint8_t may_die = 0;
  const char* why = "";
};

constexpr const char* kWhySequence =
    "QEMU stops its own timer for an answer whose sequence number it does not know, and drops the answer: the device waits for ever";
constexpr const char* kWhyLate =
    "QEMU gives up after 4 s and says C3; where its timer is late, Linux gives up first, after 5 s, and QEMU's KCS does not survive that "
    "abort";

inline const std::vector<FaultRow> kFaultRows = {
    {"completion code D5", "cc=d5 cmd=get_self_test_results count=1"},
    {"completion code C0", "cc=c0 cmd=get_self_test_results count=1"},
    {"completion code C3", "cc=c3 cmd=get_self_test_results count=1"},
    {"completion code D1", "cc=d1 cmd=get_self_test_results count=1"},
    {"completion code D2", "cc=d2 cmd=get_self_test_results count=1"},
    {"completion code FF", "cc=ff cmd=get_self_test_results count=1"},
    {"no answer", "drop=answer cmd=get_self_test_results count=1", kOnAll, false, 0, kOnVmKcs, kWhyLate},
    {"answer 1 s late", "delay=1s cmd=get_self_test_results count=1"},
    {"answer 7 s late", "delay=7s cmd=get_self_test_results count=1", kOnAll, false, 0, kOnVmKcs, kWhyLate},
    {"wrong NetFn", "answer_netfn=0x0b cmd=get_self_test_results count=1"},
    {"wrong Cmd", "answer_cmd=2 cmd=get_self_test_results count=1"},
    {"answer cut to NetFn and Cmd", "truncate=2 cmd=get_self_test_results count=1", kOnAll, false, 0, kOnVmKcs, kWhyLate},
    {"answer a byte short", "truncate=4 cmd=get_self_test_results count=1"},
    {"answer 8 bytes longer", "extend=8 cmd=get_self_test_results count=1"},
    {"BT length byte 2", "length_byte=2 cmd=get_self_test_results count=1", kOnBt},
    {"BT length byte FF", "length_byte=255 cmd=get_self_test_results count=1", kOnBt},
    {"a data byte corrupted", "corrupt=3 cmd=get_self_test_results count=1"},
    {"bad checksum", "bad_checksum=true cmd=get_self_test_results count=1", kOnVm, false, 0, kOnVmKcs, kWhyLate},
    {"the answer before again", "previous_answer=true cmd=get_self_test_results count=1"},
    {"answered twice", "duplicate=1 cmd=get_self_test_results count=1"},
    {"B_BUSY held 3 s", "hold=b_busy duration=3s", kOnBt},
    {"H2B_ATN held 3 s", "hold=h2b_atn duration=3s", kOnBt},
    {"B2H_ATN withheld 3 s", "withhold=b2h_atn duration=3s", kOnBt},
    {"H_BUSY held 3 s", "hold=h_busy duration=3s", kOnBt},
    {"IBF held 3 s", "hold=ibf duration=3s", kOnKcs},
    {"OBF withheld 3 s", "withhold=obf duration=3s", kOnKcs},
    {"KCS error while writing", "bmc=error phase=write access=write count=1", kOnKcs},
    {"KCS error while reading", "bmc=error phase=read access=read count=1", kOnKcs},
    {"BMC stalls 3 s", "bmc=stall duration=3s", kOnRegisters},
    {"a write lost", "lose_write=true phase=write count=1", kOnRegisters},
    {"interrupts lost for 3 s", "interrupt=lose until=3s", kOnRegisters},
    {"spurious interrupts for 3 s", "interrupt=spurious period=5ms until=3s", kOnRegisters},
    {"interrupt storm, 2 s", "interrupt=storm duration=2s", kOnRegisters},
    {"SMS_ATN storm, 2 s", "attention=storm duration=2s", kOnRegisters},
    {"registers read FF for 3 s", "read_value=ff until=3s", kOnRegisters},
    {"warm reset while writing", "bmc=warm_reset phase=write access=write count=1", kOnRegisters},
    {"warm reset while executing", "bmc=warm_reset cmd=get_self_test_results count=1", kOnAll, false, 0, kOnVmKcs, kWhyLate},
    {"cold reset while reading", "bmc=cold_reset phase=read access=read count=1", kOnRegisters},
    {"probe: D5 to Get Device ID once", "cc=d5 cmd=get_device_id count=1", kOnAll, true},
    {"probe: D5 to Get Device ID twice", "cc=d5 cmd=get_device_id count=2", kOnAll, true},
    {"probe: D5 to Get Device ID always", "cc=d5 cmd=get_device_id", kOnAll, true},
    {"probe: C0 to the first 3 commands", "cc=c0 count=3", kOnAll, true},
    {"probe: no answer to the first command", "drop=answer count=1", kOnAll, true, 0, kOnVmKcs, kWhyLate},
    {"wrong sequence", "sequence=1 cmd=get_self_test_results count=1", kOnBt | kOnVm, false, kOnVm, 0, kWhySequence},
};

}  // namespace bmcpair::integration
