#include "host_driver/message_handler/sequence_table.h"

#include <utility>

#include "host_driver/message_handler/interface.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

SequenceTable::SequenceTable(uint32_t first_seqid, bool unsigned_time) : unsigned_time_(unsigned_time) {
  for (Entry& e : entries_) e.seqid = first_seqid & kSeqidMask;
}

SequenceTable::~SequenceTable() = default;

std::optional<SequenceTable::Ticket> SequenceTable::reserve() {
  for (unsigned n = 0; n < kSequenceEntries; ++n) {
    const unsigned slot = (next_ + n) % kSequenceEntries;
    Entry& e = entries_[slot];
    if (e.in_use) continue;
    e.in_use = true;
    e.seqid = (e.seqid + 1) & kSeqidMask;
    next_ = (slot + 1) % kSequenceEntries;
    ++used_;
    return Ticket{slot, wire_msgid(slot, e.seqid)};
  }
  return std::nullopt;
}

void SequenceTable::fill(const Ticket& ticket, std::unique_ptr<Pending> pending, Bytes wire, Duration retry_time,
                         int retries, bool broadcast) {
  Entry& e = entries_[ticket.slot];
  e.pending = std::move(pending);
  e.wire = std::move(wire);
  e.retry_time = retry_time;
  e.retries_left = retries;
  e.broadcast = broadcast;
  e.remaining = kUnsentTimeout;
}

void SequenceTable::give_back(const Ticket& ticket) { release(entries_[ticket.slot]); }

SequenceTable::Entry* SequenceTable::current(uint64_t msgid) {
  if (msgid_slot(msgid) >= kSequenceEntries) return nullptr;
  Entry& e = entries_[msgid_slot(msgid)];
  // The slot may serve somebody else by now.
  return e.in_use && e.pending && e.seqid == msgid_seqid(msgid) ? &e : nullptr;
}

std::unique_ptr<Pending> SequenceTable::release(Entry& e) {
  e.in_use = false;
  e.wire.clear();
  --used_;
  return std::move(e.pending);
}

bool SequenceTable::start_timer(uint64_t msgid) {
  Entry* e = current(msgid);
  if (!e) return false;
  e->remaining = e->retry_time;
  return true;
}

const Pending* SequenceTable::find(uint64_t msgid) {
  const Entry* e = current(msgid);
  return e ? e->pending.get() : nullptr;
}

std::unique_ptr<Pending> SequenceTable::fail(uint64_t msgid) {
  Entry* e = current(msgid);
  return e ? release(*e) : nullptr;
}

std::unique_ptr<Pending> SequenceTable::match(uint8_t slot, uint8_t channel, uint8_t netfn, uint8_t cmd,
                                              const Address& from) {
  if (slot >= kSequenceEntries) return nullptr;
  Entry& e = entries_[slot];
  if (!e.in_use || !e.pending) return nullptr;
  const Pending& p = *e.pending;
  if (channel_of(p.address) != channel || p.netfn != netfn || p.cmd != cmd || !same_peer(p.address, from)) {
    return nullptr;
  }
  return release(e);
}

void SequenceTable::age(Duration elapsed, std::vector<Expired>& expired, std::vector<Retransmission>& again) {
  for (unsigned slot = 0; slot < kSequenceEntries; ++slot) {
    Entry& e = entries_[slot];
    if (!e.in_use || !e.pending) continue;
    if (e.remaining > elapsed) {  // never below zero: G-17
      e.remaining -= elapsed;
      continue;
    }
    if (unsigned_time_ && e.remaining < elapsed) {
      e.remaining = Duration::max();
      continue;
    }
    if (e.retries_left == 0) {
      const bool broadcast = e.broadcast;
      expired.push_back({release(e), broadcast});
      continue;
    }
    --e.retries_left;
    e.remaining = kUnsentTimeout;
    again.push_back({wire_msgid(slot, e.seqid), e.wire, std::holds_alternative<LanAddress>(e.pending->address)});
  }
}

std::vector<std::unique_ptr<Pending>> SequenceTable::take(const UserState* user) {
  std::vector<std::unique_ptr<Pending>> out;
  for (Entry& e : entries_) {
    if (e.in_use && e.pending && (!user || e.pending->user.get() == user)) out.push_back(release(e));
  }
  return out;
}

uint8_t SequenceTable::free_sequence(unsigned from) const {
  for (unsigned n = 0; n < kSequenceEntries; ++n) {
    const unsigned slot = (from + n) % kSequenceEntries;
    if (!entries_[slot].in_use) return static_cast<uint8_t>(slot);
  }
  return static_cast<uint8_t>(from % kSequenceEntries);
}

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
