// Channels and their access (IPMI 2.0 §6.3-6.5, §22.22-22.24).
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class ChannelPart : public Part {
 public:
  struct Access {
    uint8_t mode = 0x02;       // as byte 2 of Get Channel Access's response: alerting, authentication, access mode
    uint8_t privilege = 4;     // privilege level limit
    bool operator==(const Access&) const = default;
  };
  struct Info {
    uint8_t number = 0;
    uint8_t medium = 0;        // table 6-3
    uint8_t protocol = 0;      // table 6-2
    bool sessions = false;
  };

  Status load(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;

  // Eh means the channel the request came on. nullopt when there is no such channel.
  static std::optional<Info> find(const State& state, uint8_t number, const RequestContext& context);

  Access access(uint8_t channel, bool non_volatile) const;
  Status set_access(State& state, uint8_t channel, bool non_volatile, const Access& access);

 private:
  std::map<uint8_t, Access> kept_;      // non-volatile
  std::map<uint8_t, Access> present_;   // volatile
};

}  // namespace bmcpair::firmware
