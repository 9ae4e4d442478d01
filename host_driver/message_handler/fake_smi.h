// For this room's tests: a lower layer that does what the test says, and remembers what it was told.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host_driver/message_handler/message_handler.h"
#include "host_driver/message_handler/smi.h"
#include "host_driver/runtime/runtime.h"
#include "proto/base/hex.h"

namespace bmcpair::host::inline BMCPAIR_RT {

inline Instant soon() { return rt::now() + std::chrono::seconds(20); }
constexpr Duration kSecond = std::chrono::seconds(1);

inline Bytes device_id_reply(uint8_t cc = 0, uint8_t product = 1, uint8_t fw = 0x10, uint8_t support = 0xbf,
                             uint8_t version = 0x02) {
  if (cc) return {cc};
  return {0, 0x20, 0x81, fw, 0x07, version, support, 0x11, 0x22, 0x00, product, 0x00, 1, 2, 3, 4};
}

class FakeSmi : public SmiHandlers {
 public:
  // From the request to the bytes after NetFn and command (completion code first), nullopt: never answered by itself.
  using Reply = std::function<std::optional<Bytes>(ByteView request)>;

  FakeSmi() : work_([this] { run(); }) {}
  ~FakeSmi() override { work_.cancel_and_wait(); }

  // A BMC with an IPMB on channel 0, a LAN on 1, an OEM channel 2, which says yes to everything else.
  static std::optional<Bytes> usual(ByteView r) {
    if (r[0] == 0x18 && r[1] == 0x08) return Bytes{0xc1};
    if (r[0] == 0x18 && r[1] == 0x01) return device_id_reply();
    if (r[0] == 0x18 && r[1] == 0x42) {
      switch (r[2]) {
        case 0:
          return Bytes{0, 0, 1, 1, 0, 0, 0, 0, 0, 0};
        case 1:
          return Bytes{0, 1, 4, 1, 0, 0, 0, 0, 0, 0};
        case 2:
          return Bytes{0, 2, 0x60, 0x1c, 0, 0, 0, 0, 0, 0};
        default:
          return Bytes{0xcc};
      }
    }
    return Bytes{0x00};
  }

  // ---- what the test sets, before it matters ----
  Reply reply = &FakeSmi::usual;
  SmiInfo smi_info;
  Status start_status;
  // Asked at each sender(): an Error refuses.
  std::function<Status(ByteView)> refuse;
  // Raw form: may rewrite the whole answer.
  std::function<void(SmiMessage&)> rewrite;
  bool keep_at_shutdown = false;  // breaks the contract

  // ---- SmiHandlers ----
  Status start_processing(SmiUpcalls& upcalls) override {
    rt::LockGuard lock(m_);
    ++starts;
    upcalls_ = &upcalls;
    return start_status;
  }
  SmiInfo info() const override { return smi_info; }
  Status sender(SmiMessage* message) override {
    const ByteView request(message->data, message->data_size);
    {
      rt::LockGuard lock(m_);
      note_call();
      sent.emplace_back(request.begin(), request.end());
      sent_types.push_back(message->type);
    }
    changed_.wake_all();
    if (refuse) {
      if (Status s = refuse(request); !s) return s;
    }
    {
      rt::LockGuard lock(m_);
      if (waiting_) ++double_sends;
      waiting_ = message;
      fresh_ = true;
    }
    changed_.wake_all();
    work_.schedule();
    return {};
  }
  void request_events() override {
    rt::LockGuard lock(m_);
    note_call();
    ++event_requests;
  }
  void set_need_watch(unsigned mask) override {
    rt::LockGuard lock(m_);
    note_call();
    watches.push_back(mask);
  }
  void set_maintenance_mode(bool enable) override {
    rt::LockGuard lock(m_);
    note_call();
    maintenance.push_back(enable);
  }
  void set_run_to_completion(bool on) override { run_to_completion = on; }
  void poll() override { ++polls; }
  void flush_messages() override {}
  bool holds_message() const override { return waiting_ != nullptr; }
  void shutdown() override {
    work_.cancel_and_wait();
    SmiMessage* m = nullptr;
    {
      rt::LockGuard lock(m_);
      ++shutdowns;
      down_ = true;
      if (!keep_at_shutdown) m = std::exchange(waiting_, nullptr);
    }
    if (m) {
      m->rsp[0] = m->data[0] | 4;
      m->rsp[1] = m->data[1];
      m->rsp[2] = 0xff;
      m->rsp_size = 3;
      m->failed = true;
      m->failure = ErrorCode::kShutdown;
      upcalls_->message_received(m);
    }
    changed_.wake_all();
  }

