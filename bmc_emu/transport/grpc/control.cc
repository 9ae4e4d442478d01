#include "bmc_emu/transport/grpc/control.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "bmc_emu/transport/grpc/ops.h"
#include "bmc_emu/transport/grpc/status.h"
#include "proto/ipmi/message.h"
#include "proto/rpc/control.grpc.pb.h"

namespace bmcpair::transport {
namespace {

constexpr unsigned kWorkers = 2;
constexpr size_t kCallsWaitingMax = 256;
constexpr size_t kWatchersMax = 64;
constexpr size_t kWatchQueueMax = 1024;
constexpr size_t kReasonBytesMax = 200;

using board::Board;
using firmware::Bmc;

v1::InterfaceKind kind_of(registers::InterfaceKind kind) {
  switch (kind) {
    case registers::InterfaceKind::kKcs: return v1::INTERFACE_KIND_KCS;
    case registers::InterfaceKind::kBt: return v1::INTERFACE_KIND_BT;
    case registers::InterfaceKind::kSmic: return v1::INTERFACE_KIND_SMIC;
  }
  return v1::INTERFACE_KIND_UNSPECIFIED;
}

uint64_t us(Instant at) { return static_cast<uint64_t>(std::max<int64_t>(0, to_us(at.time_since_epoch()))); }
uint64_t ns(Duration d) { return static_cast<uint64_t>(std::max<int64_t>(0, d.count())); }

std::string as_bytes(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

Error invalid(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

void fill(v1::Sensor* out, const firmware::SensorView& view) {
  out->set_number(view.number);
  out->set_lun(view.lun);
  out->set_name(view.name);
  out->set_threshold(view.threshold);
  out->set_sensor_type(view.sensor_type);
  out->set_unit(view.unit);
  out->set_raw(view.raw);
  out->set_value(view.value);
  out->set_states(view.states);
  out->set_scanning(view.scanning);
}

void fill(v1::Endpoint* out, const std::string& bmc, const board::EndpointView& view) {
  out->set_id(view.id);
  out->set_bmc(bmc);
  out->set_interface(view.interface);
  out->set_who(view.who);
  out->set_since_us(us(view.since));
}

void fill(v1::Fault* out, const std::string& bmc, const board::FaultView& view) {
  out->set_id(view.id);
  out->set_bmc(bmc);
  for (const std::string& interface : view.interfaces) out->add_interfaces(interface);
  out->set_name(view.rule.name);
  out->set_rule(faults::to_text(view.rule));
  out->set_matched(view.matched);
  out->set_fired(view.fired);
  out->set_bounded(view.remaining.has_value());
  out->set_remaining(view.remaining.value_or(0));
  out->set_over(view.over);
}

void fill(v1::BmcSummary* out, Board& board) {
  out->set_name(board.name());
  board.with_firmware([&](Bmc& bmc, Instant now) {
    out->set_power_on(bmc.power_on());
    out->set_identify(bmc.identify());
    out->set_sensors(static_cast<uint32_t>(bmc.sensors(now).size()));
    out->set_sel_entries(static_cast<uint32_t>(bmc.sel(now).size()));
  });
  std::map<std::string, std::string> holders;
  for (const board::EndpointView& e : board.endpoints()) holders[e.interface] = e.who.empty() ? "unnamed" : e.who;
  for (const board::InterfaceConfig& config : board.config().interfaces) {
    v1::InterfaceSummary* i = out->add_interfaces();
    i->set_name(config.name);
    i->set_kind(kind_of(config.kind));
    i->set_has_interrupt(config.interrupt);
    if (auto it = holders.find(config.name); it != holders.end()) i->set_held_by(it->second);
    i->set_vm_address(board.message_service(config.name)->address());
  }
}

// The calls themselves, without streams.
class Calls {
 public:
  Calls(board::Fleet& fleet, Counters& counters, std::string version, FaultParser parse_faults)
      : fleet_(fleet), counters_(counters), version_(std::move(version)), parse_faults_(std::move(parse_faults)) {}

  board::Fleet& fleet() { return fleet_; }

  Status Version(const v1::VersionRequest&, v1::VersionReply* reply) {
    reply->set_version(version_);
    reply->set_protocol_version(kProtocolVersion);
    reply->set_uptime_us(us(fleet_.now()));
    reply->set_bmcs(static_cast<uint32_t>(fleet_.names().size()));
    return {};
  }

  Status List(const v1::ListRequest&, v1::ListReply* reply) {
    for (const std::string& name : fleet_.names()) {
      auto board = fleet_.find(name);
      if (board.ok()) fill(reply->add_bmcs(), **board);
    }
    return {};
  }

  Status Describe(const v1::DescribeRequest& request, v1::DescribeReply* reply) {
    auto board = fleet_.find(request.bmc());
    if (!board.ok()) return board.error();
    fill(reply->mutable_summary(), **board);
    const firmware::BmcConfig& config = (*board)->config().firmware;
    const firmware::Identity& id = config.identity;
    v1::Identity* identity = reply->mutable_identity();
    identity->set_device_id(id.device_id);
    identity->set_device_revision(id.device_revision);
    char text[16];
    std::snprintf(text, sizeof text, "%u.%02x", static_cast<unsigned>(id.firmware_major),
                  static_cast<unsigned>(id.firmware_minor_bcd));
    identity->set_firmware(text);
    std::snprintf(text, sizeof text, "%u.%u", static_cast<unsigned>(id.ipmi_version_bcd & 0x0f),
                  static_cast<unsigned>(id.ipmi_version_bcd >> 4));
    identity->set_ipmi_version(text);
    identity->set_manufacturer_id(id.manufacturer_id);
    identity->set_product_id(id.product_id);
    identity->set_device_guid(as_bytes(id.device_guid));
    identity->set_system_guid(as_bytes(id.system_guid));
    identity->set_ipmb_address(id.ipmb_address);
    (*board)->with_firmware([&](Bmc& bmc, Instant) {
      reply->set_global_enables(bmc.global_enables());
      reply->set_attention(bmc.attention());
    });
    for (const auto& s : config.satellites) {
      reply->add_satellites()->set_address(s.address);
      reply->mutable_satellites()->rbegin()->set_answers(s.answers);
    }
    for (const auto& f : config.frus) {
      v1::Fru* fru = reply->add_frus();
      fru->set_id(f.id);
      fru->set_name(f.name);
      fru->set_size(f.size);
    }
    for (const auto& u : config.users) {
      v1::User* user = reply->add_users();
      user->set_id(u.id);
      user->set_name(u.name);
      user->set_privilege(u.privilege);
      user->set_enabled(u.enabled);
    }
    reply->set_sel_entries_max(config.sel_entries_max);
    for (const auto& e : (*board)->endpoints()) fill(reply->add_endpoints(), (*board)->name(), e);
    return {};
  }

  Status Power(const v1::PowerRequest& request, v1::PowerReply* reply) {
    firmware::PowerAction action;
    switch (request.action()) {
      case v1::POWER_ACTION_OFF: action = firmware::PowerAction::kOff; break;
      case v1::POWER_ACTION_ON: action = firmware::PowerAction::kOn; break;
      case v1::POWER_ACTION_CYCLE: action = firmware::PowerAction::kCycle; break;
      case v1::POWER_ACTION_HARD_RESET: action = firmware::PowerAction::kHardReset; break;
      case v1::POWER_ACTION_DIAGNOSTIC_INTERRUPT: action = firmware::PowerAction::kDiagnosticInterrupt; break;
      case v1::POWER_ACTION_SOFT_SHUTDOWN: action = firmware::PowerAction::kSoftShutdown; break;
      default: return invalid("action " + std::to_string(request.action()) + " is no power action");
    }
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      Status s = bmc.power(action, now);
      reply->set_power_on(bmc.power_on());
      return s;
    });
  }

  Status Reset(const v1::ResetRequest& request, v1::ResetReply*) {
    if (request.kind() != v1::RESET_KIND_COLD && request.kind() != v1::RESET_KIND_WARM)
      return invalid("kind " + std::to_string(request.kind()) + " is neither cold nor warm");
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      bmc.reset(request.kind() == v1::RESET_KIND_COLD, now);
      return Status();
    });
  }

