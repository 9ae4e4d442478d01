#include "integration/lab/rig.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/messaging.h"
#include "bmc_emu/firmware/state.h"
#include "integration/lab/arena.h"
#include "proto/ipmi/message.h"
#include "proto/trace/trace.h"

namespace bmcpair::lab {

using hardware::Access;
using registers::InterfaceKind;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// What an access costs on an ISA bus.
constexpr Duration kAccess = microseconds(1);

// Instead of what the latency plan says: between an access of the BMC and the next, and before its answer. The timeouts of the
// stack are 5 s, 2 s and 60 s (A.2, B.3, E.4).
constexpr Duration kAccessDelays[] = {Duration(0),     microseconds(10), microseconds(100), milliseconds(1),
                                      milliseconds(12), milliseconds(120), milliseconds(1900), milliseconds(4999),
                                      milliseconds(5001), seconds(12)};
constexpr Duration kAnswerDelays[] = {Duration(0),        microseconds(200),  milliseconds(2),    milliseconds(20),
                                      milliseconds(250),  milliseconds(1990), milliseconds(4990), milliseconds(5010),
                                      milliseconds(14900), seconds(61)};
// A reset is seen by the host when it had time to fetch the answer to its command (§20.2).
constexpr Duration kResetGrace = milliseconds(5);

// One message in the system interface. The longest that old kernels need is KCS's 11 errors of 5 s; the BMC may be slow besides,
// and whoever drives may stall for half a minute, more than once.
constexpr Duration kBelowMax = std::chrono::minutes(3);

uint64_t tag_of(ByteView data) {
  uint64_t tag = 0;
  for (uint8_t b : data.first(std::min<size_t>(data.size(), 8))) tag = tag << 8 | b;
  return tag;
}

constexpr uint64_t command_key(uint8_t netfn, uint8_t cmd, uint8_t cc = 0) {
  return uint64_t{netfn} << 16 | uint64_t{cmd} << 8 | cc;
}

// What the firmware makes once in a process (its table of commands) must not be made in the memory of a run.
void make_what_is_made_once() {
  static const bool made = [] {
    Outside outside;
    return !firmware::Dispatcher::instance().commands().empty();
  }();
  (void)made;
}

}  // namespace

// ---- the BMC -------------------------------------------------------------------------------------------------------

class LabBmc::Port final : public registers::RegisterPort {
 public:
  explicit Port(LabBmc& bmc) : bmc_(bmc) {}
  ~Port() override {
    set_interrupt_handler({});
    set_link_handler({});
  }
  uint8_t read(uint16_t offset) override {
    rt::World::current()->point(kRead);
    return bmc_.host_read(offset);
  }
  void write(uint16_t offset, uint8_t value) override {
    rt::World::current()->point(kWrite);
    bmc_.host_write(offset, value);
  }
  size_t read_counted(uint16_t offset, std::span<uint8_t> out) override {
    if (out.empty()) return 0;
    rt::World::current()->point(kBurstRead);
    out[0] = bmc_.host_read(offset);
    const size_t n = std::min<size_t>(out[0], out.size() - 1);
    bmc_.host_read_burst(offset, out.subspan(1, n));
    return n + 1;
  }
  // A burst is as many steps at the device, but the processor does nothing else in between.
  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    rt::World::current()->point(kBurstRead);
    bmc_.host_read_burst(offset, out);
  }
  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    rt::World::current()->point(kBurstWrite);
    bmc_.host_write_burst(offset, in);
  }
  InterfaceKind kind() const override { return bmc_.options_.kind; }
  bool has_interrupt() const override { return bmc_.options_.interrupt; }
  void set_interrupt_handler(InterruptHandler handler) override {
    auto& w = *rt::World::current();
    while (bmc_.delivering_) w.block(&bmc_.delivering_, "the interrupt handler's end", Site("interrupt handler"), kNever);
    bmc_.handler_ = std::move(handler);
    bmc_.delivered_ = false;
    bmc_.rose_ = false;
    w.wake_all(&bmc_.level_);
  }
  registers::LinkState link() const override { return bmc_.link_; }
  bool is_up(uint64_t generation) const override { return bmc_.link_.up && bmc_.link_.generation == generation; }
  void set_link_handler(LinkHandler handler) override {
    auto& w = *rt::World::current();
    while (bmc_.delivering_) w.block(&bmc_.delivering_, "the link handler's end", Site("link handler"), kNever);
    bmc_.link_handler_ = std::move(handler);
  }
  uint64_t endpoint() const override { return 1; }

 private:
  static constexpr Site kRead{"register read"}, kWrite{"register write"};
  static constexpr Site kBurstRead{"register burst read"}, kBurstWrite{"register burst write"};
  LabBmc& bmc_;
};

