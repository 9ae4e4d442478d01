// How a host comes to an interface and leaves it again (design.md §4 "Attachment", reference H.2): one manager an
// interface. An endpoint is what is attached; its id, not 0, is published by the manager and never used again.
//
// H4-1, H4-2  The id is published and taken away in a hold of the manager's lock, which is where it is decided
//             that the interface is not going away.
// H4-3        What is taken away is what is there in that hold, not what was read before it.
// H4-4        The attachment's own reference to the interface is taken before its id is published, and dropped when the
//             attachment ends; nothing relies on somebody else's.
// H4-5        A second host is refused.
// H4-6, H4-8  detach() and close() abort what is in flight, in the same hold, and cannot fail because it is busy.
// H4-7        Neither waits for a peer or for a host's handler. Waiting is for the outermost layer: host_is_quiet().
// H4-9        That must not be called from a handler: the thread that calls handlers is known, and looked at.
//
// Written on `Sync`, so that the laboratory can put it under its chooser. Sync gives:
//   Mutex, LockGuard, UniqueLock, Atomic<T>    as the standard's
//   WaitQueue                                  wait(UniqueLock&, predicate), wake_all()
//   Tracked                                    base of what is counted: Tracked(kind), touch()
//   dispose(Counted*)                          its last reference is gone
//   this_thread()                              uintptr_t, never 0
//   fatal(text)                                [[noreturn]]: a mistake of ours
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace bmcpair::board {

// What the discussion of 2009 criticised. The default is ours; nothing but the laboratory sets anything else.
struct AttachmentVariant {
  bool looks_whether_going = true;        // false: S4-A, an id stored after the destruction saw none
  bool takes_what_is_there = true;        // false: S4-B, the id is read first and the lock taken later
  bool reference_before_publish = true;   // false: S4-C
  bool refuses_under_lock = true;         // false: S4-D, it is asked before the lock is taken whether there is a host
  bool aborts_what_is_in_flight = true;   // false: S4-E, an attachment's end waits for the peer's answer
  bool leaves_handlers_alone = true;      // false: S4-F, an attachment's end waits until no handler runs
  bool ends_though_busy = true;           // false: H4-8, an attachment's end is refused while something is in flight
};

template <class Sync>
class Counted : public Sync::Tracked {
 public:
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  void take() {
    this->touch();
    references_.fetch_add(1, std::memory_order_relaxed);
  }
  void drop() {
    this->touch();
    const uint32_t before = references_.fetch_sub(1, std::memory_order_acq_rel);
    if (before == 0) Sync::fatal("a reference was dropped twice");
    if (before == 1) Sync::dispose(this);
  }

 protected:
  explicit Counted(std::string_view kind) : Sync::Tracked(kind) {}
  virtual ~Counted() = default;

 private:
  friend Sync;
  typename Sync::template Atomic<uint32_t> references_{1};  // its maker's
};

template <class T>
class Reference {
 public:
  Reference() = default;
  explicit Reference(T* to) : to_(to) {
    if (to_) to_->take();
  }
  // Of something just made, whose first reference is its maker's.
  static Reference adopt(T* made) {
    Reference r;
    r.to_ = made;
    return r;
  }
  Reference(const Reference& other) : Reference(other.to_) {}
  Reference(Reference&& other) noexcept : to_(std::exchange(other.to_, nullptr)) {}
  Reference& operator=(Reference other) noexcept {
    std::swap(to_, other.to_);
    return *this;
  }
  ~Reference() {
    if (to_) to_->drop();
  }

  T* get() const { return to_; }
  T& operator*() const { return *to_; }
  T* operator->() const { return to_; }
  explicit operator bool() const { return to_ != nullptr; }

 private:
  T* to_ = nullptr;
};

// Host: what the manager's owner keeps of a host. Its fields are the owner's business.
template <class Sync, class Host>
class AttachmentManager : public Counted<Sync> {
 public:
  using Mutex = typename Sync::Mutex;
  using LockGuard = typename Sync::LockGuard;
  using UniqueLock = typename Sync::UniqueLock;
  using Ids = typename Sync::template Atomic<uint64_t>;

  class Endpoint : public Counted<Sync>, public Host {
   public:
    explicit Endpoint(Host host) : Counted<Sync>("endpoint"), Host(std::move(host)) {}
    // Does not change any more once it is attached.
    uint64_t id() const { return id_; }
    // Under the manager's lock:
    bool up() const { return up_; }
    const std::string& reason() const { return reason_; }  // why it is down

   private:
    friend class AttachmentManager;
    uint64_t id_ = 0;
    bool up_ = false;
    std::string reason_;
    uintptr_t caller_ = 0;  // the thread that calls the host's handlers, or changes them
    bool turned_away_ = false;
    unsigned waiting_ = 0;
    typename Sync::WaitQueue quiet_;
  };

  enum class Answer : uint8_t { kAttached, kBusy, kGoing };

  // Something that the host asked for and that is being done.
  struct Operation {
    uint64_t conversation = 0;
  };

  explicit AttachmentManager(const AttachmentVariant& variant = {}, std::string_view kind = "interface")
      : Counted<Sync>(kind), variant_(variant) {}

  // The interface's lock.
  Mutex& mutex() const { return mutex_; }

  // Under the lock. Null: nobody is attached.
  Endpoint* attached() const { return attached_.load(std::memory_order_relaxed); }
  bool going() const { return going_; }

  // answered(Answer) is called in the hold that decided it; attached() is then whoever has the interface. `ids` is where ids
  // come from.
  template <class F>
  Answer attach(Endpoint& endpoint, Ids& ids, F answered) {
    bool busy = !variant_.refuses_under_lock && attached_.load(std::memory_order_acquire) != nullptr;
    if (variant_.reference_before_publish) this->take();
    Answer answer = Answer::kAttached;
    {
      LockGuard lock(mutex_);
      if (variant_.refuses_under_lock) busy = attached() != nullptr;
      if (going_ && variant_.looks_whether_going) {
        answer = Answer::kGoing;
      } else if (busy) {
        answer = Answer::kBusy;
      } else {
        endpoint.take();
        endpoint.id_ = ids.fetch_add(1, std::memory_order_relaxed);
        endpoint.up_ = true;
        attached_.store(&endpoint, std::memory_order_release);
      }
      answered(answer);
    }
    const bool attached = answer == Answer::kAttached;
    if (attached && !variant_.reference_before_publish) this->take();
    if (!attached && variant_.reference_before_publish) this->drop();
    return answer;
  }

  // The attachment ends, by the host itself or by force. ended(Endpoint&) is called in the hold that takes the id away.
  // False, or null: it had ended before.
  template <class F>
  bool detach(const Endpoint& endpoint, std::string_view reason, F ended) {
    return static_cast<bool>(end([&](Endpoint& there) { return &there == &endpoint; }, false, reason, ended));
  }
  template <class F>
  Reference<Endpoint> detach(uint64_t id, std::string_view reason, F ended) {
    return end([&](Endpoint& there) { return there.id_ == id; }, false, reason, ended);
  }
  // The interface goes away: nobody is attached from here on.
  template <class F>
  Reference<Endpoint> close(std::string_view reason, F ended) {
    return end([](Endpoint&) { return true; }, true, reason, ended);
  }

  // Under the lock. An operation of a conversation that was aborted, as every attachment's end does, is of no account.
  Operation begin() {
    ++in_flight_;
    return {conversation_};
  }
  bool finish(const Operation& operation) {
    if (operation.conversation != conversation_) return false;
    --in_flight_;
    if (!variant_.aborts_what_is_in_flight) settled_.wake_all();
    return true;
  }
  void abort_in_flight() {
    ++conversation_;
    in_flight_ = 0;
  }
  unsigned in_flight() const { return in_flight_; }

  // One thread at a time calls a host's handlers, without the lock. False: another one does, and will look again before it
  // leaves. Under the lock, as is leaving; between the two the lock is the caller's to release.
  bool enter_handlers(Endpoint& endpoint) {
    if (endpoint.caller_ != 0) {
      endpoint.turned_away_ = true;
      return false;
    }
    endpoint.caller_ = Sync::this_thread();
    endpoint.turned_away_ = false;
    return true;
  }
  void leave_handlers(Endpoint& endpoint) {
    endpoint.caller_ = 0;
    if (endpoint.waiting_ > 0) endpoint.quiet_.wake_all();
  }

  // For the outermost layer: waits until no handler runs, and keeps it so during quiet(), which is called without the
  // lock and may change the handlers. left(bool) follows, under the lock: whether somebody wanted to call one meanwhile.
  // Not from a handler of that host.
  template <class F, class G>
  void host_is_quiet(Endpoint& endpoint, F quiet, G left) {
    UniqueLock lock(mutex_);
    if (endpoint.caller_ == Sync::this_thread()) {
      Sync::fatal("a host's handler changed its own port's handlers, or destroyed the port");
    }
    ++endpoint.waiting_;
    endpoint.quiet_.wait(lock, [&] { return endpoint.caller_ == 0; });
    --endpoint.waiting_;
    enter_handlers(endpoint);
    lock.unlock();
    quiet();
    lock.lock();
    const bool turned_away = endpoint.turned_away_;
    leave_handlers(endpoint);
    left(turned_away);
  }

 private:
  template <class Match, class F>
  Reference<Endpoint> end(Match match, bool for_good, std::string_view reason, F& ended) {
    Endpoint* seen = variant_.takes_what_is_there ? nullptr : attached_.load(std::memory_order_acquire);
    UniqueLock lock(mutex_);
    if (for_good) going_ = true;
    Endpoint* endpoint = variant_.takes_what_is_there ? attached() : seen;
    if (!endpoint || !match(*endpoint)) return {};
    if (!variant_.ends_though_busy && in_flight_ != 0) return {};
    if (!variant_.aborts_what_is_in_flight) settled_.wait(lock, [&] { return in_flight_ == 0; });
    attached_.store(nullptr, std::memory_order_release);
    endpoint->up_ = false;
    endpoint->reason_ = std::string(reason);
    abort_in_flight();
    ended(*endpoint);
    if (!variant_.leaves_handlers_alone) {
      ++endpoint->waiting_;
      endpoint->quiet_.wait(lock, [&] { return endpoint->caller_ == 0; });
      --endpoint->waiting_;
    }
    lock.unlock();
    // What the attachment held: the endpoint, which the caller may still have a word for, and this interface.
    auto left = Reference<Endpoint>::adopt(endpoint);
    this->drop();
    return left;
  }

  const AttachmentVariant variant_;
  mutable Mutex mutex_;
  // Written under the mutex.
  typename Sync::template Atomic<Endpoint*> attached_{nullptr};
  bool going_ = false;
  uint64_t conversation_ = 1;
  unsigned in_flight_ = 0;
  typename Sync::WaitQueue settled_;
};

}  // namespace bmcpair::board
