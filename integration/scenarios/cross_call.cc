// The third discussion (reference H.1): cross-calls whose elements are used again while others walk over them.
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "host_driver/runtime/call_queue.h"
#include "host_driver/runtime/runtime.h"
#include "integration/scenarios/registry.h"

namespace bmcpair::scenarios {
namespace {

using rt::detail::CallQueue;
using rt::detail::CallVariant;
using rt::detail::CpuMask;

constexpr const char* kThread =
    "Re: [PATCH 2/3] generic-ipi: remove kmalloc(), Peter Zijlstra and Paul E. McKenney, linux-kernel, 17-18 Feb 2009";

// Four Cpus with an interrupt line each, which call each other over one queue. Each has one element and one piece of
// memory for what its calls are about, and uses both again for every call, without waiting for the receivers to be through.
class Stage {
 public:
  static constexpr unsigned kCpus = 4;

  Stage(Run& run, const CallVariant& variant) : run_(run), acquires_(variant.acquires), queue_(variant) {
    for (unsigned i = 0; i < kCpus; ++i) cpus_[i].call.stage = this;
    requests_.reserve(16);
  }

  void start(unsigned cpu, std::function<void()> what) {
    cpus_[cpu].thread.start("cpu" + std::to_string(cpu), [this, cpu, what = std::move(what)] {
      cpus_[cpu].task = rt::World::current()->self_id();
      what();
    });
  }
  void join() {
    for (Cpu& cpu : cpus_) {
      if (cpu.thread.joinable()) cpu.thread.join();
    }
    for (const Request& r : requests_) {
      run_.expect(r.finished == r.targets.count(), "call-lost", "a call has not been run by all that it was for");
    }
  }

  // Returns when the targets have been told, as smp_call_function_many() does without `wait`.
  void call(unsigned origin, std::initializer_list<unsigned> targets) {
    Cpu& self = cpus_[origin];
    while (!queue_.try_acquire(self.element)) {
      // A flag that was read as it had been before is looked at again.
      const Instant again = acquires_ ? kNever : rt::now() + std::chrono::minutes(1);
      rt::World::current()->block(&released_, "its element", rt::Here(), again);
    }
    if (self.latest != kNone && requests_[self.latest].finished != requests_[self.latest].targets.count()) {
      run_.fail("double-use", "cpu" + std::to_string(origin) +
                                  " writes its element's payload while others have its last call still to run (H3-1)");
    }
    Request request;
    for (unsigned cpu : targets) request.targets.set(cpu);
    const unsigned number = self.latest = static_cast<unsigned>(requests_.size());
    requests_.push_back(request);
    self.call.request.write() = number;
    if (run_.options.story) run_.tell("posts call " + std::to_string(number) + " to " + text(request.targets));
    queue_.post(self.element, &Stage::enter, &self.call, [&] { return request.targets; });
    for (unsigned cpu : targets) raise(number, cpu);
  }

  // Takes interrupts until the Cpu has run so many calls.
  void serve(unsigned cpu, unsigned calls) {
    Cpu& self = cpus_[cpu];
    while (self.executed < calls) {
      while (!self.raised) rt::World::current()->block(&self.raised, "an interrupt", rt::Here(), kNever);
      interrupt(cpu);
    }
  }

 private:
  static constexpr unsigned kNone = UINT32_MAX;

  struct Call {
    Stage* stage = nullptr;
    rt::Shared<unsigned> request;
  };
  struct Request {
    CpuMask targets;
    unsigned finished = 0;
    std::array<unsigned, kCpus> executed{};
    std::array<bool, kCpus> told{};
  };
  struct Cpu {
    rt::Thread thread;
    rt::TaskId task = 0;
    CallQueue::Element element;
    Call call;
    unsigned latest = kNone;
    rt::Atomic<bool> line{false};
    bool raised = false;
    unsigned executed = 0;
  };

  static std::string text(const CpuMask& mask) {
    std::string out;
    for (unsigned i = 0; i < kCpus; ++i) {
      if (mask.test(i)) out += (out.empty() ? "cpu" : ", cpu") + std::to_string(i);
    }
    return out;
  }

  void raise(unsigned request, unsigned cpu) {
    cpus_[cpu].line.exchange(true, std::memory_order_acq_rel);
    requests_[request].told[cpu] = true;
    cpus_[cpu].raised = true;
    rt::World::current()->wake_all(&cpus_[cpu].raised);
  }