  Status Identify(const v1::IdentifyRequest& request, v1::IdentifyReply* reply) {
    uint8_t mode = 0;
    switch (request.mode()) {
      case v1::IdentifyRequest::MODE_OFF: break;
      case v1::IdentifyRequest::MODE_TIMED:
        if (request.seconds() < 1 || request.seconds() > 255)
          return invalid("seconds " + std::to_string(request.seconds()) + " is not 1 to 255");
        mode = 1;
        break;
      case v1::IdentifyRequest::MODE_FORCED: mode = 2; break;
      default: return invalid("mode " + std::to_string(request.mode()) + " is none of off, timed, forced");
    }
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      bmc.set_identify(mode, std::chrono::seconds(request.seconds()), now);
      reply->set_identify(bmc.identify());
      return Status();
    });
  }

  Status ListSensors(const v1::ListSensorsRequest& request, v1::ListSensorsReply* reply) {
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      for (const auto& view : bmc.sensors(now)) fill(reply->add_sensors(), view);
      return Status();
    });
  }

  Status GetSensor(const v1::GetSensorRequest& request, v1::Sensor* reply) {
    return on(request.bmc(), [&](Bmc& bmc, Instant now) { return sensor(bmc, request.sensor(), now, reply); });
  }

  Status SetSensor(const v1::SetSensorRequest& request, v1::Sensor* reply) {
    if (request.to_case() == v1::SetSensorRequest::TO_NOT_SET) return invalid("neither value nor states is set");
    if (request.to_case() == v1::SetSensorRequest::kStates && request.states() > 0x7fff)
      return invalid("states " + std::to_string(request.states()) + " has more than 15 bits");
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      Status s = request.to_case() == v1::SetSensorRequest::kValue
                     ? bmc.set_sensor_value(request.sensor(), request.value(), now)
                     : bmc.set_sensor_states(request.sensor(), static_cast<uint16_t>(request.states()), now);
      return s.ok() ? sensor(bmc, request.sensor(), now, reply) : s;
    });
  }

  Status ReleaseSensor(const v1::ReleaseSensorRequest& request, v1::Sensor* reply) {
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      Status s = bmc.release_sensor(request.sensor(), now);
      return s.ok() ? sensor(bmc, request.sensor(), now, reply) : s;
    });
  }

  Status SelList(const v1::SelListRequest& request, v1::SelListReply* reply) {
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      reply->set_entries_max(bmc.config().sel_entries_max);
      for (const auto& view : bmc.sel(now)) {
        v1::SelRecord* record = reply->add_records();
        record->set_id(view.id);
        record->set_record(as_bytes(view.record));
      }
      return Status();
    });
  }

  Status SelAdd(const v1::SelAddRequest& request, v1::SelAddReply* reply) {
    if (request.record().size() != 16)
      return invalid("record has " + std::to_string(request.record().size()) + " bytes, a SEL record has 16");
    return on(request.bmc(), [&](Bmc& bmc, Instant now) {
      auto id = bmc.sel_add({reinterpret_cast<const uint8_t*>(request.record().data()), 16}, now);
      if (!id.ok()) return Status(id.error());
      reply->set_id(*id);
      return Status();
    });
  }

  Status SelClear(const v1::SelClearRequest& request, v1::SelClearReply*) {
    return on(request.bmc(), [&](Bmc& bmc, Instant now) { return bmc.sel_clear(now); });
  }

  Status Statistics(const v1::StatisticsRequest& request, v1::StatisticsReply* reply) {
    auto boards = some(request.bmc());
    if (!boards.ok()) return boards.error();
    for (const auto& board : *boards) {
      for (const auto& config : board->config().interfaces) {
        board::InterfaceStatistics s = board->statistics(config.name);
        v1::InterfaceStatistics* out = reply->add_interfaces();
        out->set_bmc(board->name());
        out->set_interface(config.name);
        out->set_kind(kind_of(config.kind));
        out->set_host_reads(s.host_reads);
        out->set_host_writes(s.host_writes);
        out->set_requests(s.requests);
        out->set_responses(s.responses);
        out->set_responses_dropped(s.responses_dropped);
        out->set_interrupts(s.interrupts);
        out->set_faults(s.faults);
        auto vm = board->message_service(config.name);
        out->set_vm_connections(vm->connections);
        out->set_vm_connections_refused(vm->connections_refused);
        out->set_vm_frames_in(vm->frames_in);
        out->set_vm_frames_out(vm->frames_out);
        out->set_vm_frames_bad(vm->frames_bad);
      }
    }
    v1::ServerStatistics* server = reply->mutable_server();
    server->set_attaches(counters_.attaches);
    server->set_attaches_refused(counters_.attaches_refused);
    server->set_streams(counters_.streams);
    server->set_messages(counters_.messages);
    server->set_ops(counters_.ops);
    server->set_ops_refused(counters_.ops_refused);
    server->set_interrupts_pushed(counters_.interrupts_pushed);
    server->set_watchers(counters_.watchers);
    server->set_events_dropped(counters_.events_dropped);
    return {};
  }

  Status SetTrace(const v1::SetTraceRequest& request, v1::SetTraceReply*) {
    auto board = fleet_.find(request.bmc());
    if (!board.ok()) return board.error();
    (*board)->set_trace(request.on());
    return {};
  }

  Status GetTrace(const v1::GetTraceRequest& request, v1::GetTraceReply* reply) {
    auto board = fleet_.find(request.bmc());
    if (!board.ok()) return board.error();
    bool found = false;
    std::string names;
    std::vector<std::pair<hardware::Access, const board::InterfaceConfig*>> all;
    for (const auto& config : (*board)->config().interfaces) {
      names += (names.empty() ? "" : ", ") + config.name;
      if (!request.interface().empty() && request.interface() != config.name) continue;
      found = true;
      for (const auto& access : (*board)->access_trace(config.name)) all.emplace_back(access, &config);
      reply->set_accesses_left_out(reply->accesses_left_out() + (*board)->accesses_left_out(config.name));
      v1::TracedInterface* interface = reply->add_interfaces();
      interface->set_name(config.name);
      interface->set_kind(kind_of(config.kind));
    }
    if (!found && !request.interface().empty())
      return Error{ErrorCode::kNotFound, "BMC '" + (*board)->name() + "' has no interface '" + request.interface() +
                                             "', it has: " + names};
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first.at < b.first.at; });
    for (const auto& [access, config] : all) {
      v1::RegisterAccess* out = reply->add_accesses();
      out->set_interface(config->name);
      out->set_at_ns(ns(access.at.time_since_epoch()));
      out->set_face(access.face == hardware::Access::Face::kHost ? v1::RegisterAccess::FACE_HOST
                                                                 : v1::RegisterAccess::FACE_BMC);
      out->set_is_write(access.is_write);
      out->set_offset(access.offset);
      out->set_value(access.value);
      out->set_flags_after(access.flags_after);
      out->set_interrupt_after(access.interrupt_after);
      out->set_kind(kind_of(config->kind));
      out->set_fault(access.fault);
    }
    for (const auto& message : (*board)->message_trace()) {
      if (!request.interface().empty() && message.interface != request.interface()) continue;
      v1::TracedMessage* out = reply->add_messages();
      out->set_interface(message.interface);
      out->set_at_ns(ns(message.at.time_since_epoch()));
      out->set_took_ns(ns(message.took));
      out->set_request(as_bytes(message.request));
      out->set_response(as_bytes(message.response));
      for (uint32_t fault : message.faults) out->add_faults(fault);
    }
    reply->set_messages_left_out((*board)->messages_left_out());
    reply->set_bmc((*board)->name());
    const auto wall = std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch());
    reply->set_unix_epoch_ns((wall - fleet_.now().time_since_epoch()).count());
    return {};
  }

  Status AddFault(const v1::AddFaultRequest& request, v1::AddFaultReply* reply) {
    if (!parse_faults_) return Error{ErrorCode::kNotSupported, "this server reads no fault rules"};
    auto board = fleet_.find(request.bmc());
    if (!board.ok()) return board.error();
    const std::string file = request.file_name().substr(0, kReasonBytesMax);
    auto rules = parse_faults_(request.rules(), file.empty() ? "rules" : file);
    if (!rules.ok()) return rules.error();
    std::set<uint32_t> added;
    for (faults::Rule& rule : *rules) {
      auto id = (*board)->add_fault(std::move(rule));
      if (!id.ok()) {
        for (uint32_t earlier : added) (void)(*board)->clear_fault(earlier);
        return id.error();
      }
      added.insert(*id);
    }
    for (const board::FaultView& view : (*board)->faults()) {
      if (added.count(view.id)) fill(reply->add_faults(), (*board)->name(), view);
    }
    return {};
  }

  Status ListFaults(const v1::ListFaultsRequest& request, v1::ListFaultsReply* reply) {
    auto boards = some(request.bmc());
    if (!boards.ok()) return boards.error();
    for (const auto& board : *boards)
      for (const board::FaultView& view : board->faults()) fill(reply->add_faults(), board->name(), view);
    return {};
  }

  Status ClearFaults(const v1::ClearFaultsRequest& request, v1::ClearFaultsReply* reply) {
    if (request.ids().empty()) {
      auto boards = some(request.bmc());
      if (!boards.ok()) return boards.error();
      size_t cleared = 0;
      for (const auto& board : *boards) cleared += board->clear_faults();
      reply->set_cleared(static_cast<uint32_t>(cleared));
      return {};
    }
    auto board = fleet_.find(request.bmc());
    if (!board.ok()) return board.error();
    std::set<uint32_t> known;
    for (const board::FaultView& view : (*board)->faults()) known.insert(view.id);
    const std::set<uint32_t> ids(request.ids().begin(), request.ids().end());
    for (uint32_t id : ids) {
      if (!known.count(id))
        return Error{ErrorCode::kNotFound, "BMC " + (*board)->name() + " has no fault rule " + std::to_string(id)};
    }
    for (uint32_t id : ids) {
      // Somebody else may have been faster.
      if ((*board)->clear_fault(id).ok()) reply->set_cleared(reply->cleared() + 1);
    }
    return {};
  }

  Status Endpoints(const v1::EndpointsRequest& request, v1::EndpointsReply* reply) {
    auto boards = some(request.bmc());
    if (!boards.ok()) return boards.error();
    for (const auto& board : *boards)
      for (const auto& e : board->endpoints()) fill(reply->add_endpoints(), board->name(), e);
    return {};
  }

  Status Detach(const v1::DetachRequest& request, v1::DetachReply*) {
    if (request.endpoint() == 0) return invalid("endpoint is 0: ids begin at 1, see Endpoints");
    auto board = fleet_.find(request.bmc());
    if (!board.ok()) return board.error();
    std::string reason = request.reason().substr(0, kReasonBytesMax);
    return (*board)->detach(request.endpoint(), reason.empty() ? "by the operator" : reason);
  }

 private:
  Status on(const std::string& name, const std::function<Status(Bmc&, Instant)>& f) {
    auto board = fleet_.find(name);
    if (!board.ok()) return board.error();
    Status status;
    (*board)->with_firmware([&](Bmc& bmc, Instant now) { status = f(bmc, now); });
    return status;
  }

  Result<std::vector<std::shared_ptr<Board>>> some(const std::string& name) {
    std::vector<std::shared_ptr<Board>> boards;
    if (!name.empty()) {
      auto board = fleet_.find(name);
      if (!board.ok()) return board.error();
      boards.push_back(*board);
      return boards;
    }
    for (const std::string& n : fleet_.names())
      if (auto board = fleet_.find(n); board.ok()) boards.push_back(*board);
    return boards;
  }

  static Status sensor(Bmc& bmc, const std::string& name, Instant now, v1::Sensor* reply) {
    auto view = bmc.sensor(name, now);
    if (!view.ok()) return view.error();
    fill(reply, *view);
    return {};
  }

  board::Fleet& fleet_;
  Counters& counters_;
  const std::string version_;
  const FaultParser parse_faults_;
};

