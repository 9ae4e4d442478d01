// What Linux's ipmi_msghandler does: interfaces, users, addressing, sequence numbers, retries, events, command
// receivers, BMC identity, panic events (reference section E). One MessageHandler serves any number of system
// interfaces.
//
// Errors and what /dev/ipmiN calls them: kInvalidArgument EINVAL, kLimit EMSGSIZE, kBusy EBUSY, kUnavailable EAGAIN
// (all 64 sequence numbers in use), kShutdown ENODEV, kNotSupported EAFNOSUPPORT, kNotFound ENOENT or ENODEV.
//
// Callbacks run on runtime workers, never inside a lock of this or the lower layer, one at a time and in order for each
// user. They may call anything here, also destroy their own user or unregister their own interface. A callback that
// blocks holds one of the runtime's workers.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host_driver/message_handler/address.h"
#include "host_driver/message_handler/smi.h"
#include "host_driver/runtime/runtime.h"
#include "host_driver/state_machine/profile.h"
#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT {

// ---- bounds
// ----------------------------------------------------------------------------------------------------------

constexpr int kUsersMax = 30;             // an interface (E.1)
constexpr int kMessagesPerUserMax = 100;  // outstanding and delivered but not yet destroyed
constexpr unsigned kSequenceEntries = 64;
constexpr unsigned kEventQueueMax = 25;      // kept while nobody wants events
constexpr unsigned kDeviceIdRetriesMax = 5;  // G-43
constexpr unsigned kPanicRecordsMax = 64;    // OEM SEL records that carry the panic string, 11 characters each

enum class PanicEvents : uint8_t { kNone, kEvent, kString };

struct MessageHandlerOptions {
  const state_machine::Profile* profile = nullptr;  // nullptr: hardened; outlives the handler
  int users_max = kUsersMax;
  int messages_per_user_max = kMessagesPerUserMax;
  PanicEvents panic_events = PanicEvents::kString;

  Duration tick = std::chrono::seconds(1);
  bool own_timer = true;  // false: nobody but tick() makes time pass (tests, the laboratory)
  // Each request of discovery; longer than any system interface needs to give up by itself (A.2: 55 s).
  Duration identity_wait = std::chrono::seconds(60);
  Duration identity_max_age = std::chrono::seconds(10);
  Duration maintenance_time = std::chrono::seconds(30);
  // All panic events of one interface together.
  Duration panic_budget = std::chrono::seconds(5);
  unsigned panic_polls_max = 500'000;
  std::function<void(std::string)> log;  // optional, one line without its end; not called in a panic
};

// ---- messages
// --------------------------------------------------------------------------------------------------------

namespace detail {
struct UserState;
}

// One message counted against its user's limit, until it is destroyed.
class MessageCharge {
 public:
  MessageCharge() = default;
  explicit MessageCharge(std::shared_ptr<detail::UserState> user) : user_(std::move(user)) {}
  MessageCharge(MessageCharge&& other) noexcept : user_(std::move(other.user_)) { other.user_.reset(); }
  MessageCharge& operator=(MessageCharge&& other) noexcept;
  ~MessageCharge();
  void release();

 private:
  std::shared_ptr<detail::UserState> user_;
};

enum class RecvType : uint8_t { kResponse = 1, kAsyncEvent = 2, kCommand = 3, kResponseResponse = 4, kOem = 5 };

// Shapes: kResponse, kResponseResponse: data[0] is the completion code. kAsyncEvent: data is the 16 byte event record.
// kCommand: netfn even, data without completion code, msgid is the sequence number to answer with.
struct RecvMessage {
  RecvType type = RecvType::kResponse;
  Address address;
  int64_t msgid = 0;
  uint8_t netfn = 0;
  uint8_t lun = 0;
  uint8_t cmd = 0;
  Bytes data;
  // The answer was made by the driver, not by a BMC: `failure` says why, data[0] is what Linux would show.
  bool failed = false;
  ErrorCode failure = ErrorCode::kInternal;
  MessageCharge charge;

  std::optional<ipmi::CompletionCode> completion_code() const {
    if (data.empty()) return std::nullopt;
    return static_cast<ipmi::CompletionCode>(data[0]);
  }
};

struct RequestOptions {
  int priority = 0;       // > 0: before all that wait
  int retries = -1;       // < 0: 4
  Duration retry_time{};  // 0: 2 s, 3 s in maintenance; below 2 ticks is not meaningful
  // Instead of the interface's own, for routed messages.
  std::optional<uint8_t> source_address;
  std::optional<uint8_t> source_lun;
};

