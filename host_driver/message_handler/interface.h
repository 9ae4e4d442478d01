// Inside the message handler: one interface, its users and what is under way on it (reference E.1).
//
// Locks, outer before inner; "below" is whatever the system interface takes inside its calls:
//   watchers > interfaces
//   events > queue of a user          receivers          users          sequence          discovery > bmcs
//   watch > below    maintenance > below    below > receive    below > transmit
//   timer is innermost. No lock is held while a user's callback runs or while a message is handed down.
//
// Calls to the layer below happen inside a section of down_rcu after in_shutdown was seen false. Who tears the
// interface down sets in_shutdown and waits for the sections: afterwards nothing here calls below (I2-2, G-73).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "host_driver/message_handler/message_handler.h"
#include "host_driver/message_handler/rcu_list.h"
#include "host_driver/message_handler/sequence_table.h"
#include "host_driver/message_handler/smi.h"
#include "host_driver/message_handler/wire.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

struct Interface;

// ---- what is under way
// -----------------------------------------------------------------------------------------------

// Somebody waits in call().
struct SyncCall {
  rt::Mutex mutex;
  rt::WaitQueue changed;
  bool done = false;
  bool abandoned = false;
  std::optional<RecvMessage> answer;

  void complete(std::optional<RecvMessage> message);
};

// A request that has not been answered: Linux's ipmi_recv_msg. Owned by its OutMessage or its sequence table entry.
struct Pending : rt::Tracked {
  Pending() : Tracked("request") {}
  ~Pending();  // nobody waits for what is dropped

  std::shared_ptr<UserState> user;  // null: discovery's
  MessageCharge charge;
  std::shared_ptr<SyncCall> sync;
  uint64_t discovery = 0;  // the generation it belongs to
  Address address;
  int64_t msgid = 0;
  uint8_t netfn = 0;
  uint8_t cmd = 0;
};

enum class OutKind : uint8_t {
  kLocal,     // a request to our BMC, or a direct one; the answer is the user's
  kRouted,    // has a sequence table entry; the local answer only starts its timer
  kResponse,  // a user's response to a command
};

struct OutMessage : SmiMessage, rt::Tracked {
  OutMessage();
  OutKind kind = OutKind::kLocal;
  std::unique_ptr<Pending> pending;
};

// What SmiMessage::user_data can be: null in a message that the system interface made, the address of one of these two,
// or the OutMessage itself.
extern const char kAutoReplyTag;
extern const char kPanicTag;
OutMessage* ours(SmiMessage& message);  // null when it is not one

class MessageQueue {
 public:
  void push_back(SmiMessage* m);
  void push_front(SmiMessage* m);
  SmiMessage* pop();
  void remove(const SmiMessage* m);  // nothing happens when it is not there
  bool empty() const { return !first_; }
  void forget() { first_ = last_ = nullptr; }

 private:
  SmiMessage* first_ = nullptr;
  SmiMessage* last_ = nullptr;
};

// ---- users
// -----------------------------------------------------------------------------------------------------------

struct UserState : RcuNode, rt::Tracked, std::enable_shared_from_this<UserState> {
  UserState(std::shared_ptr<Interface> interface_, int number_, UserHandlers handlers_);

  // Null when the user has as many as it may.
  std::optional<MessageCharge> charge();
  // False when the user has ended: the message is dropped.
  bool enqueue(RecvMessage message);
  void enqueue_pretimeout();
  void run_deliver();
  // Ends the user, once; later calls wait for the same end. keep_queue: what was delivered before is still received.
  void end(bool keep_queue);

  const std::shared_ptr<Interface> interface;
  const int number;
  const UserHandlers handlers;
  rt::Atomic<bool> alive{true};
  rt::Atomic<int> messages{0};
  rt::Atomic<bool> gets_events{false};  // written under events_mutex

  rt::Mutex queue_mutex;
  std::deque<RecvMessage> queue;
  unsigned pretimeouts = 0;
  bool dropping = false;  // nothing more is received
  bool shutdown_wanted = false;
  bool shutdown_done = false;
  rt::WaitQueue ended;  // shutdown_wanted is set
  rt::Work deliver_work;
};

