// All the boards of one daemon, and the threads that run what is due on them. Thread safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bmc_emu/board/board.h"
#include "proto/registers/register_port.h"

namespace bmcpair::board {

struct FleetOptions {
  unsigned threads = 2;            // workers that run boards
  std::string state_directory;     // empty: nothing survives
  // May be empty. Why something could not be kept there; an empty text when it can be again. Any thread; must not block.
  std::function<void(const std::string&)> state_failed{};
};

class Fleet : public registers::PortProvider {
 public:
  // Errors: kInvalidArgument (names BMC and field), kAlreadyExists (two BMCs of one name), kIo, kCorrupt.
  static Result<std::unique_ptr<Fleet>> create(std::vector<BoardConfig> boards, FleetOptions options);
  ~Fleet() override = default;

  // The clock of this fleet: monotonic, zero at its creation; unix_seconds_at_zero is set from the system's clock.
  virtual Instant now() const = 0;

  virtual std::vector<std::string> names() const = 0;  // in the configuration's order
  // Empty name: the only board. Errors: kNotFound (says which there are, up to a few).
  virtual Result<std::shared_ptr<Board>> find(std::string_view name) const = 0;

  // path: "bmc/interface", "bmc" (if it has one interface), "/interface" or "" (if there is one BMC).
  Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view path, std::string_view who) override = 0;

  // Calls f for every event of every board until the returned handle is destroyed; never with a board's lock held.
  // A slow subscriber loses nothing here: f must not block.
  virtual std::shared_ptr<void> subscribe(std::function<void(const BoardEvent&)> f) = 0;

  // Stops the threads and shuts all boards down. Idempotent.
  virtual void shutdown() = 0;
};

}  // namespace bmcpair::board
