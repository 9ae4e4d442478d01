// The requests that wait for an answer from beyond the BMC (reference E.4). No lock of its own: whoever owns it locks.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "host_driver/message_handler/address.h"
#include "host_driver/message_handler/message_handler.h"
#include "proto/base/time.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

struct Pending;

// One definition for the store and the extract side (G-03).
constexpr unsigned kSeqidBits = 26;
constexpr uint32_t kSeqidMask = (1u << kSeqidBits) - 1;
constexpr uint64_t wire_msgid(unsigned slot, uint32_t seqid) {
  return uint64_t{slot} << kSeqidBits | (seqid & kSeqidMask);
}
constexpr uint64_t msgid_slot(uint64_t msgid) { return msgid >> kSeqidBits; }
constexpr uint32_t msgid_seqid(uint64_t msgid) { return static_cast<uint32_t>(msgid) & kSeqidMask; }
static_assert(kSequenceEntries == 64);

// Until the BMC has taken the message the clock below is all that runs.
constexpr Duration kUnsentTimeout = std::chrono::seconds(60);
constexpr Duration kRetryDefault = std::chrono::milliseconds(2000);
constexpr Duration kRetryMaintenance = std::chrono::milliseconds(3000);
constexpr int kRetriesDefault = 4;

class SequenceTable {
 public:
  // unsigned_time: G-17, as it was.
  explicit SequenceTable(uint32_t first_seqid = 0, bool unsigned_time = false);
  ~SequenceTable();

  struct Ticket {
    unsigned slot;
    uint64_t msgid;
  };
  // The next free slot after the last one given; nullopt when all are in use. It is in use from here.
  std::optional<Ticket> reserve();
  // Of a slot just reserved. wire: the whole message, for retransmissions.
  void fill(const Ticket& ticket, std::unique_ptr<Pending> pending, Bytes wire, Duration retry_time, int retries,
            bool broadcast);
  void give_back(const Ticket& ticket);

  // The BMC took the message: now the real timeout runs. False for a stale msgid.
  bool start_timer(uint64_t msgid);
  // Null for a stale msgid. Stays the table's.
  const Pending* find(uint64_t msgid);
  // The BMC refused it. Null for a stale msgid.
  std::unique_ptr<Pending> fail(uint64_t msgid);
  // The answer's request, when everything about it fits (E.4). netfn: the request's.
  std::unique_ptr<Pending> match(uint8_t slot, uint8_t channel, uint8_t netfn, uint8_t cmd, const Address& from);

  struct Expired {
    std::unique_ptr<Pending> pending;
    bool broadcast;
  };
  struct Retransmission {
    uint64_t msgid;
    Bytes wire;
    bool lan;
  };
  void age(Duration elapsed, std::vector<Expired>& expired, std::vector<Retransmission>& again);

  // user null: everybody's.
  std::vector<std::unique_ptr<Pending>> take(const UserState* user);
  unsigned in_use() const { return used_; }
  // The panic path: a number that nobody waits with. Reads only flags.
  uint8_t free_sequence(unsigned from) const;

 private:
  struct Entry {
    bool in_use = false;
    bool broadcast = false;
    uint32_t seqid = 0;
    Duration remaining{};
    Duration retry_time{};
    int retries_left = 0;
    std::unique_ptr<Pending> pending;
    Bytes wire;
  };
  Entry* current(uint64_t msgid);
  std::unique_ptr<Pending> release(Entry& e);

  std::array<Entry, kSequenceEntries> entries_;
  const bool unsigned_time_;
  unsigned next_ = 0;
  unsigned used_ = 0;
};

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
