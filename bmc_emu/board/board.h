// One BMC put together: its interfaces (hardware), its firmware, its endpoints, and the locks between them.
//
// Two kinds of lock, never nested the other way round: the firmware's (long: it may wait for the disk) and each
// interface's (short: a register access never waits for BMC work). Thread safe. Owns no clock and no thread: somebody
// calls run() when next_due() has come (fleet.h does, with threads; the laboratory does, with fibers).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bmc_emu/faults/rule.h"
#include "bmc_emu/firmware/bmc.h"
#include "bmc_emu/hardware/interface.h"
#include "bmc_emu/hardware/message_face.h"
#include "proto/base/chooser.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::board {

struct InterfaceConfig {
  std::string name;  // "bt", "kcs"...: unique in its BMC
  registers::InterfaceKind kind = registers::InterfaceKind::kKcs;
  hardware::LatencyPlan latency;
  bool interrupt = true;  // false: the host must poll
  uint64_t seed = 1;
  // BT: INTMASK's BMC_HWRST resets the BMC, warm. It is optional (§11.6.3), and Linux's driver writes it at every start
  // and recovery, right before its first request: a BMC that obeys loses that request.
  bool hardware_reset = false;
};

struct BoardConfig {
  firmware::BmcConfig firmware;
  std::vector<InterfaceConfig> interfaces;
  std::vector<faults::Rule> faults;  // in force from the start
  // Of faults with a probability; null: each interface draws from its own seed. Asked under the lock of the interface that a
  // fault is on: with several interfaces and threads it must be safe for that.
  std::shared_ptr<Chooser> chooser;
};

constexpr size_t kFaultsMax = 256;  // rules in force on one BMC

// A fault rule in force.
struct FaultView {
  uint32_t id = 0;
  faults::Rule rule;
  std::vector<std::string> interfaces;  // where it is; what follows is of all of them together
  uint64_t matched = 0;
  uint64_t fired = 0;
  std::optional<uint64_t> remaining;  // nothing: no bound
  bool over = false;                  // it will not fire any more
};

// A host attached to an interface (design.md "Attachment").
struct EndpointView {
  uint64_t id = 0;
  std::string interface;
  std::string who;
  Instant since{};
};

struct InterfaceStatistics {
  uint64_t host_reads = 0;
  uint64_t host_writes = 0;
  uint64_t requests = 0;
  uint64_t responses = 0;
  uint64_t responses_dropped = 0;  // stale token: aborted, reset or detached meanwhile
  uint64_t interrupts = 0;         // rises of the line
  uint64_t faults = 0;             // that fired
};

// How an interface's hosts by messages are served, by whoever serves them. The counters are anybody's to raise.
struct MessageService {
  std::atomic<uint64_t> connections{0};  // that got the interface
  std::atomic<uint64_t> connections_refused{0};
  std::atomic<uint64_t> frames_in{0};
  std::atomic<uint64_t> frames_out{0};
  std::atomic<uint64_t> frames_bad{0};

  void set_address(std::string address) {
    std::lock_guard<std::mutex> lock(mutex_);
    address_ = std::move(address);
  }
  std::string address() const {  // empty: not served
    std::lock_guard<std::mutex> lock(mutex_);
    return address_;
  }

 private:
  mutable std::mutex mutex_;
  std::string address_;
};

// What the BMC does to a host attached by messages, which models the registers itself.
struct HostSignal {
  enum class Kind : uint8_t {
    kResponse,       // value: the request's tag; message: NetFn<<2|LUN, Cmd, CC, data
    kAttention,      // value: whether SMS_ATN is wanted
    kGlobalEnables,  // value: the byte; told again by each Set BMC Global Enables, before its response
    kPower,          // value: firmware::PowerAction, done to the host; after the response of the command that asked
    kLinkDown,       // text: why. The last one
  };
  Kind kind{};
  uint32_t value = 0;
  bool initial = false;  // how things stand at attachment, rather than a change
  Bytes message;
  std::string text;
  hardware::ReplyFault fault{};  // kResponse: what whoever frames it does wrong (sequence, checksum, duplicates)
};

