// The SDR repository (IPMI 2.0 ch. 33), and the device SDRs of this BMC's own sensors (§35.2-35.4). Records that
// come from the configuration are made when asked for; only what software added, and which it deleted, is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class SdrPart : public Part {
 public:
  static constexpr size_t kHeaderBytes = 5;
  static constexpr size_t kRecordBytesMax = kHeaderBytes + 255;
  // Ids of added records begin here, so that a longer configuration never runs into them.
  static constexpr uint16_t kAddedFirstId = 0x4000;

  Status load(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;

  // Records in order of the repository. 0000h is the first, FFFFh the last. Empty when there is none.
  Bytes record(const State& state, uint16_t id) const;
  uint16_t next_id(const State& state, uint16_t id) const;  // FFFFh after the last
  size_t count() const { return live_.size(); }
  size_t bytes_used() const { return bytes_used_; }
  size_t bytes_free(const State& state) const;

  // Device SDRs: sensors on all LUNs, ids from 1.
  size_t device_count(const State& state) const;
  Bytes device_record(const State& state, uint16_t id) const;

  // The id in the record's header is replaced. Durable on return. Errors: kInvalidArgument (length), kLimit (full),
  // kIo, kCorrupt.
  Result<uint16_t> add(State& state, ByteView record, Instant now);
  // Errors: kNotFound, kIo, kCorrupt.
  Result<uint16_t> erase(State& state, uint16_t id, Instant now);
  Status clear(State& state, Instant now);

  uint16_t reserve();
  bool reserved(uint16_t id) const { return id != 0 && id == reservation_; }
  uint16_t reserve_device();
  bool reserved_device(uint16_t id) const { return id != 0 && id == device_reservation_; }

  uint32_t last_add() const { return last_add_; }
  uint32_t last_erase() const { return last_erase_; }
  bool overflow() const { return overflow_; }

  // A Partial Add in the making (§33.14): contiguous from offset 0.
  struct Partial {
    uint16_t id = 0;
    Bytes record;
  };
  std::optional<Partial>& partial() { return partial_; }
  uint16_t free_id() const;
  bool fits(const State& state, size_t bytes) const { return bytes <= bytes_free(state); }
  void note_overflow() { overflow_ = true; }

 private:
  struct Added {
    uint16_t id;
    Bytes record;
  };

  // Records of the configuration by index: sensors, FRU locators, controller locators, dump.
  size_t base_count(const State& state) const;
  Bytes base_record(const State& state, size_t index) const;
  Bytes resolve(const State& state, uint16_t id) const;
  size_t index_of(uint16_t id) const;  // in live_; count() when absent
  Bytes meta() const;

  std::vector<std::pair<uint32_t, uint16_t>> dump_;  // offset and size of each record in config.sdr_dump
  std::vector<uint8_t> controllers_;  // addresses of the controllers that get a locator: this BMC's and satellites'
  std::vector<uint16_t> frus_;        // indices of the FRUs that get a locator
  std::vector<uint16_t> live_;        // ids present, in order
  std::vector<Added> added_;          // by id
  size_t bytes_used_ = 0;
  uint32_t last_add_ = 0;
  uint32_t last_erase_ = 0;
  bool overflow_ = false;
  uint16_t reservation_ = 0;
  uint16_t last_reservation_ = 0;
  uint16_t device_reservation_ = 0;
  uint16_t last_device_reservation_ = 0;
  std::optional<Partial> partial_;
};

}  // namespace bmcpair::firmware
