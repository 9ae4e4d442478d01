// The fourth discussion (reference H.2): end points that come and go while others take them down. The board's own
// attachment manager, in the laboratory's world.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bmc_emu/board/attachment.h"
#include "host_driver/runtime/runtime.h"
#include "integration/scenarios/registry.h"

namespace bmcpair::scenarios {
namespace {

using board::AttachmentVariant;

constexpr const char* kThread =
    "[ofw] [PATCH 3/7] ib/cm: export CM only interface, Fab Tillier and Sean Hefty, OpenFabrics Windows list, January "
    "2009";

// What has ended stays where it is until the run is over (its memory is the run's), so that who touches it is found.
struct LabSync {
  using Mutex = rt::Mutex;
  using LockGuard = rt::LockGuard;
  using UniqueLock = rt::UniqueLock;
  using WaitQueue = rt::WaitQueue;
  template <class T>
  using Atomic = rt::Atomic<T>;

  class Tracked {
   public:
    explicit Tracked(std::string_view kind) : kind_(kind), id_(rt::World::current()->track(kind)) {}
    void touch() const {
      if (!ended_) return;
      rt::World& world = *rt::World::current();
      world.violate("use-after-free", world.self().name + " touches an " + std::string(kind_) + " that has ended");
    }
    void end() {
      touch();
      ended_ = true;
      rt::World::current()->untrack(id_, kind_, this);
    }

   private:
    const std::string_view kind_;
    const uint32_t id_;
    bool ended_ = false;
  };
  static void dispose(Tracked* object) { object->end(); }
  static uintptr_t this_thread() { return uintptr_t{1} + rt::World::current()->self_id(); }
  [[noreturn]] static void fatal(std::string_view what) { rt::fatal(what); }
};

struct Host {};
using Manager = board::AttachmentManager<LabSync, Host>;
using Endpoint = Manager::Endpoint;
using Answer = Manager::Answer;
template <class T>
using Reference = board::Reference<T>;

// One interface, of which everybody in the story holds a reference of his own.
struct Stage {
  Stage(Run& run_, const AttachmentVariant& variant)
      : run(run_), interface(Reference<Manager>::adopt(new Manager(variant))) {}

  static Reference<Endpoint> endpoint() { return Reference<Endpoint>::adopt(new Endpoint(Host{})); }
  Answer attach(Reference<Manager>& to, Endpoint& e) {
    const Answer answer = to->attach(e, ids, [](Answer) {});
    run.tell(answer == Answer::kAttached ? "is attached"
             : answer == Answer::kBusy   ? "is refused: busy"
                                         : "is refused: going away");
    return answer;
  }
  void ended(Endpoint& e) {
    run.tell("ends the attachment");
    for (const Endpoint* gone : gone_) {
      run.expect(gone != &e, "double-destroy", "an attachment was ended twice");
    }
    gone_.push_back(&e);
  }

  Run& run;
  Manager::Ids ids{1};
  Reference<Manager> interface;

 private:
  std::vector<const Endpoint*> gone_;
};

// What a task captures is its own: no copy holds a reference for it.
class Tasks {
 public:
  Tasks& add(const char* name, std::function<void()> function) {
    functions_.emplace_back(name, std::move(function));
    return *this;
  }
  void run() {
    std::vector<rt::Thread> threads(functions_.size());
    for (size_t i = 0; i < threads.size(); ++i) threads[i].start(functions_[i].first, std::move(functions_[i].second));
    for (rt::Thread& thread : threads) thread.join();
  }