// ---- users
// -----------------------------------------------------------------------------------------------------------

struct UserHandlers {
  std::function<void(RecvMessage)> receive;
  std::function<void()> watchdog_pretimeout;  // asks the interface to watch for it
  std::function<void()> panic;                // in the panic path: no lock, no allocation, nothing that waits
  std::function<void()> shutdown;             // last callback, once, however the user ends
};

enum class MaintenanceMode : uint8_t { kAuto = 0, kOff = 1, kOn = 2 };
enum class MaintenanceState : uint8_t { kOff, kFirmware, kReset };

struct IpmiVersion {
  uint8_t major = 0;
  uint8_t minor = 0;
  bool operator==(const IpmiVersion&) const = default;
};

// A user of one interface. Thread safe. Destroying it waits for its running callback (not when called from it), never
// for a peer; its outstanding requests are forgotten.
class User {
 public:
  ~User();
  User(const User&) = delete;
  User& operator=(const User&) = delete;

  int interface_number() const;  // the one it was created on, whether or not it still exists

  // Sends a request (even NetFn), or a response to a command received (odd NetFn, data[0] the completion code, msgid
  // the command's). The answer arrives once at `receive`, unless the user ends first. The LUN is the address's;
  // request.lun must be 0 or the same.
  Status request(const Address& address, int64_t msgid, const ipmi::Request& request,
                 const RequestOptions& options = {});

  // The first to switch events on gets those that were queued (E.7).
  Status set_gets_events(bool on);
  // Receives commands from others. kBusy when any of the channels (bit n: channel n) is taken.
  Status register_for_cmd(uint8_t netfn, uint8_t cmd, uint32_t channels = ~0u);
  Status unregister_for_cmd(uint8_t netfn, uint8_t cmd, uint32_t channels = ~0u);

  // The interface's own address and LUN on a channel: shared by all its users (F.1).
  Status set_my_address(uint8_t channel, uint8_t address);
  Result<uint8_t> my_address(uint8_t channel) const;
  Status set_my_lun(uint8_t channel, uint8_t lun);  // two bits are used
  Result<uint8_t> my_lun(uint8_t channel) const;

  Status set_maintenance_mode(MaintenanceMode mode);
  Result<MaintenanceMode> maintenance_mode() const;
  Result<IpmiVersion> version();

  int outstanding_messages() const;

  // From the panic callback only: a request to the BMC, waited for within the panic's bounds. True: answered with
  // completion code 0.
  bool request_in_panic(uint8_t netfn, uint8_t cmd, ByteView data);

  const std::shared_ptr<detail::UserState>& state() const { return state_; }

 private:
  friend class MessageHandler;
  explicit User(std::shared_ptr<detail::UserState> state);
  std::shared_ptr<detail::UserState> state_;
};

// Sends and waits until `deadline` (rt::now() based). Errors: those of request(), the failure of an answer that the
// driver made, kTimeout at the deadline (a later answer is dropped). An answer with a completion code other than 0 is a
// value.
Result<RecvMessage> call(User& user, const Address& address, const ipmi::Request& request, Instant deadline,
                         const RequestOptions& options = {});

// ---- what is known of an interface
// -----------------------------------------------------------------------------------

// Get Device ID (IPMI 2.0 §20.1).
struct DeviceId {
  uint8_t device_id = 0;
  uint8_t device_revision = 0;  // byte 3 as sent: bit 7 provides SDRs, 3:0 revision
  uint8_t firmware_major = 0;   // byte 4 as sent: bit 7 device available (1: update in progress)
  uint8_t firmware_minor_bcd = 0;
  IpmiVersion ipmi_version;
  uint8_t additional_support = 0;
  uint32_t manufacturer_id = 0;  // 20 bits
  uint16_t product_id = 0;
  std::optional<std::array<uint8_t, 4>> aux_firmware;
  bool operator==(const DeviceId&) const = default;
};
// From the data of a response, completion code first. kProtocol when it is shorter than 7 bytes.
Result<DeviceId> parse_device_id(ByteView data);

struct Channel {
  uint8_t medium = 0;    // IPMI 2.0 table 6-3; 0: none
  uint8_t protocol = 0;  // table 6-2
};
constexpr uint8_t kMediumIpmb = 1;
constexpr uint8_t kMediumLan = 4;
constexpr uint8_t kMediumAsync = 5;
constexpr uint8_t kMediumOemFirst = 0x60;
constexpr uint8_t kMediumOemLast = 0x7f;