LabBmc::LabBmc(Run& run, BmcOptions options)
    : run_(run), options_(std::move(options)), judge_(options_.kind), judged_(options_.judge_host) {
  make_what_is_made_once();
  hardware::InterfaceOptions hardware_options;
  hardware_options.kind = options_.kind;
  hardware_ = hardware::make_interface(hardware_options);
  hardware_->set_trace(this);
  firmware_ = std::move(*firmware::Bmc::create(options_.firmware, std::make_shared<firmware::MemoryStore>(), this, rt::now()));
  look_at_firmware();
  flags_before_ = hardware_->peek_flags();
  hardware_due_ = hardware_->next_due();
  chooser_ = std::shared_ptr<Chooser>(std::shared_ptr<Chooser>(), &run_.director);
  link_.generation = 1;
  if (run_.options.recorder) {
    Outside outside;
    recorder_ = run_.options.recorder;
    recorder_id_ = recorder_->add_interface("bmc/" + std::string(registers::to_string(options_.kind)), options_.kind);
  }
  for (const faults::Rule& rule : options_.faults) {
    if (Status s = add_fault(rule); !s) run_.fail("setup", s.error().to_string());
  }
  auto& w = *rt::World::current();
  work_task_ = &w.start_task("BMC", [this] { work(); }, rt::World::Kind::kDevice);
  interrupt_task_ = &w.start_task("interrupt", [this] { deliver_interrupts(); }, rt::World::Kind::kDaemon);
}

LabBmc::~LabBmc() {
  auto* w = rt::World::current();
  if (!w) return;
  ended_ = true;
  w->wake_all(this);
  w->wake_all(&level_);
  w->join(*work_task_, Site("end of the BMC"));
  w->join(*interrupt_task_, Site("end of the BMC"));
}

std::unique_ptr<registers::RegisterPort> LabBmc::port() {
  let_go_ = false;
  judge_.forget();
  return std::make_unique<Port>(*this);
}

unsigned LabBmc::said(uint8_t netfn, uint8_t cmd, uint8_t cc) const {
  return said_.of(command_key(static_cast<uint8_t>(netfn & ~1), cmd, cc));
}

unsigned LabBmc::executed(uint64_t tag) const {
  return executed_.of(tag);
}

unsigned LabBmc::executions(uint8_t netfn, uint8_t cmd) const {
  return executions_.of(command_key(netfn, cmd));
}

Status LabBmc::add_fault(faults::Rule rule) {
  if (Status s = faults::check(rule); !s) return s;
  if (!faults_) {
    faults_ = std::make_unique<board::InterfaceFaults>("bmc", options_.kind, chooser_);
    hardware_->set_injector(faults_.get(), rt::now());
  }
  if (!faults_->plan().add(++fault_ids_, std::make_shared<faults::Rule>(std::move(rule)), rt::now())) {
    return Error{ErrorCode::kInvalidArgument, "this interface cannot meet the fault rule"};
  }
  poke();
  return {};
}

void LabBmc::clear_faults() {
  for (uint32_t id = 1; id <= fault_ids_; ++id) {
    faults_->plan().remove(id);
    hardware_->lift(id, rt::now());
  }
  poke();
}

uint64_t LabBmc::faults_fired() const { return faults_ ? faults_->fired() : 0; }

void LabBmc::poke() {
  look_at_firmware();
  settle(false);
  look_at_hardware();
  drawn_ = false;
  rt::World::current()->wake_all(this);
}

void LabBmc::raise_event(uint8_t tag) {
  // Platform Event Message, as from a sensor of its own (§29.3).
  ipmi::Request request{0x04, 0, 0x02, {0x20, 0x04, 0x01, tag, 0x01, 0x50, 0x00, tag}};
  firmware::RequestContext context;
  firmware_->execute(request, context, rt::now());
  poke();
}

void LabBmc::raise_command(uint8_t tag) {
  // As Get Message hands it out: from NetFn and LUN on, without our own address, which the first checksum counts (§22.6).
  const uint8_t head[] = {firmware_->config().identity.ipmb_address,
                          static_cast<uint8_t>(kCommandNetFn << 2 | firmware::kLunSms)};
  Bytes message{head[1], ipmi::checksum(head)};
  const Bytes body{kSatelliteAddress, static_cast<uint8_t>((tag & 0x3f) << 2), kCommandCmd, tag};
  message.insert(message.end(), body.begin(), body.end());
  message.push_back(ipmi::checksum(body));
  firmware::State& state = firmware_->state();
  if (!state.messaging->deliver_to_receive_queue(state, firmware::kChannelPrimaryIpmb, message)) {
    run_.fail("setup", "the BMC's receive message queue is full");
  }
  poke();
}