 private:
  std::vector<std::pair<const char*, std::function<void()>>> functions_;
};

// S4-A. The interface goes away while a host is being attached.
void leak(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  variant.looks_whether_going = profile == "hardened";
  Stage stage(run, variant);
  Tasks()
      .add("host",
           [&, interface = stage.interface]() mutable {
             auto e = Stage::endpoint();
             stage.attach(interface, *e);
             // Who takes the interface away takes the end point with it: nothing else is owed.
             e = {};
             interface = {};
           })
      .add("owner",
           [&, interface = stage.interface]() mutable {
             interface->close("going away", [&](Endpoint& e) { stage.ended(e); });
             interface = {};
           })
      .run();
}

// S4-B. A host leaves while it is made to.
void double_destroy(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  variant.takes_what_is_there = profile == "hardened";
  Stage stage(run, variant);
  auto e = Stage::endpoint();
  stage.attach(stage.interface, *e);
  const uint64_t id = e->id();
  Tasks()
      .add("host",
           [&, mine = std::move(e), interface = stage.interface]() mutable {
             interface->detach(*mine, "by itself", [&](Endpoint& there) { stage.ended(there); });
             mine = {};
             interface = {};
           })
      .add("administrator",
           [&, id, interface = stage.interface]() mutable {
             interface->detach(id, "by force", [&](Endpoint& there) { stage.ended(there); });
             interface = {};
           })
      .run();
}

// S4-C. The attachment's reference to the interface.
void publish_first(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  variant.reference_before_publish = profile == "hardened";
  Stage stage(run, variant);
  Tasks()
      .add("host",
           [&, interface = stage.interface]() mutable {
             auto e = Stage::endpoint();
             stage.attach(interface, *e);
             e = {};
             interface = {};
           })
      .add("owner",
           [&, interface = std::move(stage.interface)]() mutable {
             interface->close("going away", [&](Endpoint& e) { stage.ended(e); });
             interface = {};
           })
      .run();
}

// S4-D. Two hosts at once.
void two_accepts(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  variant.refuses_under_lock = profile == "hardened";
  Stage stage(run, variant);
  unsigned holders = 0;
  const auto host = [&, interface = stage.interface]() mutable {
    auto e = Stage::endpoint();
    if (stage.attach(interface, *e) == Answer::kAttached) {
      run.expect(++holders == 1, "two-hosts", "two hosts have been given one interface");
      rt::yield();
      const bool mine = interface->detach(*e, "", [&](Endpoint& there) {
        stage.ended(there);
        --holders;
      });
      run.expect(mine, "two-hosts", "a host leaves, and another one has been given its place");
    }
    e = {};
    interface = {};
  };
  Tasks().add("host a", host).add("host b", host).run();
}

// S4-E. A host that waits for an answer is taken down; the BMC answers when it likes, which may be after all is over.
void destroy_waits(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  variant.aborts_what_is_in_flight = profile == "hardened";
  Stage stage(run, variant);
  rt::Mutex mutex;
  rt::WaitQueue changed;
  bool destroyed = false;
  auto e = Stage::endpoint();
  stage.attach(stage.interface, *e);
  Manager::Operation operation;
  {
    rt::LockGuard lock(stage.interface->mutex());
    operation = stage.interface->begin();
  }
  Tasks()
      .add("owner",
           [&, mine = std::move(e), interface = stage.interface]() mutable {
             interface->detach(*mine, "taken down", [&](Endpoint& there) { stage.ended(there); });
             rt::LockGuard lock(mutex);
             destroyed = true;
             changed.wake_all();
             mine = {};
             interface = {};
           })
      .add("bmc",
           [&, interface = stage.interface]() mutable {
             {
               rt::UniqueLock lock(mutex);
               changed.wait(lock, [&] { return destroyed; });
             }
             // The next host has come meanwhile.
             auto next = Stage::endpoint();
             stage.attach(interface, *next);
             {
               rt::LockGuard lock(interface->mutex());
               interface->begin();
               run.expect(!interface->finish(operation), "stale-answer",
                          "an answer to a host that has gone counts for the next one");
             }
             interface->detach(*next, "", [&](Endpoint& there) { stage.ended(there); });
             next = {};
             interface = {};
           })
      .run();
}

// H4-8. The interface goes away while the BMC still has a request.
void destroy_busy(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  variant.ends_though_busy = profile == "hardened";
  Stage stage(run, variant);
  auto e = Stage::endpoint();
  stage.attach(stage.interface, *e);
  e = {};
  Tasks()
      .add("bmc",
           [&, interface = stage.interface]() mutable {
             Manager::Operation operation;
             {
               rt::LockGuard lock(interface->mutex());
               operation = interface->begin();
             }
             rt::yield();
             {
               rt::LockGuard lock(interface->mutex());
               interface->finish(operation);
             }
             interface = {};
           })
      .add("owner",
           [&, interface = std::move(stage.interface)]() mutable {
             // Who is told "busy" here has nobody to tell it to.
             interface->close("going away", [&](Endpoint& there) { stage.ended(there); });
             interface = {};
           })
      .run();
}

// S4-F. A host's handler takes its own host down, or, against the contract, destroys its own port.
void destroy_in_callback(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  variant.leaves_handlers_alone = profile != "waits-for-handlers";
  Stage stage(run, variant);
  auto e = Stage::endpoint();
  stage.attach(stage.interface, *e);
  // The outermost layer's end of a port, which may wait.
  const auto let_go = [&](Reference<Manager>& interface, Endpoint& mine) {
    interface->host_is_quiet(
        mine, [] {}, [](bool) {});
    interface->detach(mine, "by itself", [&](Endpoint& there) { stage.ended(there); });
  };
  Tasks()
      .add("worker",
           [&, mine = e, interface = stage.interface]() mutable {
             bool calls = false;
             {
               rt::LockGuard lock(interface->mutex());
               calls = interface->enter_handlers(*mine);
             }
             if (calls) {
               run.tell("calls the host's handler");
               if (profile == "port-destroyed-in-handler") {
                 let_go(interface, *mine);
               } else {
                 interface->detach(*mine, "from its handler", [&](Endpoint& there) { stage.ended(there); });
               }
               run.tell("the handler returns");
               rt::LockGuard lock(interface->mutex());
               interface->leave_handlers(*mine);
             }
             mine = {};
             interface = {};
           })
      .add("host",
           [&, mine = std::move(e), interface = stage.interface]() mutable {
             let_go(interface, *mine);
             mine = {};
             interface = {};
           })
      .run();
}

// Everything at once, with an interface that goes away in the middle of it.
void storm(Run& run, std::string_view profile) {
  AttachmentVariant variant;
  if (profile != "hardened") {
    variant.looks_whether_going = false;
    variant.refuses_under_lock = false;
  }
  Stage stage(run, variant);
  unsigned holders = 0;
  uint64_t last = 0;
  const auto host = [&, interface = stage.interface]() mutable {
    for (unsigned round = 0; round < 2; ++round) {
      auto e = Stage::endpoint();
      if (stage.attach(interface, *e) == Answer::kAttached) {
        run.expect(++holders == 1, "two-hosts", "two hosts have been given one interface");
        run.expect(e->id() != 0 && e->id() != last, "ids", "an id was given again");
        last = e->id();
        {
          rt::UniqueLock lock(interface->mutex());
          if (interface->attached() == e.get()) interface->begin();
          if (interface->enter_handlers(*e)) {
            lock.unlock();
            rt::yield();
            lock.lock();
            interface->leave_handlers(*e);
          }
        }
        interface->host_is_quiet(
            *e, [] {}, [](bool) {});
        if (interface->detach(*e, "", [&](Endpoint& there) {
              stage.ended(there);
              --holders;
            }))
          run.tell("leaves");
      }
    }
    interface = {};
  };
  Tasks()
      .add("host a", host)
      .add("host b", host)
      .add("administrator",
           [&, interface = stage.interface]() mutable {
             for (uint64_t id = 1; id <= 2; ++id) {
               interface->detach(id, "by force", [&](Endpoint& there) {
                 stage.ended(there);
                 --holders;
               });
             }
             interface = {};
           })
      .add("owner",
           [&, interface = std::move(stage.interface)]() mutable {
             rt::sleep_for(std::chrono::microseconds(10));
             interface->close("going away", [&](Endpoint& there) {
               stage.ended(there);
               --holders;
             });
             interface = {};
           })
      .run();
}

struct Story {
  const char* name;
  const char* title;
  const char* was;
  std::vector<Expectation> as_it_was;
  void (*body)(Run&, std::string_view profile);
  uint64_t budget;
  int prove_preemptions;
};

}  // namespace

Exhibits end_points() {
  const std::vector<Story> all = {
      {"end-point-leak",
       "an end point is stored into an interface whose destruction saw none",
       "S4-A. \"You assign the CID in the QP after the QP might have initiated destruction, leaking the CEP until the "
       "app "
       "exits.\" Whoever takes the interface away looks, finds nobody, and is through; then the id is stored.",
       {{"stored-after-destroy", "leak", "left when everything is over"}},
       &leak,
       500,
       2},
      {"end-point-double-destroy",
       "the id is read first and the lock taken later",
       "S4-B. al_destroy_cep() read the id before it took the lock. Two that end the same attachment both find it.",
       {{"unlocked-read", "double-destroy", "ended twice"}},
       &double_destroy,
       500,
       2},
      {"end-point-publish-before-reference",
       "the id is published, and the reference taken afterwards",
       "S4-C. \"You must take the reference on the QP for the CID assignment before you assign the CID\": whoever ends "
       "the "
       "attachment in between drops a reference that nobody has taken yet, and so the interface under the one who is "
       "still attaching to it. That others surely hold one is no argument.",
       {{"publish-first", "use-after-free", "that has ended"}},
       &publish_first,
       500,
       2},
      {"end-point-two-accepts",
       "two hosts are accepted at once",
       "S4-D. Nothing checked that the QP was not connected already; or it was asked before the lock was taken.",
       {{"asked-before-the-lock", "two-hosts", "two hosts"}},
       &two_accepts,
       500,
       2},
      {"end-point-destroy-waits",
       "an attachment's end waits for the peer",
       "S4-E. A destruction that waits for a connection that is being established waits for the peer, who may never "
       "answer.",
       {{"waits-for-the-peer", "deadlock", "owner waits"}},
       &destroy_waits,
       500,
       2},
      {"end-point-destroy-busy",
       "an attachment's end is refused while something is in flight",
       "H4-8. \"Unless you allow destruction to fail if the object is in use (but then the recovery logic is heinous "
       "too)\": whoever takes the interface away is told that it is busy, has nobody to pass that on to, and goes.",
       {{"fails-when-busy", "leak", "left when everything is over"}},
       &destroy_busy,
       500,
       2},
      {"end-point-destroy-in-callback",
       "an attachment's end waits for the handler that asks for it",
       "S4-F. \"The blocking should be done in the IOCTL handler, not at the lowest level.\" A destruction that waits "
       "until "
       "no handler runs never returns to the handler that called it. And H4-9: a port that is destroyed by its own "
       "handler, which must not be, is found by the thread's handle.",
       {{"waits-for-handlers", "deadlock", "worker waits"}, {"port-destroyed-in-handler", "invariant", "its own port"}},
       &destroy_in_callback,
       500,
       2},
      {"end-point-storm",
       "two hosts, one who takes them down and an interface that goes away, all at once",
       "S4-A and S4-D together: every rule of the attachment with everybody at it.",
       {{"as-in-2009", "two-hosts", ""}},
       &storm,
       4000,
       -1},
  };
  Exhibits out;
  for (const Story& story : all) {
    FunctionExhibit::Label label;
    label.name = story.name;
    label.title = story.title;
    label.source = kThread;
    label.was = story.was;
    label.expectations = story.as_it_was;
    label.expectations.push_back({"hardened", "", ""});
    label.budget = story.budget;
    label.prove_preemptions = story.prove_preemptions;
    label.world.steps_max = 20'000;
    out.push_back(std::make_unique<FunctionExhibit>(std::move(label), story.body));
  }
  return out;
}

}  // namespace bmcpair::scenarios