// Registered under receivers_mutex, looked up under RCU. Each channel bit has at most one owner.
struct CommandReceiver : RcuNode, rt::Tracked {
  CommandReceiver() : Tracked("command receiver") {}
  uint8_t netfn = 0;
  uint8_t cmd = 0;
  rt::Atomic<uint32_t> channels{0};
  std::shared_ptr<UserState> user;
};

// ---- identity
// --------------------------------------------------------------------------------------------------------

// Shared by the interfaces of one BMC.
struct BmcDevice {
  int number = 0;
  std::optional<std::array<uint8_t, 16>> guid;
  uint16_t product_id = 0;
  uint8_t device_id = 0;
};

// Discovery is a chain of requests advanced by their answers, so that nothing blocks a worker while a BMC thinks. Who
// wants the result waits for the end of a round; each request has its own bound (G-42).
struct Discovery {
  enum class Stage : uint8_t { kIdle, kGuid, kDeviceId, kChannels };
  Stage stage = Stage::kIdle;
  bool scan_wanted = false;     // whatever the identity says
  bool ended = false;           // the interface goes away
  uint64_t generation = 0;      // of the request outstanding; answers to others are stale
  uint64_t rounds = 0;          // finished
  Status result;                // of the last
  Duration remaining{};         // of the request outstanding
  bool retry_at_tick = false;   // Device ID again at the next tick
  bool register_again = false;  // a new round at the next tick
  unsigned retries = 0;
  unsigned channel = 0;
  std::optional<std::array<uint8_t, 16>> fetched_guid;
  std::array<Channel, kChannelsMax> scanning{};

  bool known = false;
  bool fresh = false;
  DeviceId id;
  std::optional<std::array<uint8_t, 16>> guid;
  std::shared_ptr<BmcDevice> bmc;
  Instant fetched_at{};
  bool channels_scanned = false;  // `channels` has been found once
  bool channels_ready = false;
  std::array<Channel, kChannelsMax> channels{};
};

// ---- panic
// -----------------------------------------------------------------------------------------------------------

struct PanicSlot {
  SmiMessage message;
  bool in_flight = false;  // the layer below has it: not to be written (G-80)
  bool answered = false;
};

// ---- the interface
// ---------------------------------------------------------------------------------------------------

enum class WatchKind : uint8_t { kMessages = 0, kWatchdog = 1, kCommands = 2 };  // bits of E.9

struct Interface : RcuNode, rt::Tracked, SmiUpcalls, std::enable_shared_from_this<Interface> {
  Interface(std::shared_ptr<MessageHandler::Core> core_, std::shared_ptr<SmiHandlers> smi_);
  ~Interface() override;

  // SmiUpcalls
  void message_received(SmiMessage* message) override;
  void watchdog_pretimeout() override;

  // send.cc
  Status request(const std::shared_ptr<UserState>& user, const Address& address, int64_t msgid,
                 const ipmi::Request& request, const RequestOptions& options, std::shared_ptr<SyncCall> sync);
  Status request_local(std::unique_ptr<Pending> pending, const SystemInterfaceAddress& to, const ipmi::Request& request,
                       int priority);
  Status request_routed(std::unique_ptr<Pending> pending, const ipmi::Request& request, const RequestOptions& options);
  Status request_direct(std::unique_ptr<Pending> pending, const IpmbDirectAddress& to, const ipmi::Request& request,
                        int priority);
  // In a section of down_rcu, in_shutdown false.
  void send(SmiMessage* message, int priority);
  void hand_down(SmiMessage* message);
  void send_next();
  bool tick(Duration elapsed);
  bool tick_sequences(Duration elapsed);