void LabBmc::update_firmware(uint8_t channel, uint8_t medium) {
  firmware::BmcConfig& config = firmware_->state().config;
  ++config.identity.firmware_major;
  firmware::ChannelConfig added;
  added.number = channel;
  added.medium = medium;
  config.channels.push_back(added);
}

void LabBmc::unplug() {
  link_.up = false;
  link_.reason = "unplugged";
  link_changed_ = true;
  rt::World::current()->wake_all(&level_);
}

void LabBmc::plug_in() {
  hardware_->forget_host(rt::now());
  judge_.forget();
  link_.up = true;
  ++link_.generation;
  link_.reason.clear();
  link_changed_ = true;
  look_at_hardware();
  rt::World::current()->wake_all(&level_);
  rt::World::current()->wake_all(this);
}

// As many accesses of the host as make() makes from the given instant on; each takes its time when it is made (on_access).
template <class Make>
bool LabBmc::host_accesses(size_t n, Make make) {
  auto& w = *rt::World::current();
  if (!link_.up) {
    w.advance(kAccess * n);
    return false;
  }
  host_accesses_ += n;
  if (let_go_) run_.fail("after-shutdown", "the registers are accessed after the system interface's shutdown returned");
  look_at_flags();
  noticed_ = false;
  make(w.now() + kAccess);
  if (!noticed_ && !faults_) return true;
  reset_if_faulty();
  const Instant due_before = hardware_due_;
  look_at_hardware();
  if (hardware_due_ != due_before) {
    drawn_ = false;
    w.wake(*work_task_, this);
  }
  return true;
}

uint8_t LabBmc::host_read(uint16_t offset) {
  uint8_t value = 0xff;
  host_accesses(1, [&](Instant at) { value = hardware_->host_read(offset, at); });
  return value;
}

void LabBmc::host_write(uint16_t offset, uint8_t value) {
  host_accesses(1, [&](Instant at) { hardware_->host_write(offset, value, at); });
}

void LabBmc::host_read_burst(uint16_t offset, std::span<uint8_t> out) {
  const bool there = host_accesses(out.size(), [&](Instant at) { hardware_->host_read_burst(offset, out, at, kAccess); });
  if (!there) std::fill(out.begin(), out.end(), uint8_t{0xff});
}

void LabBmc::host_write_burst(uint16_t offset, std::span<const uint8_t> in) {
  host_accesses(in.size(), [&](Instant at) { hardware_->host_write_burst(offset, in, at, kAccess); });
}

// A fault may have reset the BMC, and its interface is away already then: the firmware says for how long.
void LabBmc::look_for_reset() {
  const auto cold = hardware_->take_reset_request();
  if (!cold) return;
  firmware_->reset(*cold, rt::now());
  look_at_firmware();
  settle(false);
  look_at_hardware();
  drawn_ = false;
  rt::World::current()->wake_all(this);
}

void LabBmc::note_line() {
  const bool level = options_.interrupt && (faults_ ? hardware_->interrupt_line() : line_);
  if (level == level_) return;
  level_ = level;
  if (!level) return;  // told before the next rise
  rose_ = true;
  rt::World::current()->wake_all(&level_);
}

void LabBmc::look_at_hardware() {
  note_line();
  hardware_due_ = hardware_->next_due();
}

void LabBmc::deliver_interrupts() {
  auto& w = *rt::World::current();
  while (!ended_) {
    if (link_changed_) {
      link_changed_ = false;
      if (link_handler_) {
        delivering_ = true;
        link_handler_(link_);
        delivering_ = false;
        w.wake_all(&delivering_);
      }
      continue;
    }
    if ((rose_ || level_ != delivered_) && handler_) {
      // A fall and a rise before anybody looked are two changes, not none.
      const bool fell_unseen = rose_ && delivered_;
      delivered_ = fell_unseen ? false : rose_ || level_;
      if (!fell_unseen) rose_ = false;
      if (w.wants_story() && delivered_) w.tell(rt::World::Side::kHost, "interrupt");
      delivering_ = true;
      handler_(delivered_);
      delivering_ = false;
      w.wake_all(&delivering_);
      w.point(Site("interrupt"));
      continue;
    }
    w.block(&level_, "an interrupt", Site("interrupt"), kNever);
  }
}

Instant LabBmc::next_due() const {
  return std::min({hardware_due_, firmware_due_, offline_at_, online_at_});
}

