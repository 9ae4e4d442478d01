// What makes experiments. A file of them has one function here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "integration/lab/world.h"

namespace bmcpair::scenarios {

using lab::Director;
using lab::Experiment;
using lab::Outcome;
using lab::Run;
using lab::RunOptions;

// One profile of an experiment, and what a search under it finds.
struct Expectation {
  std::string profile;
  std::string oracle;  // that is violated; empty: it survives
  std::string says;    // part of its sentence; may be empty
};

// What the museum says of an experiment, and its test asks of it.
class Exhibit : public Experiment {
 public:
  virtual std::string_view source() const = 0;  // the public report
  virtual std::string_view was() const = 0;     // what it was
  virtual const std::vector<Expectation>& expectations() const = 0;  // of each profile
  virtual uint64_t budget() const = 0;          // runs within which the old profile fails; hardened gets ten times as many
  // Preemptions up to which hardened is proved exhaustively in the suite; negative: it is too large for that.
  virtual int prove_preemptions() const { return -1; }

  std::vector<std::string_view> profiles() const final {
    std::vector<std::string_view> out;
    for (const Expectation& e : expectations()) out.push_back(e.profile);
    return out;
  }
};

// An exhibit written in C++.
struct FunctionExhibit final : Exhibit {
  using Body = std::function<void(Run&, std::string_view profile)>;
  struct Label {
    std::string name, title, source, was;
    std::vector<Expectation> expectations;
    uint64_t budget = 1000;
    int prove_preemptions = -1;
    rt::WorldOptions world = {};
  };
  FunctionExhibit(Label label_, Body body_) : label(std::move(label_)), body(std::move(body_)) {}
  std::string_view name() const override { return label.name; }
  std::string_view title() const override { return label.title; }
  std::string_view source() const override { return label.source; }
  std::string_view was() const override { return label.was; }
  const std::vector<Expectation>& expectations() const override { return label.expectations; }
  uint64_t budget() const override { return label.budget; }
  int prove_preemptions() const override { return label.prove_preemptions; }
  Outcome run(std::string_view profile, Director& director, const RunOptions& options) const override {
    return lab::run_world(director, options, label.world, [&](Run& run) { body(run, profile); });
  }
  const Label label;
  const Body body;
};

using Exhibits = std::vector<std::unique_ptr<Exhibit>>;

// All, by name.
const std::vector<const Exhibit*>& exhibits();

Exhibits stories();         // of stories/*.yaml
Exhibits interface_list();  // discussion 0
Exhibits cross_calls();  // cross_call.cc
Exhibits end_points();   // end_points.cc
Exhibits machines();     // machines.cc

}  // namespace bmcpair::scenarios
