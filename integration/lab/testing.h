// Experiments small enough that what there is to find in them is known by hand.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "integration/lab/experiment.h"
#include "proto/registers/bt.h"
#include "proto/trace/trace.h"

namespace bmcpair::lab::testing {

// What a toy does with one run: asks, tells, and violates.
class Toy {
 public:
  Toy(std::string_view profile, Director& director, const RunOptions& options)
      : profile_(profile), director_(director), options_(options) {}

  bool hardened() const { return profile_ == "hardened"; }
  std::string_view profile() const { return profile_; }
  uint32_t choose(Choice kind, uint32_t n, std::string_view site, std::span<const TaskId> tasks = {}) {
    const uint32_t value = director_.choose(kind, n, Site(site), tasks);
    mix(value + n);
    return value;
  }
  void mix(uint64_t value) { outcome_.end_hash = (outcome_.end_hash ^ value) * 0x100000001b3u; }
  void step(StoryLine::Side side, std::string who, std::string text) {
    ++outcome_.steps;
    outcome_.virtual_time += std::chrono::microseconds(10);
    if (!options_.story) return;
    const StoryLine line{Instant(outcome_.virtual_time), outcome_.steps, side, std::move(who), std::move(text)};
    if (options_.on_line) options_.on_line(line);
    outcome_.story.push_back(line);
  }
  void violate(std::string oracle, std::string sentence) {
    if (outcome_.violated()) return;
    outcome_.oracle = std::move(oracle);
    outcome_.sentence = std::move(sentence);
  }
  const RunOptions& options() const { return options_; }
  Outcome outcome() && { return std::move(outcome_); }

 private:
  std::string_view profile_;
  Director& director_;
  const RunOptions& options_;
  Outcome outcome_;
};

class ToyExperiment final : public Experiment {
 public:
  ToyExperiment(std::string_view name, std::string_view title, std::vector<std::string_view> profiles,
                std::function<void(Toy&)> body)
      : name_(name), title_(title), profiles_(std::move(profiles)), body_(std::move(body)) {}
  std::string_view name() const override { return name_; }
  std::string_view title() const override { return title_; }
  std::vector<std::string_view> profiles() const override { return profiles_; }
  Outcome run(std::string_view profile, Director& director, const RunOptions& options) const override {
    Toy toy(profile, director, options);
    body_(toy);
    return std::move(toy).outcome();
  }