// A host's hold on an interface, by messages. Destroying it detaches; no handler is running or will run then.
class MessagePort {
 public:
  using SignalHandler = std::function<void(const HostSignal&)>;
  virtual ~MessagePort() = default;
  virtual uint64_t endpoint() const = 0;
  // Signals come in order, one at a time, with no lock of the board held; how things stand (enables, attention) comes
  // first. Once. The handler must not destroy the port.
  virtual void set_signal_handler(SignalHandler handler) = 0;
  // A request of at least NetFn/LUN and Cmd; never blocks. A newer one makes an older stale: it is not answered then, and
  // neither is one that comes while the BMC is away.
  virtual void submit(uint32_t tag, Bytes message) = 0;
  // The same, and what it makes due at once is done on this thread, which spares two changes of thread; it may wait for
  // the disk then. A board whose work took long lately is left to its own threads.
  virtual void submit_and_run(uint32_t tag, Bytes message) = 0;
  // The host restarted by itself.
  virtual void host_was_reset() = 0;
  // There is a machine at the other end, and it has power.
  virtual void host_is_running() = 0;
};

// A message as the firmware saw it, for traces and watchers.
struct MessageTrace {
  Instant at{};
  Duration took{0};
  std::string interface;
  Bytes request;
  Bytes response;                // empty: there was none
  std::vector<uint32_t> faults;  // rules that fired for it
};

// Something that changed, for Control.Watch. `bmc` is the board's name.
struct BoardEvent {
  std::string bmc;
  std::string interface;  // empty unless it concerns one
  Instant at{};
  firmware::Change change;
  std::string kind;       // "sensor", "sel", "power", "attached", "detached", "message", "fault"...
};

class Board {
 public:
  using NowFunction = std::function<Instant()>;
  // Called, with no lock held, when next_due() may have become earlier.
  using WakeFunction = std::function<void()>;
  using EventFunction = std::function<void(const BoardEvent&)>;

  static Result<std::unique_ptr<Board>> create(BoardConfig config, std::shared_ptr<firmware::Store> store,
                                               NowFunction now, WakeFunction wake);
  virtual ~Board() = default;

  virtual const std::string& name() const = 0;
  virtual const BoardConfig& config() const = 0;

  // Does everything due at `now`: actor steps, firmware work. Returns the next due instant.
  virtual Instant run(Instant now) = 0;
  virtual Instant next_due() const = 0;

  // interface may be empty when there is only one. Errors: kNotFound (says which there are), kBusy (says who holds
  // it), kShutdown. The port keeps working, as a dead bus, after the board has gone.
  virtual Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view interface, std::string who) = 0;
  // The same for a host that brings whole messages. An interface has one host, of either kind.
  virtual Result<std::unique_ptr<MessagePort>> attach_messages(std::string_view interface, std::string who,
                                                               hardware::MessageFace::Limits limits) = 0;
  // Null: there is no such interface.
  virtual std::shared_ptr<MessageService> message_service(std::string_view interface) const = 0;
  // Something that its transport has to tell about an interface, for those who watch.
  virtual void report(std::string_view interface, std::string kind, std::string text) = 0;
  virtual std::vector<EndpointView> endpoints() const = 0;
  // Detaches by force: the port's link goes down with `reason`. Never blocks on the host.
  virtual Status detach(uint64_t endpoint, std::string_view reason) = 0;

  // Runs f under the firmware's lock and wakes what it made due.
  virtual void with_firmware(const std::function<void(firmware::Bmc&, Instant now)>& f) = 0;

  // The rule is in force when this returns; its id. Errors: kInvalidArgument (it contradicts itself), kNotFound (no
  // interface here can meet it), kLimit, kShutdown.
  virtual Result<uint32_t> add_fault(faults::Rule rule) = 0;
  // What it has imposed ends. kNotFound.
  virtual Status clear_fault(uint32_t id) = 0;
  virtual size_t clear_faults() = 0;  // how many there were
  virtual std::vector<FaultView> faults() const = 0;

  virtual InterfaceStatistics statistics(std::string_view interface) const = 0;
  // Last accesses / messages, oldest first. Tracing is off (and costs nothing) until switched on; bounded.
  virtual void set_trace(bool on) = 0;
  virtual std::vector<hardware::Access> access_trace(std::string_view interface) const = 0;
  virtual std::vector<MessageTrace> message_trace() const = 0;
  // Older ones, since tracing was switched on, that the bounds have cost.
  virtual uint64_t accesses_left_out(std::string_view interface) const = 0;
  virtual uint64_t messages_left_out() const = 0;
  // One subscriber; more are the fleet's business. Called with no lock held, in order.
  virtual void set_event_function(EventFunction f) = 0;

  // Refuses new endpoints, takes the links of those attached down, forgets work. Idempotent.
  virtual void shutdown() = 0;
};

}  // namespace bmcpair::board