void LabBmc::work() {
  auto& w = *rt::World::current();
  while (!ended_) {
    const Instant now = w.now();
    Instant due = taken_.empty() ? next_due() : now;
    if (due != kNever && !drawn_) {
      drawn_ = true;
      // How long it takes to come to it is a choice.
      Duration late{0};
      if (!options_.steady) {
        const bool answers = !taken_.empty();
        late = answers ? kAnswerDelays[w.choose(Choice::kDuration, std::size(kAnswerDelays), Site("BMC's answer"))]
                       : kAccessDelays[w.choose(Choice::kDuration, std::size(kAccessDelays), Site("BMC's access"))];
      }
      if (late > Duration(0) && w.wants_story()) {
        w.tell(rt::World::Side::kBmc, "takes " + std::to_string(to_us(late)) + " us longer");
      }
      slow_until_ = std::max(now, due) + late;
      if (late == Duration(0)) slow_until_ = due;
    }
    due = std::max(due, slow_until_);
    if (due == kNever || due > now) {
      // Still to be done if it was not poked meanwhile.
      const bool poked = w.block(this, "something to do", Site("BMC"), due);
      if (poked || !drawn_ || ended_) continue;
    }
    drawn_ = false;
    step(w.now());
    go_on_in_one_go();
  }
}

// A burst to the buffer is as many steps, but as a rule the BMC's processor does nothing else in between, as the host's does
// not. Whether it does is a choice.
void LabBmc::go_on_in_one_go() {
  const bool begun = !std::exchange(in_burst_, hardware_->in_burst()) && in_burst_;
  if (!in_burst_) return;
  if (begun) {
    in_one_go_ = options_.steady || rt::World::current()->choose(Choice::kDuration, 2, Site("BMC's burst")) == 0;
  }
  if (!in_one_go_) return;
  hardware_->go_on_in_burst(std::min({firmware_due_, offline_at_, online_at_}));
  in_burst_ = hardware_->in_burst();
  reset_if_faulty();
  look_at_hardware();
}

void LabBmc::step(Instant now) {
  if (!taken_.empty()) {
    hardware::TakenRequest taken = std::move(taken_.front());
    taken_.pop_front();
    execute(std::move(taken));
    return;
  }
  if (offline_at_ <= now) {
    offline_at_ = kNever;
    taken_.clear();
    judge_.disturbed();
    hardware_->go_offline(now);
    run_.tell("BMC goes offline");
  }
  if (online_at_ <= now && offline_at_ == kNever) {
    online_at_ = kNever;
    hardware_->come_online(now);
    run_.tell("BMC is online again");
  }
  if (hardware_due_ <= now) {
    look_at_flags();
    if (auto taken = hardware_->step(now)) {
      taken_.push_back(std::move(*taken));
      drawn_ = false;
    }
    hardware_->take_hardware_reset_request();
  }
  reset_if_faulty();
  if (firmware_due_ <= now) {
    firmware_->run(now);
    look_at_firmware();
    settle(false);
  }
  look_at_hardware();
}

void LabBmc::execute(hardware::TakenRequest taken) {
  auto& w = *rt::World::current();
  const Instant now = w.now();
  faults::MessageFault fault;
  if (faults_) {
    hardware::Effects effects;
    fault = faults_->on_request(taken.message, true, now, effects);
    for (const hardware::Effect& effect : effects) hardware_->inject(effect, now);
    for (const auto& fired : faults_->take_fired()) {
      if (w.wants_story()) w.tell(rt::World::Side::kBmc, "FAULT " + fired.text);
    }
  }
  firmware::RequestContext context;
  context.interface_kind = options_.kind;
  context.request_bytes_max = hardware_->request_bytes_max();
  context.response_bytes_max = hardware_->response_bytes_max();
  Bytes answer;
  const auto request = ipmi::decode_request(taken.message);
  if (!fault.executes()) {
    if (fault.completion_code && request) {
      answer = {static_cast<uint8_t>(taken.message[0] | 4), taken.message[1], *fault.completion_code};
    }
  } else if (request) {
    executions_.add(command_key(request->netfn, request->cmd));
    if (request->netfn == kEchoNetFn && request->cmd == kEchoCmd) {
      executed_.add(tag_of(request->data));
      answer = ipmi::encode(*request, ipmi::Response{ipmi::CompletionCode::kOk, request->data});
    } else if (options_.endless_events && request->netfn == ipmi::kNetFnApp && request->cmd == 0x35) {
      answer = ipmi::encode(*request, ipmi::Response{ipmi::CompletionCode::kOk, Bytes(16, 0x5a)});
    } else {
      answer = ipmi::encode(*request, firmware_->execute(*request, context, now));
    }
  }
  look_at_firmware();
  settle(true);
  if (faults_) {
    const Bytes genuine = answer;
    if (!fault.fired.empty()) {
      answer = faults::disturb(fault, std::move(answer), faults_->plan().previous_answer(), context.response_bytes_max);
    }
    if (fault.executes()) faults_->plan().note_answer(genuine);
  }
  if (w.wants_story()) {
    w.tell(rt::World::Side::kBmc,
           "executes " + to_hex(taken.message) + (fault.drops() ? ", says nothing" : ", answers " + to_hex(answer)));
  }
  if (recorder_) {
    Outside outside;
    using Message = trace::Message;
    recorder_->add({now, recorder_id_, "BMC", Message{Message::Direction::kToBmc, Bytes(taken.message.begin(), taken.message.end()), {}}});
    if (!fault.drops()) {
      recorder_->add({now, recorder_id_, "BMC", Message{Message::Direction::kToHost, Bytes(answer.begin(), answer.end()), {}}});
    }
  }
  if (!fault.drops()) {
    if (answer.size() >= 3 && request) said_.add(command_key(request->netfn, request->cmd, answer[2]));
    hardware_->respond_faulty(taken.token, answer, now, board::reply_fault(fault));
  }
  reset_if_faulty();
  drawn_ = true;  // the answer's own latency was drawn before it was executed
  slow_until_ = {};
  look_at_hardware();
}

