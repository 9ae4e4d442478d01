#include "integration/lab/shrink.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <tuple>

#include "integration/lab/strategy.h"

namespace bmcpair::lab {

namespace {

using Edit = Edited::Edit;
using Edits = std::vector<Edit>;

class Shrinker {
 public:
  Shrinker(const Experiment& experiment, const Token& token, const ShrinkOptions& options)
      : experiment_(experiment), token_(token), options_(options), begun_(std::chrono::steady_clock::now()) {}

  Result<ShrinkResult> shrink() {
    Status same = check();
    if (!same.ok()) return same.error();
    ShrinkResult result;
    result.choices_at_first = best_.size();
    choices_at_first_ = best_.size();
    report();
    zero_sorts();
    bool gained = true;
    while (gained && !over()) {
      gained = cut_tail();
      gained |= zero_ranges();
      gained |= lower_values();
      gained |= cut_ranges();
      gained |= move_to_earlier();
    }
    result.finished = !over();
    result.token = token_;
    result.token.log = best_log_;
    result.token.end_hash = best_outcome_.end_hash;
    result.outcome = best_outcome_;
    result.runs = runs_;
    // What is handed out is what replays.
    Replay again(best_log_);
    again.begin();
    const Outcome outcome = experiment_.run(token_.profile, again, {});
    const std::optional<Divergence> divergence = again.divergence();
    if (divergence || outcome.end_hash != best_outcome_.end_hash || outcome.oracle != token_.oracle) {
      return Error{ErrorCode::kInternal, "the shrunk run does not replay" +
                                             (divergence ? ", " + divergence->sentence : std::string(": another end hash"))};
    }
    return result;
  }

 private:
  // How good a run is, the smaller the better.
  using Measure = std::tuple<size_t, uint64_t, uint64_t, uint64_t>;

  static Measure measure(const Edits& edits, const ChoiceLog& log) {
    uint64_t values = 0, positions = 0;
    for (const Edit& edit : edits) values += edit.value, positions += edit.position;
    return {edits.size(), values, log.choices, positions};
  }

  Status check() {
    if (token_.oracle.empty()) {
      return Error{ErrorCode::kInvalidArgument, "shrink: the token's run violated nothing"};
    }
    Replay first(token_.log);
    first.begin();
    best_outcome_ = experiment_.run(token_.profile, first, {});
    ++runs_;
    const std::optional<Divergence> divergence = first.divergence();
    if (best_outcome_.oracle != token_.oracle) {
      return Error{ErrorCode::kInvalidArgument,
                   "shrink: the token's run violated \"" + token_.oracle + "\", and now " +
                       (best_outcome_.violated() ? "\"" + best_outcome_.oracle + "\"" : std::string("nothing")) +
                       (divergence ? "; " + divergence->sentence : std::string())};
    }
    // Once by position, for the occurrences.
    Edits edits;
    uint64_t position = 0;
    for (const LoggedChoice& entry : first.log().entries) {
      position += entry.gap;
      Edit edit;
      edit.position = position++;
      edit.site = entry.site;
      edit.value = entry.value;
      edit.kind = entry.kind;
      edits.push_back(edit);
    }
    director_.begin(edits, Edited::Anchor::kPosition);
    best_outcome_ = experiment_.run(token_.profile, director_, {});
    ++runs_;
    if (best_outcome_.oracle != token_.oracle) {
      return Error{ErrorCode::kInternal, "shrink: the same choices, given twice, are not the same run"};
    }
    take();
    return {};
  }

  bool over() const {
    if (runs_ >= options_.runs || (options_.stop && options_.stop->load(std::memory_order_relaxed))) return true;
    return options_.seconds > 0 &&
           std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count() >= options_.seconds;
  }

  void take() {
    best_ = director_.done();
    best_log_ = director_.log();
    best_measure_ = measure(best_, best_log_);
  }

  void report() {
    if (options_.on_progress) options_.on_progress({runs_, options_.runs, best_.size(), choices_at_first_});
  }

  bool try_as(const Edits& edits, Edited::Anchor anchor) {
    if (over()) return false;
    director_.begin(edits, anchor);
    Outcome outcome = experiment_.run(token_.profile, director_, {});
    if (++runs_ % 100 == 0) report();
    if (outcome.oracle != token_.oracle) return false;
    if (measure(director_.done(), director_.log()) >= best_measure_) return false;
    best_outcome_ = std::move(outcome);
    take();
    report();
    return true;
  }

  // Leaving something out moves what comes after it: found again at its place, or by who makes it.
  bool attempt(const Edits& edits) {
    return try_as(edits, Edited::Anchor::kPosition) || try_as(edits, Edited::Anchor::kOccurrence);
  }