  // receive.cc
  enum class Disposition : uint8_t { kFree, kRetry, kConsumed };
  void run_receive();
  Disposition handle(SmiMessage& message);
  Disposition handle_get_message(SmiMessage& message);
  Disposition handle_command(SmiMessage& message, Form form);
  Disposition handle_routed_response(const SmiMessage& message, Form form);
  Disposition handle_oem(const SmiMessage& message);
  Disposition handle_event(const SmiMessage& message);
  void handle_routed_local_response(const SmiMessage& message);
  void deliver_response(OutMessage& message);
  std::shared_ptr<UserState> find_receiver(uint8_t netfn, uint8_t cmd, uint8_t channel);
  bool deliver(std::unique_ptr<Pending> pending, RecvMessage message);
  // An answer of our own making.
  bool deliver_error(std::unique_ptr<Pending> pending, uint8_t cc, ErrorCode failure);
  void retire(SmiMessage* message);

  // users.cc
  Status set_gets_events(UserState& user, bool on);
  Status register_for_cmd(const std::shared_ptr<UserState>& user, uint8_t netfn, uint8_t cmd, uint32_t channels);
  Status unregister_for_cmd(UserState& user, uint8_t netfn, uint8_t cmd, uint32_t channels);
  void drop_receivers(const UserState& user);
  void drop_all_receivers();
  void add_watch(WatchKind kind, unsigned count = 1);
  void remove_watch(WatchKind kind, unsigned count = 1);
  void update_watch();
  Status set_maintenance_mode(MaintenanceMode mode);
  void note_maintenance_command(uint8_t netfn);
  void set_maintenance_state(MaintenanceState state);
  bool tick_maintenance(Duration elapsed);

  // discovery.cc
  struct Ask {
    uint64_t generation = 0;
    ipmi::Request request;
  };
  Status discover_and_wait(bool scan);
  Ask begin_round();
  Ask next_ask(Discovery::Stage stage);
  Ask answer_guid(const RecvMessage& message);
  Ask answer_device_id(const RecvMessage& message);
  Ask answer_channel(const RecvMessage& message);
  Ask identified(const DeviceId& id);
  void finish_round(Status status);
  void publish_channels();
  void send_ask(Ask ask);
  void discovery_answer(uint64_t generation, const RecvMessage& message);
  bool tick_discovery(Duration elapsed);
  void end_discovery();
  Result<Identity> identity();

  // panic.cc
  void panic_prepare();
  bool panic_expired();
  void panic_received(SmiMessage* message);
  bool panic_settle();
  bool panic_request(uint8_t netfn_lun_byte, uint8_t cmd, ByteView data);
  bool panic_request_ipmb(uint8_t slave, uint8_t lun, uint8_t netfn, uint8_t cmd, ByteView data);
  bool panic_transact();
  void panic_events(std::string_view reason, PanicReport* report);
  void panic_drain();

  void count(Statistic s, uint64_t n = 1) {
    statistics[static_cast<size_t>(s)].add(n);
  }
  const state_machine::Profile& profile() const;
  uint64_t counted(Statistic s) const { return statistics[static_cast<size_t>(s)].value(); }
  [[gnu::cold]] void log(const std::string& line) const;
  bool shutting_down() const { return in_shutdown.load(std::memory_order_acquire); }

  const std::shared_ptr<MessageHandler::Core> core;
  const std::shared_ptr<SmiHandlers> smi;
  rt::Shared<SmiInfo> info;  // ordered by the number

  // -1: on the list for the timer, invisible to everybody else. Published last, with release (G-02).
  rt::Atomic<int> number{-1};
  int reserved_number = -1;  // under interfaces_mutex
  bool announced = false;    // under watchers_mutex
  rt::Atomic<bool> in_shutdown{false};
  bool below_ended = false;  // the layer below has been shut down; written when nothing calls it any more (I2-2)
  bool ended = false;        // profiles that clean up twice: gone for the message handler (I2-1)
  rt::Atomic<bool> run_to_completion{false};
  rt::Rcu down_rcu;

  rt::Mutex transmit_mutex;
  SmiMessage* current = nullptr;  // the one message below; atomic by transmit_mutex, or by there being one context left
  SmiMessage refused;             // G-67: stands in for a message that was refused and is gone
  MessageQueue queue_normal;
  MessageQueue queue_high;

