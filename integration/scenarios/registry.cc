#include "integration/scenarios/registry.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace bmcpair::scenarios {

const std::vector<const Exhibit*>& exhibits() {
  static const std::vector<const Exhibit*>& all = *[] {
    static Exhibits owned = stories();
    auto add = [&](Exhibits more) {
      for (auto& e : more) owned.push_back(std::move(e));
    };
    add(interface_list());
    add(cross_calls());
    add(end_points());
    add(machines());
    auto* out = new std::vector<const Exhibit*>;
    for (const auto& e : owned) out->push_back(e.get());
    std::sort(out->begin(), out->end(), [](const Exhibit* a, const Exhibit* b) { return a->name() < b->name(); });
    for (size_t i = 1; i < out->size(); ++i) {
      if ((*out)[i - 1]->name() != (*out)[i]->name()) continue;
      std::fprintf(stderr, "bmcpair: two experiments are named %s\n", std::string((*out)[i]->name()).c_str());
      std::abort();
    }
    return out;
  }();
  return all;
}

}  // namespace bmcpair::scenarios

namespace bmcpair::lab {

const std::vector<const Experiment*>& experiments() {
  static const std::vector<const Experiment*> all(scenarios::exhibits().begin(), scenarios::exhibits().end());
  return all;
}

const Experiment* find_experiment(std::string_view name) {
  for (const Experiment* e : experiments()) {
    if (e->name() == name) return e;
  }
  return nullptr;
}

}  // namespace bmcpair::lab