class Workers {
 public:
  Workers() {
    for (unsigned i = 0; i < kWorkers; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Workers() { stop(); }

  bool submit(std::function<void()> f) {
    std::lock_guard lock(mutex_);
    if (stopping_ || calls_.size() >= kCallsWaitingMax) return false;
    calls_.push_back(std::move(f));
    changed_.notify_one();
    return true;
  }

  // Finishes what was submitted.
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    for (std::thread& t : threads_)
      if (t.joinable()) t.join();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !calls_.empty(); });
      if (calls_.empty()) return;
      auto f = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      f();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> calls_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

class Watcher;

struct Watchers {
  explicit Watchers(Counters& c) : counters(c) {}
  Counters& counters;
  std::mutex mutex;
  std::set<std::shared_ptr<Watcher>> live;
  std::optional<std::string> stopping;
};

class Watcher : public grpc::ServerWriteReactor<v1::WatchEvent>, public std::enable_shared_from_this<Watcher> {
 public:
  Watcher(std::shared_ptr<Watchers> watchers, const v1::WatchRequest& request)
      : watchers_(std::move(watchers)), bmc_(request.bmc()), messages_(request.messages()) {}

  void begin(board::Fleet& fleet, bool listed, grpc::Status refusal) {
    self_ = shared_from_this();
    listed_ = listed;
    if (refusal.ok() && !bmc_.empty()) {
      if (auto board = fleet.find(bmc_); !board.ok()) refusal = to_grpc(board.error());
    }
    if (!refusal.ok()) return finish(refusal);
    std::weak_ptr<Watcher> weak = weak_from_this();
    auto subscription = fleet.subscribe([weak](const board::BoardEvent& event) {
      if (auto self = weak.lock()) self->on_event(event);
    });
    v1::WatchEvent hello;
    hello.set_kind("watching");
    hello.set_bmc(bmc_);
    hello.set_at_us(us(fleet.now()));
    hello.set_text(bmc_.empty() ? "every BMC" : "");
    std::lock_guard lock(mutex_);
    subscription_ = std::move(subscription);
    queue_.push_front(std::move(hello));
    watching_ = true;
    write_next();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok) write_next();
  }
  void OnCancel() override { finish(grpc::Status::CANCELLED); }
  void OnDone() override {
    unsubscribe();
    if (listed_) {
      std::lock_guard lock(watchers_->mutex);
      watchers_->live.erase(self_);
      --watchers_->counters.watchers;
    }
    auto self = std::move(self_);
  }