  bool cut_tail() {
    bool gained = false;
    for (size_t cut = (best_.size() + 1) / 2; cut > 0 && !over();) {
      cut = std::min(cut, best_.size());
      if (cut == 0) break;
      Edits edits(best_.begin(), best_.end() - static_cast<ptrdiff_t>(cut));
      if (try_as(edits, Edited::Anchor::kPosition)) {
        gained = true;
      } else {
        cut /= 2;
      }
    }
    return gained;
  }

  // All of one kind, and all at one site: much of a long log is beside the point.
  void zero_sorts() {
    for (Choice kind : {Choice::kLoad, Choice::kTask, Choice::kData, Choice::kDuration}) {
      zero_where([kind](const Edit& edit) { return edit.kind == kind; });
    }
    std::map<uint32_t, size_t> sites;
    for (const Edit& edit : best_) ++sites[edit.site];
    for (const auto& [site, times] : sites) {
      zero_where([wanted = site](const Edit& edit) { return edit.site == wanted; });
    }
  }

  template <class Predicate>
  void zero_where(Predicate predicate) {
    Edits edits;
    for (const Edit& edit : best_) {
      if (!predicate(edit)) edits.push_back(edit);
    }
    if (edits.size() < best_.size() && !over()) attempt(edits);
  }

  bool zero_ranges() {
    bool gained = false;
    for (size_t length = std::max<size_t>(best_.size() / 2, 1); !over(); length /= 2) {
      for (size_t end = best_.size(); end > 0 && !over();) {
        const size_t from = end > length ? end - length : 0;
        Edits edits = best_;
        edits.erase(edits.begin() + static_cast<ptrdiff_t>(from), edits.begin() + static_cast<ptrdiff_t>(end));
        if (attempt(edits)) gained = true;
        end = std::min(from, best_.size());
      }
      if (length <= 1) break;
    }
    return gained;
  }

  bool lower_values() {
    bool gained = false;
    for (size_t i = 0; i < best_.size() && !over(); ++i) {
      while (i < best_.size() && best_[i].value > 1) {
        const uint32_t value = best_[i].value;
        bool lowered = false;
        uint32_t tried = 0;
        for (uint32_t lower : {1u, value / 2, value - 1}) {
          if (lower == 0 || lower >= value || lower <= tried) continue;
          tried = lower;
          Edits edits = best_;
          edits[i].value = lower;
          edits[i].picked = Edited::kNoTask;
          edits[i].tasks = 0;
          if (attempt(edits)) {
            lowered = true;
            break;
          }
        }
        if (!lowered) break;
        gained = true;
      }
    }
    return gained;
  }

  // Everything from one choice on comes earlier.
  bool cut_ranges() {
    bool gained = false;
    for (size_t i = 0; i < best_.size() && !over(); ++i) {
      for (uint64_t by = gap_before(i); by > 0 && i < best_.size() && !over();) {
        Edits edits = best_;
        for (size_t j = i; j < edits.size(); ++j) edits[j].position -= by;
        if (try_as(edits, Edited::Anchor::kPosition)) {
          gained = true;
          by = i < best_.size() ? std::min(by, gap_before(i)) : 0;
        } else {
          by /= 2;
        }
      }
    }
    return gained;
  }

  // One choice, at an earlier time of the same site.
  bool move_to_earlier() {
    bool gained = false;
    for (size_t i = 0; i < best_.size() && !over(); ++i) {
      for (uint32_t by = best_[i].occurrence; by > 0 && i < best_.size() && !over();) {
        Edits edits = best_;
        edits[i].occurrence -= by;
        if (try_as(edits, Edited::Anchor::kOccurrence)) {
          gained = true;
          by = i < best_.size() ? std::min(by, best_[i].occurrence) : 0;
        } else {
          by /= 2;
        }
      }
    }
    return gained;
  }

  uint64_t gap_before(size_t i) const {
    return best_[i].position - (i == 0 ? 0 : best_[i - 1].position + 1);
  }

  const Experiment& experiment_;
  const Token& token_;
  const ShrinkOptions& options_;
  const std::chrono::steady_clock::time_point begun_;
  Edited director_;
  Edits best_;
  ChoiceLog best_log_;
  Outcome best_outcome_;
  Measure best_measure_{};
  size_t choices_at_first_ = 0;
  uint64_t runs_ = 0;
};

}  // namespace

Result<ShrinkResult> shrink(const Experiment& experiment, const Token& token, const ShrinkOptions& options) {
  return Shrinker(experiment, token, options).shrink();
}

}  // namespace bmcpair::lab
