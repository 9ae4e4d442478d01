// The System Event Log (IPMI 2.0 ch. 31, 32) and the clock that stamps it, which the SDR repository shares.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class SelPart : public Part {
 public:
  static constexpr size_t kRecordBytes = 16;
  using Record = std::array<uint8_t, kRecordBytes>;
  // SEL Time UTC Offset, "unspecified" (§31.11a).
  static constexpr int16_t kUtcOffsetUnspecified = 0x07ff;
  static constexpr uint32_t kTimeNever = 0xffffffff;

  Status load(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;

  // 16 bytes of any record type; the record id is replaced, and so is the time stamp below type E0h. On stable storage
  // on return. Errors: kInvalidArgument (not 16 bytes), kLimit (full: the overflow flag is set), kIo, kCorrupt.
  Result<uint16_t> add(State& state, ByteView record16, Instant now);
  Status clear(State& state, Instant now);
  std::vector<SelRecordView> records() const;
  // As stored; null when there is none of that id. 0000h is the first, FFFFh the last.
  const Record* find(uint16_t id) const;

  size_t size() const { return entries_.size(); }
  bool overflow() const { return meta_.overflow; }

  // Seconds since 1970 as the SEL's clock has them: what it was set to, running since (§31.10, §31.11).
  uint32_t time(const State& state, Instant now) const;
  Status set_time(State& state, uint32_t seconds, Instant now);
  int16_t utc_offset_minutes() const { return clock_.utc_offset_minutes; }
  Status set_utc_offset_minutes(State& state, int16_t minutes);

  // For the commands.
  uint16_t reserve();
  bool reserved(uint16_t id) const { return id != 0 && id == reservation_; }
  uint16_t next_id(uint16_t id) const;  // of the record after `id`; FFFFh after the last
  Result<uint16_t> erase(State& state, uint16_t id, Instant now);
  uint32_t last_add() const { return meta_.last_add; }
  uint32_t last_erase() const { return meta_.last_erase; }

  // A Partial Add in the making (§31.7): contiguous from offset 0.
  struct Partial {
    uint16_t id = 0;
    uint8_t bytes = 0;
    Record record{};
  };
  std::optional<Partial>& partial() { return partial_; }
  uint16_t free_id() const;

 private:
  struct Entry {
    uint32_t key;  // in the store: ascending in the order of addition, which record ids are not once they wrapped
    Record record;
  };
  struct Meta {
    bool overflow = false;
    uint32_t last_add = kTimeNever;
    uint32_t last_erase = kTimeNever;
    uint16_t last_id = 0;
    bool preloaded = false;
  };
  struct ClockSetting {
    int64_t offset_s = 0;
    int16_t utc_offset_minutes = kUtcOffsetUnspecified;
  };

  static Bytes encode(const Meta& meta);
  static Bytes encode(const ClockSetting& clock);
  size_t index_of(uint16_t id) const;  // size() when absent
  Status preload(State& state, Instant now);

  std::vector<Entry> entries_;  // oldest first
  Meta meta_;
  ClockSetting clock_;
  uint32_t next_key_ = 1;
  uint16_t reservation_ = 0;
  uint16_t last_reservation_ = 0;
  std::optional<Partial> partial_;
  mutable size_t hint_ = 0;  // where the last look-up ended: readers walk
};

}  // namespace bmcpair::firmware