void LabBmc::settle(bool for_answer) {
  const Instant now = rt::now();
  if (reset_away_) {
    const Duration grace = for_answer ? kResetGrace : Duration(0);
    offline_at_ = now + grace;
    online_at_ = now + std::max(*reset_away_, grace + milliseconds(1));
    reset_away_.reset();
    if (!for_answer) {
      offline_at_ = kNever;
      taken_.clear();
      judge_.disturbed();
      hardware_->go_offline(now);
    }
  }
  hardware_->set_attention(firmware_->attention(), now);
}

void LabBmc::on_change(const firmware::Change& change) {
  if (change.kind == firmware::Change::Kind::kReset) reset_away_ = change.duration;
}

namespace {
uint64_t noted(const Access& a) {
  return static_cast<uint64_t>(a.offset) << 32 | static_cast<uint64_t>(a.face == Access::Face::kBmc) << 20 |
         static_cast<uint64_t>(a.is_write) << 16 | static_cast<uint64_t>(a.flags_after) << 8 | a.value;
}
}  // namespace

void LabBmc::on_access(const Access& access) {
  auto& w = *rt::World::current();
  if (access.at > w.now()) w.advance(access.at - w.now());
  if (judged_ && !judge_.passes(access, flags_before_)) judge(access);
  noticed_ |= access.flags_after != flags_before_ || access.interrupt_after != line_;
  flags_before_ = access.flags_after;
  line_ = access.interrupt_after;
  w.note(noted(access));
  if (w.wants_story() || recorder_) show(access);
}

void LabBmc::on_run(Access access, ByteView values, Duration apart) {
  auto& w = *rt::World::current();
  if (values.empty()) return;
  if (w.wants_story() || recorder_) {
    TraceSink::on_run(access, values, apart);
    return;
  }
  // They change no flag: if the first is right, so is the rest.
  access.value = values.front();
  on_access(access);
  w.advance(apart * static_cast<int64_t>(values.size() - 1));
  for (uint8_t value : values.subspan(1)) {
    access.value = value;
    w.note(noted(access));
  }
}

void LabBmc::judge(const Access& access) {
  if (auto wrong = judge_.judge(access, flags_before_)) run_.fail("registers", *std::move(wrong));
}

void LabBmc::show(const Access& access) {
  auto& w = *rt::World::current();
  if (w.wants_story()) {
    w.tell(access.face == Access::Face::kHost ? rt::World::Side::kHost : rt::World::Side::kBmc,
           hardware::describe(options_.kind, access));
  }
  if (!recorder_) return;
  Outside outside;
  trace::Access a;
  a.face = access.face == Access::Face::kHost ? trace::Side::kHost : trace::Side::kBmc;
  a.is_write = access.is_write;
  a.offset = access.offset;
  a.value = access.value;
  a.flags_after = access.flags_after;
  a.interrupt_after = access.interrupt_after;
  a.fault = access.fault;
  recorder_->add({access.at, recorder_id_, std::string(std::string_view(w.self().name)), a});
}

// ---- the seam of the system interface --------------------------------------------------------------------------------

Status WatchedSmi::start_processing(host::SmiUpcalls& upcalls) {
  up_ = &upcalls;
  down_ = false;
  return smi_->start_processing(*this);
}

