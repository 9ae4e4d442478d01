// What the App group keeps: ACPI power states, system info parameters, the offline window, devices for
// Master Write-Read (IPMI 2.0 ch. 20, §22.10-22.14).
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class AppPart : public Part {
 public:
  Status load(State& state, Instant now) override;
  Instant next_due(const State& state) const override;
  void run(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;
  void on_host_reset(State& state, Instant now) override;

  // The BMC is rebooting; the board keeps requests away, and who asks all the same is told D2.
  bool offline(Instant now) const { return now < offline_until_; }
  void go_offline(Instant until) { offline_until_ = until; }

  uint8_t system_acpi() const { return system_acpi_; }
  uint8_t device_acpi() const { return device_acpi_; }
  void set_system_acpi(uint8_t value) { system_acpi_ = value; }
  void set_device_acpi(uint8_t value) { device_acpi_ = value; }

  uint8_t info_in_progress() const { return info_in_progress_; }
  void set_info_in_progress(uint8_t value) { info_in_progress_ = value; }
  // Blocks of 16 bytes by (parameter, set selector); null when never written.
  const Bytes* info_block(uint8_t parameter, uint8_t set) const;
  // Durable on return where the parameter is kept over power loss.
  Status set_info_block(State& state, uint8_t parameter, uint8_t set, Bytes block);

  // Where a device on a bus reads next.
  uint8_t& bus_pointer(uint8_t bus, uint8_t address) { return bus_pointers_[{bus, address}]; }
  Status write_bus_device(State& state, I2cDeviceConfig& device, size_t offset, ByteView data);

 private:
  Instant offline_until_ = Instant::min();
  uint8_t system_acpi_ = 0;
  uint8_t device_acpi_ = 0;
  uint8_t info_in_progress_ = 0;
  std::map<std::pair<uint8_t, uint8_t>, Bytes> info_;
  std::map<std::pair<uint8_t, uint8_t>, uint8_t> bus_pointers_;
};

// Cold or Warm Reset (§20.2, §20.3): every part forgets what it must, the observer is told last.
void reset_bmc(State& state, bool cold, Instant now);
// The host was reset or lost power: every part forgets what that clears.
void reset_host(State& state, Instant now);

// The 15 data bytes of Get Device ID (§20.1).
Bytes device_id_bytes(const Identity& identity);

}  // namespace bmcpair::firmware
