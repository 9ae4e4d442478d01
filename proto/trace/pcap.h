// A trace's IPMI traffic as a packet capture (pcapng): opens in Wireshark and tshark.
//
// Link type 260, IPMI_HPM_2: trace data blocks as of PICMG HPM.2 table 3-20. Messages are blocks of type "IPMI trace packet
// data"; whatever the interface is, their data type is KCS, whose messages are the bare NetFn/LUN, Cmd, data: the dissector
// knows no BT. Faults, steps and notes are blocks of type "embedded ASCII message".
#pragma once

#include <string>

#include "proto/trace/trace.h"

namespace bmcpair::trace {

// Bytes of one block, as its length byte counts them. A longer message is cut (its true length is the packet's original
// one); a longer text goes on in the next block.
constexpr size_t kPcapBlockBytesMax = 255;

// Every interface is a pcapng interface with its name, and a channel number, counted down from 0Fh, the system interface's, so that
// requests and responses of two are not matched with each other; the 17th has the first one's again.
std::string pcap(const Trace& trace);

}  // namespace bmcpair::trace