Status WatchedSmi::sender(host::SmiMessage* message) {
  if (down_) run_.fail("after-shutdown", "a message is handed to a system interface that was shut down");
  // One that a panic stopped above the layer below is not there yet.
  if (std::erase_if(below_, [&](const Below& b) { return b.message == message; }) != 0 && smi_->holds_message()) {
    run_.fail("message-reused", "a message is written and handed down again while the layer below still has it");
  }
  below_.push_back({message, message->data[0], message->data[1], rt::now()});
  if (run_.options.story) run_.tell("Send " + to_hex(ByteView(message->data, message->data_size)));
  Status s = smi_->sender(message);
  if (!s) {
    std::erase_if(below_, [&](const Below& b) { return b.message == message; });
    if (run_.options.story) run_.tell("refused: " + s.error().to_string());
  }
  return s;
}

void WatchedSmi::message_received(host::SmiMessage* message) {
  if (down_) run_.fail("after-shutdown", "a message comes from a system interface after its shutdown returned");
  const uint8_t cc = message->rsp_size >= 3 ? message->rsp[2] : 0xff;
  if (run_.options.story) {
    run_.tell("Recv " + to_hex(ByteView(message->rsp, message->rsp_size)) +
              (message->failed ? " (made by the driver)" : ""));
  }
  auto at = std::find_if(below_.begin(), below_.end(), [&](const Below& b) { return b.message == message; });
  if (at == below_.end()) {
    if (message->user_data) run_.fail("exactly-once", "a message comes back that was not below: answered twice");
  } else {
    const uint8_t netfn = at->netfn_lun >> 2, cmd = at->cmd;
    const Duration took = rt::now() - at->since;
    below_.erase(at);
    if (took > kBelowMax) {
      run_.fail("late", "the answer to " + to_hex(Bytes{static_cast<uint8_t>(netfn << 2), cmd}) + " took " +
                            std::to_string(took / seconds(1)) + " s: beyond every bound of the driver's");
    }
    // KCS and SMIC carry no sequence number: there the message handler is who looks (E.5).
    if (kind_ == InterfaceKind::kBt && message->rsp_size >= 3 && !message->failed &&
        ((message->rsp[0] >> 2) != (netfn | 1) || message->rsp[1] != cmd)) {
      run_.fail("own-answer", "the answer to " + to_hex(Bytes{static_cast<uint8_t>(netfn << 2), cmd}) + " is " +
                                  to_hex(ByteView(message->rsp, message->rsp_size)));
    }
    if (cc == 0xd5 && bmc_) {
      unsigned& refused = refused_[{netfn, cmd}];
      ++refused;
      if (refused > bmc_->said(netfn, cmd, 0xd5)) {
        ++refusals_;
        if (!tolerate_refusals_) {
          run_.fail("forged-d5", "the answer to " + to_hex(Bytes{static_cast<uint8_t>(netfn << 2), cmd}) +
                                     " is D5, which the BMC never said: the state machine was busy");
        }
      }
    }
  }
  up_->message_received(message);
}

void WatchedSmi::shutdown() {
  smi_->shutdown();
  down_ = true;
  if (bmc_) bmc_->host_let_go();
  if (!below_.empty()) {
    run_.fail("exactly-once", "shut down with a message that was never answered: " +
                                  to_hex(Bytes{below_[0].netfn_lun, below_[0].cmd}));
  }
}

// ---- the host ------------------------------------------------------------------------------------------------------

namespace {

// The driver's trace as lines of the story.
class StoryTrace final : public state_machine::Trace {
 public:
  explicit StoryTrace(Run& run) : run_(run) {}
  bool wanted() const override { return run_.options.story; }
  void line(std::string text) override { run_.tell(std::move(text)); }

 private:
  Run& run_;
};

host::MessageHandlerOptions with_log(host::MessageHandlerOptions options, Run& run, std::vector<std::string>& log,
                                     const state_machine::Profile* profile) {
  options.profile = profile;
  options.log = [&run, &log](std::string line) {
    if (run.options.story) run.tell("log: " + line);
    log.push_back(std::move(line));
  };
  return options;
}

}  // namespace

bool is_hardened(const state_machine::Profile& profile) {
  const auto flags = state_machine::profile_flags();
  return std::all_of(flags.begin(), flags.end(), [&](const state_machine::ProfileFlag& f) {
    return profile.*f.member == state_machine::hardened().*f.member;
  });
}

void NumberBook::given(int number, uint64_t begun) {
  if (std::find(taken_.begin(), taken_.end(), number) != taken_.end()) {
    run_.fail("numbers", "number " + std::to_string(number) + " is given twice (I0-5)");
  }
  for (int lower = 0; lower < number; ++lower) {
    if (std::find(taken_.begin(), taken_.end(), lower) != taken_.end()) continue;
    const auto since = free_since_.find(lower);
    if (since != free_since_.end() && since->second > begun) continue;  // it may have come too late
    run_.fail("numbers", "number " + std::to_string(number) + " is given while " + std::to_string(lower) + " is free (I0-5)");
  }
  taken_.push_back(number);
  ++changes_;
}