  void finish(const grpc::Status& status) {
    unsubscribe();
    std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true)) return;
    Finish(status);
  }

 private:
  void on_event(const board::BoardEvent& event) {
    if (!bmc_.empty() && event.bmc != bmc_) return;
    if (!messages_ && event.kind == "message") return;
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (queue_.size() >= kWatchQueueMax) {
      ++dropped_;
      gap_at_ = event.at;
      ++watchers_->counters.events_dropped;
      return;
    }
    if (dropped_ > 0) push_gap();
    v1::WatchEvent out;
    out.set_bmc(event.bmc);
    out.set_interface(event.interface);
    out.set_at_us(us(event.at));
    out.set_kind(event.kind);
    out.set_value(event.change.value);
    out.set_text(event.change.text);
    queue_.push_back(std::move(out));
    write_next();
  }

  // With mutex_ held.
  void push_gap() {
    v1::WatchEvent gap;
    gap.set_kind("dropped");
    gap.set_at_us(us(gap_at_));
    gap.set_text(std::to_string(dropped_) + " events were lost: the watcher is too slow");
    gap.set_dropped(std::exchange(dropped_, 0));
    queue_.push_back(std::move(gap));
  }

  // With mutex_ held.
  void write_next() {
    if (!watching_ || writing_ || ended_) return;
    if (queue_.empty() && dropped_ > 0) push_gap();
    if (queue_.empty()) return;
    out_ = std::move(queue_.front());
    queue_.pop_front();
    writing_ = true;
    StartWrite(&out_);
  }

  // Without mutex_ held: it waits for a call that is in on_event().
  void unsubscribe() {
    std::shared_ptr<void> subscription;
    std::lock_guard lock(mutex_);
    subscription.swap(subscription_);
  }

  const std::shared_ptr<Watchers> watchers_;
  const std::string bmc_;
  const bool messages_;
  std::shared_ptr<Watcher> self_;
  bool listed_ = false;

  std::mutex mutex_;
  std::shared_ptr<void> subscription_;
  std::deque<v1::WatchEvent> queue_;
  v1::WatchEvent out_;
  uint64_t dropped_ = 0;
  Instant gap_at_{};
  bool watching_ = false;
  bool writing_ = false;
  bool ended_ = false;
};