  rt::Mutex receive_mutex;
  MessageQueue received;
  bool pretimeout_seen = false;
  rt::Work receive_work;

  rt::Mutex sequence_mutex;
  SequenceTable sequences;
  Duration ipmb_maintenance{};  // IPMB requests retry slower while this runs

  rt::Mutex users_mutex;
  RcuList<UserState> users;
  rt::Rcu users_rcu;
  rt::Atomic<int> user_count{0};

  rt::Mutex receivers_mutex;
  RcuList<CommandReceiver> receivers;
  rt::Rcu receivers_rcu;

  rt::Mutex events_mutex;
  std::deque<std::pair<uint8_t, Bytes>> waiting_events;  // LUN, record
  bool events_overflowed = false;
  rt::Atomic<int> event_users{0};

  rt::Mutex watch_mutex;
  std::array<unsigned, 3> watch_counts{};
  unsigned watch_mask = 0;

  rt::Mutex maintenance_mutex;
  MaintenanceMode maintenance_mode = MaintenanceMode::kAuto;
  Duration maintenance_remaining{};
  rt::Atomic<MaintenanceState> maintenance_state{MaintenanceState::kOff};

  std::array<rt::Atomic<uint8_t>, kChannelsMax> own_address;
  std::array<rt::Atomic<uint8_t>, kChannelsMax> own_lun;

  rt::Mutex discovery_mutex;
  rt::WaitQueue discovery_changed;
  Discovery discovery;

  PanicSlot panic_slot;
  MessageQueue abandoned;  // came back in the panic
  Instant panic_deadline{};
  unsigned panic_polls = 0;
  bool panic_dead = false;  // something below will never come back
  uint8_t panic_sequence = 0;

  std::array<rt::Counter, kStatistics> statistics;
};

// ---- helpers shared by the files
// ---------------------------------------------------------------------------------------

Error shutdown_error(int number);
RecvMessage response_to(const Pending& pending, ByteView data);

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail

namespace bmcpair::host::inline BMCPAIR_RT {

struct MessageHandler::Core : std::enable_shared_from_this<Core> {
  explicit Core(MessageHandlerOptions options_);

  Result<int> register_smi(std::shared_ptr<SmiHandlers> smi);
  Status unregister_smi(int number, bool even_if_in_use);
  std::shared_ptr<detail::Interface> find(int number);
  void unregister_failed(const SmiHandlers& smi);
  void tear_down(const std::shared_ptr<detail::Interface>& interface);
  void end_users(detail::Interface& interface);
  void unlink(detail::Interface& interface);
  void announce(const std::shared_ptr<detail::Interface>& interface, int number);
  void retract(detail::Interface& interface, int number);

  std::shared_ptr<detail::BmcDevice> bmc_for(const DeviceId& id, const std::optional<std::array<uint8_t, 16>>& guid);

  // Something waits for ticks from now on.
  void want_tick();
  bool tick(Duration elapsed);
  void on_timer();
  void stop_timer();

  const MessageHandlerOptions options;
  const state_machine::Profile& profile;
  // Of an interface's number (G-02).
  const std::memory_order number_load;
  const std::memory_order number_store;

  rt::Mutex interfaces_mutex;
  detail::RcuList<detail::Interface> interfaces;          // by reserved_number
  std::vector<std::shared_ptr<detail::Interface>> owned;  // what is on the list; under interfaces_mutex
  std::vector<std::shared_ptr<detail::Interface>> ended;  // I.2: what the old kernels freed, and then used
  rt::Rcu interfaces_rcu;

  rt::Mutex watchers_mutex;
  std::vector<std::pair<uint64_t, Watcher>> watchers;
  uint64_t watcher_ids = 0;

  rt::Mutex bmcs_mutex;
  std::vector<std::weak_ptr<detail::BmcDevice>> bmcs;

  rt::Mutex timer_mutex;
  bool tick_wanted = false;
  bool timer_armed = false;
  bool stopped = false;
  rt::Timer timer;

  rt::Atomic<bool> panicked{false};
};

}  // namespace bmcpair::host::inline BMCPAIR_RT