void NumberBook::going(int number) {
  std::erase(taken_, number);
  free_since_[number] = ++changes_;
}

LabHost::LabHost(Run& run, HostOptions options)
    : run_(run), options_(std::move(options)), numbers_(run), handler_(with_log(options_.handler, run_, log_, options_.profile)) {}

Result<int> LabHost::bring_up(LabBmc& bmc) {
  host::SystemInterfaceOptions o = options_.interface;
  o.profile = options_.profile;
  o.trace = std::make_shared<StoryTrace>(run_);
  o.log = [this](std::string line) {
    if (run_.options.story) run_.tell("log: " + line);
    log_.push_back(std::move(line));
  };
  system_interface_ = std::make_shared<host::SystemInterface>(bmc.port(), std::move(o));
  if (!options_.profile || is_hardened(*options_.profile)) bmc.judge_host();
  watched_ = std::make_shared<WatchedSmi>(run_, options_.tamper ? options_.tamper(system_interface_) : system_interface_, &bmc);
  if (options_.tolerate_refusals) watched_->tolerate_refusals();
  if (Status s = system_interface_->bring_up(); !s) return s.error();
  const uint64_t begun = numbers_.begin();
  auto number = handler_.register_smi(watched_);
  if (!number) {
    handler_.unregister_failed(*watched_);
    return number;
  }
  numbers_.given(*number, begun);
  ++run_.bring_ups;
  return number;
}

Status LabHost::unregister(int number) {
  numbers_.going(number);
  return handler_.unregister_smi(number);
}

bool LabHost::logged(std::string_view part) const {
  return std::any_of(log_.begin(), log_.end(), [&](const std::string& l) { return l.find(part) != std::string::npos; });
}

// ---- users ---------------------------------------------------------------------------------------------------------

LabUser::LabUser(Run& run, LabHost& host, LabBmc* bmc, int number, uint32_t name) : run_(run), bmc_(bmc), name_(name) {
  host::UserHandlers handlers;
  handlers.receive = [this](host::RecvMessage m) { receive(std::move(m)); };
  handlers.shutdown = [this] {
    check_alive("is told twice that it has ended");
    told_of_the_end_ = true;
  };
  if (auto user = host.handler().create_user(number, std::move(handlers))) user_ = std::move(*user);
}

LabUser::~LabUser() = default;

int64_t LabUser::next_id(Kind kind, const ipmi::Request& request) {
  rt::LockGuard lock(mutex_);
  sent_[++ids_] = {kind, request.netfn, request.cmd, false};
  return ids_;
}

void LabUser::check_alive(const char* what) {
  if (told_of_the_end_) run_.fail("after-shutdown", "user " + std::to_string(name_) + ' ' + what + ", after its last callback (H4-2)");
}

bool LabUser::submit(Kind kind, const host::Address& to, ipmi::Request request, const host::RequestOptions& options) {
  const int64_t id = next_id(kind, request);
  if (kind == Kind::kEcho) {
    const uint64_t tag = static_cast<uint64_t>(name_) << 32 | static_cast<uint64_t>(id);
    if (request.data.size() < 8) request.data.resize(8);
    for (size_t i = 0; i < 8; ++i) request.data[i] = static_cast<uint8_t>(tag >> (56 - 8 * i));
  }
  const Status s = user_->request(to, id, request, options);
  if (s) return true;
  if (run_.options.story) run_.tell("user " + std::to_string(name_) + ": refused: " + s.error().to_string());
  rt::LockGuard lock(mutex_);
  if (sent_[id].answered) run_.fail("exactly-once", "a request that was refused was answered, too");
  sent_.erase(id);
  return false;
}

bool LabUser::send(size_t bytes) {
  return submit(Kind::kEcho, host::SystemInterfaceAddress{}, ipmi::Request{kEchoNetFn, 0, kEchoCmd, Bytes(bytes, 0xa5)}, {});
}

bool LabUser::send_ipmb(uint8_t slave, const host::RequestOptions& options) {
  return submit(Kind::kIpmb, host::IpmbAddress{0, slave, 0, false}, ipmi::Request{ipmi::kNetFnApp, 0, 0x01, {}}, options);
}

bool LabUser::send_reset(bool cold) {
  return submit(Kind::kReset, host::SystemInterfaceAddress{},
                ipmi::Request{ipmi::kNetFnApp, 0, static_cast<uint8_t>(cold ? 0x02 : 0x03), {}}, {});
}

Status LabUser::receive_commands(uint32_t channels) {
  return user_->register_for_cmd(kCommandNetFn, kCommandCmd, channels);
}