class Service : public ControlService, v1::Control::CallbackService {
 public:
  Service(board::Fleet& fleet, Counters& counters, std::string version, FaultParser parse_faults)
      : calls_(fleet, counters, std::move(version), std::move(parse_faults)), watchers_(std::make_shared<Watchers>(counters)) {}

  grpc::Service& service() override { return *this; }

  void stop(const std::string& why) override {
    std::set<std::shared_ptr<Watcher>> live;
    {
      std::lock_guard lock(watchers_->mutex);
      watchers_->stopping = why;
      live = watchers_->live;
    }
    for (const auto& watcher : live) watcher->finish({grpc::StatusCode::UNAVAILABLE, why});
    workers_.stop();
  }

#define BMCPAIR_CALL(name, Request, Reply)                                                              \
  grpc::ServerUnaryReactor* name(grpc::CallbackServerContext* context, const v1::Request* request, v1::Reply* reply) \
      override {                                                                                         \
    return run(context, [this, request, reply] { return calls_.name(*request, reply); });                \
  }
  BMCPAIR_CALL(Version, VersionRequest, VersionReply)
  BMCPAIR_CALL(List, ListRequest, ListReply)
  BMCPAIR_CALL(Describe, DescribeRequest, DescribeReply)
  BMCPAIR_CALL(Power, PowerRequest, PowerReply)
  BMCPAIR_CALL(Reset, ResetRequest, ResetReply)
  BMCPAIR_CALL(Identify, IdentifyRequest, IdentifyReply)
  BMCPAIR_CALL(ListSensors, ListSensorsRequest, ListSensorsReply)
  BMCPAIR_CALL(GetSensor, GetSensorRequest, Sensor)
  BMCPAIR_CALL(SetSensor, SetSensorRequest, Sensor)
  BMCPAIR_CALL(ReleaseSensor, ReleaseSensorRequest, Sensor)
  BMCPAIR_CALL(SelList, SelListRequest, SelListReply)
  BMCPAIR_CALL(SelAdd, SelAddRequest, SelAddReply)
  BMCPAIR_CALL(SelClear, SelClearRequest, SelClearReply)
  BMCPAIR_CALL(Statistics, StatisticsRequest, StatisticsReply)
  BMCPAIR_CALL(SetTrace, SetTraceRequest, SetTraceReply)
  BMCPAIR_CALL(GetTrace, GetTraceRequest, GetTraceReply)
  BMCPAIR_CALL(AddFault, AddFaultRequest, AddFaultReply)
  BMCPAIR_CALL(ListFaults, ListFaultsRequest, ListFaultsReply)
  BMCPAIR_CALL(ClearFaults, ClearFaultsRequest, ClearFaultsReply)
  BMCPAIR_CALL(Endpoints, EndpointsRequest, EndpointsReply)
  BMCPAIR_CALL(Detach, DetachRequest, DetachReply)
#undef BMCPAIR_CALL