  void interrupt(unsigned cpu) {
    Cpu& self = cpus_[cpu];
    self.line.exchange(false, std::memory_order_acq_rel);
    self.raised = false;
    // H3-5: what this Cpu has been told of by now, it runs before its handler returns.
    std::vector<unsigned> owed;
    for (unsigned i = 0; i < requests_.size(); ++i) {
      if (requests_[i].told[cpu] && requests_[i].executed[cpu] == 0) owed.push_back(i);
    }
    run_.tell("takes its interrupt");
    queue_.receive(cpu);
    run_.tell("has come to the end of the list");
    for (unsigned i : owed) {
      if (requests_[i].executed[cpu] != 0) continue;
      run_.fail("call-lost", "cpu" + std::to_string(cpu) + " took its interrupt with call " + std::to_string(i) +
                                 " on the list, and returned without having run it (H3-5)");
    }
    rt::World::current()->wake_all(&released_);
  }

  static void enter(void* argument) {
    auto& call = *static_cast<Call*>(argument);
    call.stage->execute(call);
  }

  void execute(Call& call) {
    const rt::TaskId task = rt::World::current()->self_id();
    unsigned cpu = 0;
    while (cpus_[cpu].task != task) ++cpu;
    const unsigned number = call.request.read();
    if (run_.options.story) run_.tell("runs call " + std::to_string(number));
    Request& request = requests_[number];
    run_.expect(request.targets.test(cpu), "wrong-target", "a Cpu runs a call that is not for it");
    run_.expect(request.executed[cpu] == 0, "executed-twice", "a Cpu runs the same call again (H3-4)");
    ++request.executed[cpu];
    ++request.finished;
    ++cpus_[cpu].executed;
  }