void LabUser::receive(host::RecvMessage m) {
  rt::LockGuard lock(mutex_);
  check_alive("hears");
  if (m.type == host::RecvType::kAsyncEvent) {
    const uint8_t tag = m.data.empty() ? 0 : m.data.back();
    if (!events_.empty() && events_.rbegin()->first > tag) {
      run_.fail("event-order", "user " + std::to_string(name_) + " gets event " + std::to_string(tag) + " after event " +
                                   std::to_string(events_.rbegin()->first));
    }
    if (++events_[tag] > 1) run_.fail("event-twice", "user " + std::to_string(name_) + " gets event " + std::to_string(tag) + " twice");
    changed_.wake_all();
    return;
  }
  if (m.type == host::RecvType::kCommand) {
    const uint8_t tag = m.data.empty() ? 0 : m.data.back();
    if (++commands_[tag] > 1) {
      run_.fail("command-twice", "user " + std::to_string(name_) + " gets command " + std::to_string(tag) + " twice");
    }
    changed_.wake_all();
    return;
  }
  auto at = sent_.find(m.msgid);
  const std::string which = "user " + std::to_string(name_) + "'s request " + std::to_string(m.msgid);
  if (at == sent_.end()) run_.fail("exactly-once", which + " was never sent, but is answered");
  if (at->second.answered) run_.fail("exactly-once", which + " is answered twice");
  at->second.answered = true;
  ++answered_;
  if (run_.options.story) {
    run_.tell(which + " ends with " + (m.data.empty() ? "nothing" : to_hex(ByteView(m.data).first(1))) +
              (m.failed ? ", the driver's own" : ""));
  }
  const bool good = !m.failed && !m.data.empty() && m.data[0] == 0;
  if (good && (m.netfn != (at->second.netfn | 1) || m.cmd != at->second.cmd)) {
    run_.fail("own-answer", which + " is answered with NetFn and command " + to_hex(Bytes{m.netfn, m.cmd}));
  }
  if (good && at->second.kind == Kind::kIpmb) {
    if (m.data.size() < 2 || m.data[1] != kSatelliteDeviceId) {
      run_.fail("own-answer", which + " to a satellite is answered with " + to_hex(m.data) + ", which is not its device id");
    }
    ++good_;
  } else if (good && at->second.kind == Kind::kEcho) {
    const uint64_t tag = tag_of(ByteView(m.data).subspan(1));
    if (tag != (static_cast<uint64_t>(name_) << 32 | static_cast<uint64_t>(m.msgid))) {
      run_.fail("own-answer", which + " is answered with what belongs to user " + std::to_string(tag >> 32) +
                                  "'s request " + std::to_string(tag & 0xffffffff));
    }
    ++good_;
  }
  changed_.wake_all();
}

void LabUser::settle(Duration limit) {
  rt::UniqueLock lock(mutex_);
  const bool all = changed_.wait_until(lock, rt::now() + limit, [&] { return answered_ == sent_.size(); });
  if (!all) {
    run_.fail("unanswered", "user " + std::to_string(name_) + ": " + std::to_string(sent_.size() - answered_) +
                                " of " + std::to_string(sent_.size()) + " requests are never answered");
  }
}

void LabUser::expect_events(unsigned n) {
  rt::UniqueLock lock(mutex_);
  if (!changed_.wait_until(lock, rt::now() + std::chrono::minutes(1), [&] { return events_.size() >= n; })) {
    run_.fail("event-lost", "user " + std::to_string(name_) + " got " + std::to_string(events_.size()) + " of " +
                                std::to_string(n) + " events");
  }
}

void LabUser::expect_commands(unsigned n) {
  rt::UniqueLock lock(mutex_);
  if (!changed_.wait_until(lock, rt::now() + std::chrono::minutes(1), [&] { return commands_.size() >= n; })) {
    run_.fail("command-lost", "user " + std::to_string(name_) + " got " + std::to_string(commands_.size()) + " of " +
                                  std::to_string(n) + " commands");
  }
}

void LabUser::check_charges() {
  const int charged = user_->outstanding_messages();
  if (charged < 0) {
    run_.fail("charge", "user " + std::to_string(name_) + " has " + std::to_string(charged) + " messages outstanding");
  }
}

void LabUser::check_executed_once() {
  for (const auto& [id, sent] : sent_) {
    const uint64_t tag = static_cast<uint64_t>(name_) << 32 | static_cast<uint64_t>(id);
    if (bmc_->executed(tag) > 1) {
      run_.fail("executed-twice", "the BMC executed user " + std::to_string(name_) + "'s request " + std::to_string(id) +
                                      " more than once");
    }
  }
}

}  // namespace bmcpair::lab