  // ---- what the test does ----
  // Waits until `n` messages have been sent; false at the deadline.
  bool wait_sent(size_t n) {
    rt::UniqueLock lock(m_);
    return changed_.wait_until(lock, soon(), [&] { return sent.size() >= n; });
  }
  // Waits until a message for which pred holds is below and not answered by itself.
  bool wait_held(uint8_t netfn_lun, uint8_t cmd) {
    rt::UniqueLock lock(m_);
    return changed_.wait_until(lock, soon(), [&] {
      return waiting_ && !fresh_ && waiting_->data[0] == netfn_lun && waiting_->data[1] == cmd;
    });
  }
  // Answers the message that is held.
  void answer(const Bytes& after_cmd) {
    SmiMessage* m = nullptr;
    {
      rt::LockGuard lock(m_);
      m = std::exchange(waiting_, nullptr);
    }
    if (m) give(m, after_cmd);
  }
  SmiMessage* held() {
    rt::LockGuard lock(m_);
    return waiting_;
  }
  void let_answer(Reply r) {
    rt::LockGuard lock(m_);
    reply = std::move(r);
  }
  // What the system interface fetches by itself. whole: NetFn, command, completion code, data.
  void bring(uint8_t cmd, const Bytes& whole, SmiMessageType type = SmiMessageType::kNormal) {
    auto* m = new SmiMessage;
    m->type = type;
    m->data[0] = 0x18;
    m->data[1] = cmd;
    m->data_size = 2;
    std::copy(whole.begin(), whole.end(), m->rsp);
    m->rsp_size = static_cast<uint16_t>(whole.size());
    m->done = [](SmiMessage* x) { delete x; };
    upcalls_->message_received(m);
  }
  void bring_message(const Bytes& after_cc) {
    Bytes whole{0x1c, 0x33, 0x00};
    whole.insert(whole.end(), after_cc.begin(), after_cc.end());
    bring(0x33, whole);
  }
  void bring_event(uint8_t tag) {
    Bytes whole{0x1c, 0x35, 0x00};
    whole.resize(19, tag);
    bring(0x35, whole);
  }
  void bark() { upcalls_->watchdog_pretimeout(); }

  std::vector<Bytes> all_sent() {
    rt::LockGuard lock(m_);
    return sent;
  }
  size_t sent_count() { return all_sent().size(); }
  size_t sent_matching(uint8_t netfn_lun, uint8_t cmd) {
    size_t n = 0;
    for (const Bytes& b : all_sent()) n += b[0] == netfn_lun && b[1] == cmd;
    return n;
  }
  unsigned last_watch() {
    rt::LockGuard lock(m_);
    return watches.empty() ? 0 : watches.back();
  }
  template <class F>
  auto locked(F f) {
    rt::LockGuard lock(m_);
    return f();
  }

  std::vector<Bytes> sent;
  std::vector<SmiMessageType> sent_types;
  std::vector<unsigned> watches;
  std::vector<bool> maintenance;
  int starts = 0;
  int shutdowns = 0;
  int double_sends = 0;  // a second message while one was below
  int calls_after_shutdown = 0;
  int event_requests = 0;
  bool run_to_completion = false;
  unsigned polls = 0;

 protected:
  void note_call() {
    if (down_) ++calls_after_shutdown;
  }
  void give(SmiMessage* m, const Bytes& after_cmd) {
    m->rsp[0] = m->data[0] | 4;
    m->rsp[1] = m->data[1];
    std::copy(after_cmd.begin(), after_cmd.end(), m->rsp + 2);
    m->rsp_size = static_cast<uint16_t>(after_cmd.size() + 2);
    if (rewrite) rewrite(*m);
    upcalls_->message_received(m);
  }
  void run() {
    SmiMessage* m = nullptr;
    std::optional<Bytes> r;
    {
      rt::LockGuard lock(m_);
      if (!waiting_ || !fresh_) return;
      fresh_ = false;
      r = reply(ByteView(waiting_->data, waiting_->data_size));
      if (r) m = std::exchange(waiting_, nullptr);
    }
    changed_.wake_all();
    if (m) give(m, *r);
  }