  grpc::ServerWriteReactor<v1::WatchEvent>* Watch(grpc::CallbackServerContext*,
                                                  const v1::WatchRequest* request) override {
    auto watcher = std::make_shared<Watcher>(watchers_, *request);
    grpc::Status refusal;
    bool listed = false;
    {
      std::lock_guard lock(watchers_->mutex);
      if (watchers_->stopping) {
        refusal = {grpc::StatusCode::UNAVAILABLE, *watchers_->stopping};
      } else if (watchers_->live.size() >= kWatchersMax) {
        refusal = {grpc::StatusCode::RESOURCE_EXHAUSTED,
                   "there are " + std::to_string(kWatchersMax) + " watchers already"};
      } else {
        watchers_->live.insert(watcher);
        ++watchers_->counters.watchers;
        listed = true;
      }
    }
    watcher->begin(calls_.fleet(), listed, refusal);
    return watcher.get();
  }

 private:
  grpc::ServerUnaryReactor* run(grpc::CallbackServerContext* context, std::function<Status()> call) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    bool taken = workers_.submit([reactor, call = std::move(call)] {
      Status status = call();
      reactor->Finish(status.ok() ? grpc::Status::OK : to_grpc(status.error()));
    });
    if (!taken) {
      std::lock_guard lock(watchers_->mutex);
      reactor->Finish(watchers_->stopping
                          ? grpc::Status(grpc::StatusCode::UNAVAILABLE, *watchers_->stopping)
                          : grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls at once, try again"));
    }
    return reactor;
  }

  Calls calls_;
  std::shared_ptr<Watchers> watchers_;
  Workers workers_;
};

}  // namespace

std::unique_ptr<ControlService> ControlService::create(board::Fleet& fleet, Counters& counters, std::string version,
                                                       FaultParser parse_faults) {
  return std::make_unique<Service>(fleet, counters, std::move(version), std::move(parse_faults));
}

}  // namespace bmcpair::transport