  Run& run_;
  const bool acquires_;
  CallQueue queue_;
  std::array<Cpu, kCpus> cpus_;
  std::vector<Request> requests_;
  bool released_ = false;  // its address is what is waited on
};

CallVariant tail() {
  CallVariant v;
  v.insertion = CallVariant::Insertion::kTail;
  return v;
}

// S3-A. cpu2 stands on cpu0's element, cpu3's behind it; cpu1 is the last to run the former, and cpu0 uses it again.
void tail_requeue(Run& run, bool hardened) {
  Stage stage(run, hardened ? CallVariant() : tail());
  stage.call(0, {1, 2});
  stage.call(3, {2});
  stage.start(0, [&] { stage.call(0, {1}); });
  stage.start(1, [&] { stage.serve(1, 2); });
  stage.start(2, [&] { stage.serve(2, 2); });
  stage.join();
}

// S3-A as it is told in the thread: everybody is a target, and cpu3 has run the first call before it makes one.
void tail_requeue_full(Run& run, bool hardened) {
  Stage stage(run, hardened ? CallVariant() : tail());
  stage.start(0, [&] {
    stage.call(0, {1, 2, 3});
    stage.call(0, {1, 3});
    stage.serve(0, 1);
  });
  stage.start(1, [&] {
    stage.serve(1, 1);
    stage.call(1, {2});
    stage.serve(1, 3);
  });
  stage.start(2, [&] { stage.serve(2, 2); });
  stage.start(3, [&] {
    stage.serve(3, 1);
    stage.call(3, {0, 1});
    stage.serve(3, 2);
  });
  stage.join();
}

// S3-B. With head insertion cpu2, standing on cpu0's element, meets cpu3's again.
void revisit(Run& run, bool hardened) {
  CallVariant variant;
  variant.clears_own_bit = hardened;
  Stage stage(run, variant);
  stage.call(0, {1});
  stage.call(3, {1, 2});
  stage.start(0, [&] { stage.call(0, {1}); });
  stage.start(1, [&] { stage.serve(1, 3); });
  stage.start(2, [&] { stage.serve(2, 1); });
  stage.join();
}

// S3-C. Queued again twice, another's in between.
void requeue_twice(Run& run, bool hardened) {
  Stage stage(run, hardened ? CallVariant() : tail());
  stage.call(0, {1, 2});
  stage.call(3, {2});
  stage.start(0, [&] {
    stage.call(0, {1});
    stage.call(1, {1});
    stage.call(0, {1});
  });
  stage.start(1, [&] { stage.serve(1, 4); });
  stage.start(2, [&] { stage.serve(2, 2); });
  stage.join();
}

// H3-1, H3-2, H3-3: one who calls as fast as he can, two who answer.
void two_calls(Run& run, const CallVariant& variant) {
  Stage stage(run, variant);
  stage.call(0, {1, 2});
  stage.start(0, [&] { stage.call(0, {1, 2}); });
  stage.start(1, [&] { stage.serve(1, 2); });
  stage.start(2, [&] { stage.serve(2, 2); });
  stage.join();
}

void double_use(Run& run, bool hardened) {
  CallVariant variant;
  variant.heeds_busy = hardened;
  two_calls(run, variant);
}

void no_barrier(Run& run, bool hardened) {
  CallVariant variant;
  variant.acquires = hardened;
  two_calls(run, variant);
}

void no_release(Run& run, bool hardened) {
  CallVariant variant;
  variant.releases = hardened;
  two_calls(run, variant);
}

// cpu2, who stands on cpu0's element since its last life, runs the next one before it is on the list.
void ends_before_it_begins(Run& run, bool hardened) {
  CallVariant variant;
  variant.links_under_lock = hardened;
  Stage stage(run, variant);
  stage.call(0, {1});
  stage.call(3, {2});
  stage.start(0, [&] { stage.call(0, {2}); });
  stage.start(1, [&] { stage.serve(1, 1); });
  stage.start(2, [&] { stage.serve(2, 2); });
  stage.join();
}

struct Story {
  const char* name;
  const char* title;
  const char* was;
  const char* profile;
  const char* oracle;
  const char* says;
  void (*body)(Run&, bool hardened);
  uint64_t budget;
  int prove_preemptions;
  const char* source = kThread;
};

constexpr Story kStories[] = {
    {"cross-call-tail-requeue", "a receiver stands on an element that is queued again, and leaves by its new end",
     "S3-A. Elements entered at the tail. A receiver that stood on one followed its forward pointer; when the element "
     "had been taken off and queued again meanwhile, that pointer led to the end of the list, past others that waited "
     "for this receiver. They waited until somebody called it again.",
     "tail-insertion", "call-lost", "returned without having run it", &tail_requeue, 2000, 2},
    {"cross-call-tail-requeue-full", "the same with all four Cpus, as Paul E. McKenney told it",
     "S3-A with its whole cast: cpu1 comes last, cpu3 has run the first call before it makes one, and cpu0 uses its "
     "element again without cpu2.",
     "tail-insertion", "call-lost", "returned without having run it", &tail_requeue_full, 4000, -1},
    {"cross-call-revisit", "head insertion takes a receiver past elements that it has seen",
     "S3-B. With insertion at the head a receiver may meet an element twice. Peter Zijlstra: harmless, as it has removed "
     "itself from the mask the first time. Here is what that rests on: a receiver that keeps its bit runs twice.",
     "mask-kept", "executed-twice", "runs the same call again", &revisit, 2000, 2},
    {"cross-call-requeue-twice", "removed and queued again twice, with another's element in between",
     "S3-C, beyond the thread: what holds for one life of an element holds for the next but one.", "tail-insertion",
     "call-lost", "returned without having run it", &requeue_twice, 2000, 2},
    {"cross-call-double-use", "an element is used again under its receivers' hands",
     "H3-1. Without the lock that says that an element is in use, its originator writes the next call over the last.",
     "no-csd-lock", "double-use", "writes its element's payload", &double_use, 500, 2},
    {"cross-call-no-barrier", "the element's lock is taken without a barrier",
     "H3-2. \"while (flags & LOCK) cpu_relax(); flags = LOCK\" orders nothing: the next call's payload may be written "
     "before the last one's has been read. Paul E. McKenney asked for the barrier; Peter Zijlstra doubted, and added it.",
     "relaxed-lock", "race", "", &no_barrier, 500, 2},
    {"cross-call-no-release", "the element's lock is let go without a barrier",
     "H3-3. The other half: what the receivers read of a call may be read after the lock has been let go.",
     "relaxed-unlock", "race", "", &no_release, 500, 2},
    {"cross-call-ends-first", "a receiver that stands on an element runs its next life before it is on the list",
     "The payload was written, and the element put on the list afterwards. A receiver that still stood on it found its "
     "bit set, ran it, was the last and took it off the list: before it was on it.",
     "payload-then-list", "invariant", "before it was on the list", &ends_before_it_begins, 8000, 2,
     "call_function_many: fix list delete vs add race, Milton Miller, linux-kernel, March 2011"},
};

}  // namespace

Exhibits cross_calls() {
  Exhibits out;
  for (const Story& story : kStories) {
    FunctionExhibit::Label label;
    label.name = story.name;
    label.title = story.title;
    label.source = story.source;
    label.was = story.was;
    label.expectations = {{story.profile, story.oracle, story.says}, {"hardened", "", ""}};
    label.budget = story.budget;
    label.prove_preemptions = story.prove_preemptions;
    label.world.steps_max = 20'000;
    out.push_back(std::make_unique<FunctionExhibit>(
        std::move(label), [body = story.body](Run& run, std::string_view profile) { body(run, profile == "hardened"); }));
  }
  return out;
}

}  // namespace bmcpair::scenarios