  rt::Mutex m_;
  rt::WaitQueue changed_;
  SmiUpcalls* upcalls_ = nullptr;
  SmiMessage* waiting_ = nullptr;
  bool fresh_ = false;
  bool down_ = false;
  rt::Work work_;
};

// A user's letter box.
class Inbox {
 public:
  UserHandlers handlers() {
    UserHandlers h;
    h.receive = [this](RecvMessage m) {
      if (on_receive) on_receive(m);
      {
        rt::LockGuard lock(m_);
        messages_.push_back(std::move(m));
        ++received_;
      }
      changed_.wake_all();
    };
    h.shutdown = [this] {
      {
        rt::LockGuard lock(m_);
        ++shutdowns_;
      }
      changed_.wake_all();
    };
    return h;
  }
  // The next message; fails the wait at the deadline.
  std::optional<RecvMessage> next() {
    rt::UniqueLock lock(m_);
    if (!changed_.wait_until(lock, soon(), [&] { return !messages_.empty(); })) return std::nullopt;
    RecvMessage m = std::move(messages_.front());
    messages_.pop_front();
    return m;
  }
  bool wait_received(size_t n) {
    rt::UniqueLock lock(m_);
    return changed_.wait_until(lock, soon(), [&] { return received_ >= n; });
  }
  size_t received() {
    rt::LockGuard lock(m_);
    return received_;
  }
  int shutdowns() {
    rt::LockGuard lock(m_);
    return shutdowns_;
  }
  void clear() {
    rt::LockGuard lock(m_);
    messages_.clear();
  }
  std::function<void(const RecvMessage&)> on_receive;

 private:
  rt::Mutex m_;
  rt::WaitQueue changed_;
  std::deque<RecvMessage> messages_;
  size_t received_ = 0;
  int shutdowns_ = 0;
};

// Fires where the test says, or runs what it says there.
class TestHook : public rt::FaultHook {
 public:
  explicit TestHook(std::function<bool(std::string_view)> f) : f_(std::move(f)) { rt::set_fault_hook(this); }
  ~TestHook() override { rt::set_fault_hook(nullptr); }
  bool fires(std::string_view name) override { return f_(name); }

 private:
  std::function<bool(std::string_view)> f_;
};

using Flags = state_machine::ProfileFlags;
// Hardened but for these, which are the other way round. Lives as long as the process.
inline const state_machine::Profile* hardened_but(std::initializer_list<bool Flags::*> flags) {
  static std::deque<state_machine::Profile> made;
  auto& profile = made.emplace_back();
  for (auto flag : flags) profile.*flag = !(profile.*flag);
  return &profile;
}

inline MessageHandlerOptions manual() {
  MessageHandlerOptions o;
  o.own_timer = false;
  return o;
}

inline MessageHandlerOptions manual_but(std::initializer_list<bool Flags::*> flags) {
  MessageHandlerOptions o = manual();
  o.profile = hardened_but(flags);
  return o;
}

inline ipmi::Request request_of(uint8_t netfn, uint8_t cmd, Bytes data = {}) {
  return {netfn, 0, cmd, std::move(data)};
}

// A registration on its way, in a thread of its own.
class Registering {
 public:
  Registering(MessageHandler& handler, std::shared_ptr<SmiHandlers> smi) {
    thread_.start("register", [this, &handler, smi = std::move(smi)] { result_ = handler.register_smi(smi); });
  }
  ~Registering() {
    if (thread_.joinable()) thread_.join();
  }
  Result<int> wait() {
    thread_.join();
    return result_;
  }

 private:
  Result<int> result_ = Error{};
  rt::Thread thread_;
};

// One interface, brought up.
struct Rig {
  explicit Rig(MessageHandlerOptions options = manual(), SmiInfo info = {}) : handler(std::move(options)) {
    smi = std::make_shared<FakeSmi>();
    smi->smi_info = std::move(info);
    number = handler.register_smi(smi).value();
    before = smi->sent_count();
    handler.tick(Duration::zero());  // sees that discovery needs no more
  }
  std::unique_ptr<User> open(Inbox& inbox) { return handler.create_user(number, inbox.handlers()).value(); }
  uint64_t stat(Statistic s) { return handler.statistics(number).value()[static_cast<size_t>(s)]; }
  // Everything that came up before has been classified when this returns.
  void settle() {
    Inbox inbox;
    auto user = open(inbox);
    (void)call(*user, SystemInterfaceAddress{}, request_of(6, 0x3a), soon());
  }
  // What was sent since the interface came up.
  std::vector<Bytes> sent() {
    auto all = smi->all_sent();
    return {all.begin() + static_cast<ptrdiff_t>(before), all.end()};
  }

  MessageHandler handler;
  std::shared_ptr<FakeSmi> smi;
  int number = -1;
  size_t before = 0;
};

}  // namespace bmcpair::host::inline BMCPAIR_RT