 private:
  std::string_view name_, title_;
  std::vector<std::string_view> profiles_;
  std::function<void(Toy&)> body_;
};

using Side = StoryLine::Side;

// Tasks of so many steps each, interleaved as the runtime does it: at each step the one that runs may be preempted or stall, and
// where it has ended another must go on. run(task, step).
inline void interleave(Toy& toy, std::vector<unsigned> steps, bool stalls,
                       const std::function<void(TaskId, unsigned)>& run) {
  std::vector<unsigned> done(steps.size(), 0);
  std::optional<TaskId> running;
  for (;;) {
    std::vector<TaskId> ready;
    if (running && done[*running] < steps[*running]) ready.push_back(*running);
    for (TaskId i = 0; i < steps.size(); ++i) {
      if (done[i] < steps[i] && running != i) ready.push_back(i);
    }
    if (ready.empty()) return;
    const bool runs = running && ready[0] == *running;
    const auto tasks = static_cast<uint32_t>(ready.size());
    // A stall gives way to the next one, or to nobody.
    uint32_t picked = 0;
    if (tasks > 1 || (runs && stalls)) {
      picked = toy.choose(Choice::kTask, tasks + (runs ? (stalls ? rt::kStalls : 1) : 0), "toy.step", ready);
    }
    const TaskId next = picked < tasks ? ready[picked] : ready[tasks > 1 ? 1 : 0];
    running = next;
    run(next, done[next]);
    ++done[next];
  }
}

// Two tasks read, add one, write. hardened: in one step.
inline const ToyExperiment& lost_update() {
  static const ToyExperiment toy("lost-update", "two tasks add one to a number", {"racy", "hardened"}, [](Toy& t) {
    int number = 0;
    std::array<int, 2> read{};
    interleave(t, {2, 2}, false, [&](TaskId task, unsigned step) {
      const Side side = task == 0 ? Side::kHost : Side::kBmc;
      if (step == 0) {
        read[task] = number;
        if (t.hardened()) number = read[task] + 1;
        t.step(side, "task", "reads " + std::to_string(read[task]));
      } else {
        if (!t.hardened()) number = read[task] + 1;
        t.step(side, "task", "writes " + std::to_string(read[task] + 1));
      }
    });
    if (number != 2) t.violate("lost-update", "two additions of one made " + std::to_string(number));
  });
  return toy;
}

// The fourth of 20 answers is as late as can be.
inline const ToyExperiment& late_answer() {
  static const ToyExperiment toy("late-answer", "an answer comes after its timeout", {"impatient", "hardened"}, [](Toy& t) {
    for (unsigned i = 0; i < 20; ++i) {
      const uint32_t latency = t.choose(Choice::kDuration, 8, "toy.latency");
      t.step(Side::kBmc, "bmc", "answers after " + std::to_string(latency));
      if (i == 3 && latency == 7 && !t.hardened()) t.violate("exactly-once", "answer 3 came for request 4");
    }
  });
  return toy;
}

// The newest flag with the oldest data.
inline const ToyExperiment& old_load() {
  static const ToyExperiment toy("old-load", "the number is published before the contents", {"relaxed", "hardened"}, [](Toy& t) {
    for (unsigned i = 0; i < 8; ++i) {
      const uint32_t flag = t.choose(Choice::kLoad, 2, "toy.flag");
      const uint32_t data = t.hardened() ? 0 : t.choose(Choice::kLoad, 4, "toy.data");
      t.step(Side::kHost, "reader", "flag " + std::to_string(flag) + ", data " + std::to_string(data));
      if (i >= 2 && flag == 0 && data == 3) t.violate("half-made", "a reader saw the number without the contents");
    }
  });
  return toy;
}

// The first task, once begun, makes no step for 20 steps of the two others.
inline const ToyExperiment& starved() {
  static const ToyExperiment toy("starved", "a task that is late ends a wait without a deadline", {"naive", "hardened"}, [](Toy& t) {
    constexpr unsigned kSteps = 4;
    bool waits = false;
    unsigned waited = 0, worst = 0;
    interleave(t, {kSteps, 12, 12}, true, [&](TaskId task, unsigned step) {
      if (task == 0) {
        waits = step + 1 < kSteps;
        waited = 0;
      } else if (waits) {
        worst = std::max(worst, ++waited);
      }
      t.step(Side::kHost, "task " + std::to_string(task), "steps");
    });
    if (worst >= 20 && !t.hardened()) t.violate("liveness", "task 0 waited for " + std::to_string(worst) + " steps");
  });
  return toy;
}

// Of 100 choices two matter: the 11th must be 2, the 51st anything but 0.
inline const ToyExperiment& needle() {
  static const ToyExperiment toy("needle", "two choices of a hundred", {"hay", "hardened"}, [](Toy& t) {
    unsigned matter = 0;
    for (unsigned i = 0; i < 100; ++i) {
      const uint32_t value = t.choose(Choice::kData, 4, "toy.data");
      t.step(Side::kBoth, "both", "choice " + std::to_string(i) + " is " + std::to_string(value));
      if ((i == 10 && value == 2) || (i == 50 && value != 0)) ++matter;
    }
    if (matter == 2 && !t.hardened()) t.violate("needle", "both were pricked");
  });
  return toy;
}

// A choice that makes others: what is left out moves the rest.
inline const ToyExperiment& moving() {
  static const ToyExperiment toy("moving", "a retry in front of the one that matters", {"naive", "hardened"}, [](Toy& t) {
    for (unsigned i = 0; i < 10; ++i) {
      const uint32_t retries = t.choose(Choice::kData, 4, "toy.retries");
      for (uint32_t j = 0; j < retries; ++j) {
        t.choose(Choice::kDuration, 3, "toy.retry");
        t.step(Side::kHost, "host", "tries again");
      }
    }
    if (t.choose(Choice::kData, 5, "toy.last") == 3 && !t.hardened()) t.violate("moved", "the last one was 3");
  });
  return toy;
}

// Profiles that are not the same run: the older one makes a choice less.
inline const ToyExperiment& changed() {
  static const ToyExperiment toy("changed", "the same experiment, after a change of the driver", {"before", "after", "renamed"}, [](Toy& t) {
    t.step(Side::kHost, "host", "begins");
    t.choose(Choice::kData, 2, "toy.first");
    if (t.profile() == "after") t.choose(Choice::kData, 2, "toy.new");
    t.step(Side::kHost, "host", "goes on");
    for (unsigned i = 0; i < 4; ++i) t.choose(Choice::kData, 3, t.profile() == "renamed" ? "toy.other" : "toy.same");
    t.step(Side::kHost, "host", "ends");
  });
  return toy;
}

// Not the same twice.
inline const ToyExperiment& moody() {
  static std::atomic<uint64_t> mood{0};
  static const ToyExperiment toy("moody", "depends on what nobody chose", {"moody", "hardened"}, [](Toy& t) {
    t.choose(Choice::kData, 2, "toy.data");
    if (!t.hardened()) t.mix(mood.fetch_add(1));
    t.step(Side::kHost, "host", "is moody");
  });
  return toy;
}

// With registers, for the pictures.
inline const ToyExperiment& recorded() {
  static const ToyExperiment toy("recorded", "one access and one message", {"as-it-was", "hardened"}, [](Toy& t) {
    t.choose(Choice::kData, 2, "toy.data");
    if (trace::Recorder* recorder = t.options().recorder) {
      const trace::InterfaceId id = recorder->add_interface("toy/bt", registers::InterfaceKind::kBt);
      const Instant at(std::chrono::microseconds(5));
      recorder->add({at, id, "", trace::Access{trace::Side::kHost, true, 0, 4, uint8_t{4}, false, 0}});
      recorder->add({at, id, "", trace::Message{trace::Message::Direction::kToBmc, {0x18, 0x01}, Duration(0)}});
    }
    t.step(Side::kHost, "host", "writes H2B_ATN");
    if (!t.hardened()) t.violate("always", "it always happens");
  });
  return toy;
}

inline const std::vector<const Experiment*>& toys() {
  static const std::vector<const Experiment*> all = {&lost_update(), &late_answer(), &old_load(), &starved(), &needle(),
                                                     &moving(),      &changed(),     &moody(),    &recorded()};
  return all;
}

inline const Experiment* toy_named(std::string_view name) {
  for (const Experiment* toy : toys()) {
    if (toy->name() == name) return toy;
  }
  return nullptr;
}

// The run of a log whose choices are `values`, one after the other, then 0.
class Fixed final : public Director {
 public:
  explicit Fixed(std::vector<uint32_t> values) : values_(std::move(values)) {}
  uint32_t choose(Choice, uint32_t, const Site&, std::span<const TaskId>) override {
    return at_ < values_.size() ? values_[at_++] : 0;
  }

 private:
  std::vector<uint32_t> values_;
  size_t at_ = 0;
};

}  // namespace bmcpair::lab::testing