struct Identity {
  DeviceId id;
  std::optional<std::array<uint8_t, 16>> guid;  // Get Device GUID, bytes as sent
  int bmc = 0;                                  // interfaces of the same BMC have the same number
  bool fresh = false;                           // false: the last refresh failed and this is what was known before
};

struct InterfaceDescription {
  int number = 0;
  SmiInfo smi;
  int users = 0;
  MaintenanceState maintenance = MaintenanceState::kOff;
};

// E.15, in its order, and what we count besides.
enum class Statistic : uint8_t {
  kSentInvalidCommands,
  kSentLocalCommands,
  kHandledLocalResponses,
  kUnhandledLocalResponses,
  kSentIpmbCommands,
  kSentIpmbCommandErrs,
  kRetransmittedIpmbCommands,
  kTimedOutIpmbCommands,
  kTimedOutIpmbBroadcasts,
  kSentIpmbResponses,
  kHandledIpmbResponses,
  kInvalidIpmbResponses,
  kUnhandledIpmbResponses,
  kSentLanCommands,
  kSentLanCommandErrs,
  kRetransmittedLanCommands,
  kTimedOutLanCommands,
  kSentLanResponses,
  kHandledLanResponses,
  kInvalidLanResponses,
  kUnhandledLanResponses,
  kHandledCommands,
  kInvalidCommands,
  kUnhandledCommands,
  kInvalidEvents,
  kEvents,
  kDroppedRexmitIpmbCommands,
  kDroppedRexmitLanCommands,
  kDroppedEvents,
  kMismatchedResponses,
  kFailedMessages,
  kPanicEventsSent,
  kPanicEventsLost,
  kCount,
};
constexpr size_t kStatistics = static_cast<size_t>(Statistic::kCount);
std::string_view to_string(Statistic statistic);
using Statistics = std::array<uint64_t, kStatistics>;

struct Watcher {
  std::function<void(int number)> new_smi;   // once for each interface, those that exist included
  std::function<void(int number)> smi_gone;  // once for each that new_smi told of
};

struct PanicReport {
  unsigned interfaces = 0;  // asked
  unsigned sent = 0;        // requests answered
  unsigned lost = 0;        // requests refused, unanswered within the bound, or never sent because of such a one
};

// ---- the handler
// -----------------------------------------------------------------------------------------------------

class MessageHandler {
 public:
  explicit MessageHandler(MessageHandlerOptions options = {});
  // Unregisters every interface. Users may outlive it; they get kShutdown.
  ~MessageHandler();
  MessageHandler(const MessageHandler&) = delete;
  MessageHandler& operator=(const MessageHandler&) = delete;

  // Starts the interface, asks who the BMC is and which channels it has, publishes it under the lowest free number.
  // After an error the interface has been shut down here, once, and can be registered again: the caller only
  // drops it (I.2). An error of start_processing is returned as it is and followed by no further call.
  Result<int> register_smi(std::shared_ptr<SmiHandlers> smi);
  // With even_if_in_use false: kBusy while it has users (G-24). When it returns, nothing here calls the interface
  // any more, and every outstanding message has been answered.
  Status unregister_smi(int number, bool even_if_in_use = true);
  // What the layer below did after a failed registration until 2018, on top of the clean-up here (I.2). Nothing at all
  // but in a profile with mh_failed_registration_cleans_twice; there it is the end.
  void unregister_failed(const SmiHandlers& smi);

  Result<std::unique_ptr<User>> create_user(int number, UserHandlers handlers);

  std::vector<int> interfaces() const;  // ascending
  Result<InterfaceDescription> describe(int number) const;
  Result<Statistics> statistics(int number) const;
  // Asks the BMC again when what is known is older than identity_max_age; a failed refresh gives the old.
  Result<Identity> identity(int number);
  Result<std::array<Channel, kChannelsMax>> channels(int number) const;

  // Serialised with each other; must not register or unregister a watcher themselves.
  uint64_t register_watcher(Watcher watcher);
  void unregister_watcher(uint64_t id);

  // The process dies: tells every BMC that can still be told. Once; begins the runtime's panic if nobody has. Takes no
  // lock, allocates and frees nothing, calls no receive callback; every wait has a bound (E.13).
  PanicReport panic(std::string_view reason);

  // Lets `elapsed` pass for everything that waits here; the timer calls it. True while more ticks are wanted.
  bool tick(Duration elapsed);
  // A tick is wanted (or, with own_timer, scheduled): false means that nothing here wakes anybody.
  bool tick_wanted() const;

  struct Core;

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace bmcpair::host::inline BMCPAIR_RT
