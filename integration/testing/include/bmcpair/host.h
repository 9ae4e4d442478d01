// A host: the driver of bmcpair (message handler, system interface, state machines) on one interface of a BMC, for programs
// that send requests and read answers. Only standard types; nothing else of bmcpair needs to be known.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace bmcpair {

using Bytes = std::vector<uint8_t>;

// The interface cannot be opened, or does not come up: what() says why, in one line.
class HostError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What came of a request.
struct Answer {
  enum class Outcome : uint8_t {
    kAnswered,     // by the BMC: completion_code and data are its own
    kTimeout,      // not answered in time
    kUnavailable,  // the BMC cannot be reached, or is busy for long
    kHosed,        // the interface has failed and recovers
    kProtocol,     // the BMC broke the interface's protocol, and asking again did not help
    kRefused,      // the driver does not send such a request
  };
  Outcome outcome = Outcome::kRefused;
  std::optional<uint8_t> completion_code;  // nothing unless kAnswered
  Bytes data;                              // what follows the completion code
  std::string failure;                     // why there is no answer, in one line; empty when kAnswered

  // Answered with completion code 0.
  bool ok() const { return completion_code == uint8_t{0}; }
};
std::string to_string(const Answer& answer);
std::ostream& operator<<(std::ostream& out, const Answer& answer);

struct HostOptions {
  // How the driver behaves: "hardened", or a historical one as "linux-4.18" (host_driver --help says which).
  std::string profile = "hardened";
  // Of bringing the interface up, and of each request.
  std::chrono::milliseconds timeout = std::chrono::seconds(30);
  bool use_interrupt = true;  // false: polls
  std::string who = "test";   // what the BMC's side calls this host
  // PEM files, for a BMC that is reached over TLS.
  std::string tls_ca, tls_certificate, tls_key;
};

// One interface that is up, and a user on it. Thread safe, but for moves. The end of the object ends the driver and detaches it.
class Host {
 public:
  // bus: as host_driver --bus takes it, e.g. "grpc:unix:/run/bmcpair/bmc_emu.sock#demo/bt". Returns when the interface is up.
  // Throws HostError.
  static Host connect(const std::string& bus, const HostOptions& options = {});

  Host(Host&&) noexcept;
  Host& operator=(Host&&) noexcept;
  ~Host();

  // Sends one request and waits for what comes of it. netfn is even, 0 to 62; lun 0 to 3.
  Answer request(uint8_t netfn, uint8_t cmd, const Bytes& data = {}, uint8_t lun = 0);

  // The next event that the BMC sent (16 bytes, a SEL event record), oldest first; waits for one. Events are taken from the
  // BMC since connect(); the 256 newest are kept.
  std::optional<Bytes> wait_for_event(std::chrono::milliseconds within);

 private:
  struct Impl;
  explicit Host(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bmcpair
