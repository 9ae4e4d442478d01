#include "integration/lab/story.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace bmcpair::lab {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kReset = "\x1b[0m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kDim = "\x1b[2m";
constexpr std::string_view kUnusual = "\x1b[33m";
constexpr std::string_view kViolation = "\x1b[1;31m";

std::string painted(std::string_view text, std::string_view color, const Style& style) {
  if (!style.color) return std::string(text);
  return std::string(color) + std::string(text) + std::string(kReset);
}

std::string_view to_string(StoryLine::Side side) {
  switch (side) {
    case StoryLine::Side::kHost: return "host";
    case StoryLine::Side::kBmc: return "bmc";
    case StoryLine::Side::kBoth: return "both";
  }
  return "?";
}

// Bytes that are not UTF-8 text of their own would confuse terminals and JSON alike.
std::string printable(std::string_view text) {
  std::string out;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      out += escaped;
    }
  }
  return out;
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

// Into lines of at most `width`, at blanks where there are some. At least one line.
std::vector<std::string> wrapped(std::string_view text, size_t width) {
  std::vector<std::string> lines;
  while (text.size() > width) {
    size_t cut = text.rfind(' ', width);
    if (cut == std::string_view::npos || cut == 0) cut = width;
    lines.emplace_back(text.substr(0, cut));
    text.remove_prefix(cut);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  }
  lines.emplace_back(text);
  return lines;
}

std::string us_text(Instant at) {
  const int64_t ns = at.time_since_epoch().count();
  char text[40];
  std::snprintf(text, sizeof text, "%lld.%03lld", static_cast<long long>(ns / 1000), static_cast<long long>(ns % 1000));
  return text;
}

constexpr size_t kShownWhole = 100, kShownFirst = 6, kShownLast = 40, kShownAround = 5;

// Of very many choices, the first and the last.
constexpr size_t kDecisionsWhole = 80, kDecisionsAtEachEnd = 30;
bool is_shown(size_t decision, size_t count, bool full) {
  return full || count <= kDecisionsWhole || decision < kDecisionsAtEachEnd || decision + kDecisionsAtEachEnd >= count;
}

// Which lines are shown.
std::vector<bool> shown_lines(size_t count, std::span<const Replay::Decision> decisions, bool full) {
  std::vector<bool> shown(count, full || count <= kShownWhole);
  if (full || count <= kShownWhole) return shown;
  const auto show = [&](size_t from, size_t to) {
    for (size_t i = from; i < std::min(to, count); ++i) shown[i] = true;
  };
  show(0, kShownFirst);
  show(count - kShownLast, count);
  for (size_t i = 0; i < decisions.size(); ++i) {
    const size_t line = decisions[i].line;
    if (is_shown(i, decisions.size(), full)) show(line > kShownAround ? line - kShownAround : 0, line + kShownAround);
  }
  return shown;
}

}  // namespace

std::string time_text(Duration time) {
  const int64_t ns = time.count();
  char text[40];
  if (ns < 1000) {
    std::snprintf(text, sizeof text, "%lld ns", static_cast<long long>(ns));
  } else if (ns < 1000000) {
    std::snprintf(text, sizeof text, "%.3f us", static_cast<double>(ns) / 1e3);
  } else if (ns < 1000000000) {
    std::snprintf(text, sizeof text, "%.3f ms", static_cast<double>(ns) / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.3f s", static_cast<double>(ns) / 1e9);
  }
  return text;
}

std::string hash_text(uint64_t hash) {
  char text[24];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::string decision_text(const Replay::Decision& decision) {
  // As World::stall_until has them.
  static constexpr std::array<std::string_view, rt::kStalls> kStallTexts = {
      "for 50 us", "for 1 ms", "for 20 ms", "for 300 ms", "for 3 s", "for 30 s", "until just after the nearest deadline"};
  const std::string at = ", at " + printable(decision.site);
  const std::string of = std::to_string(decision.value) + " of 0.." + std::to_string(decision.n - 1);
  switch (decision.kind) {
    case Choice::kTask: {
      if (!decision.task) return "who goes on: choice " + of + at;
      const std::string task = "task " + std::to_string(*decision.task);
      if (decision.value < decision.tasks) {
        return task + " goes on" +
               (decision.instead_of ? " instead of task " + std::to_string(*decision.instead_of) : std::string()) + at;
      }
      const uint32_t stall = decision.value - decision.tasks;
      return task + " stalls " +
             (stall < kStallTexts.size() ? std::string(kStallTexts[stall]) : "for stall " + std::to_string(stall)) + at;
    }
    case Choice::kDuration: return "takes unusually long or short: choice " + of + at;
    case Choice::kLoad:
      return "the load reads a store " + std::to_string(decision.value) + " older than the newest" + at;
    case Choice::kData: return "choice " + of + at;
  }
  return "?";
}

void print_trace(std::ostream& out, const std::vector<StoryLine>& story, std::span<const Replay::Decision> decisions,
                 const Style& style) {
  size_t who_width = 4;
  for (const StoryLine& line : story) who_width = std::max(who_width, std::min<size_t>(line.who.size(), 24));
  size_t next = 0;
  const auto decisions_until = [&](size_t line) {
    for (; next < decisions.size() && decisions[next].line <= line; ++next) {
      out << painted("* choice " + std::to_string(decisions[next].choice) + ": " + decision_text(decisions[next]), kUnusual, style)
          << '\n';
    }
  };
  for (size_t i = 0; i < story.size(); ++i) {
    decisions_until(i);
    const StoryLine& line = story[i];
    char head[64];
    std::snprintf(head, sizeof head, "%6llu %14s %-4s ", static_cast<unsigned long long>(line.step), us_text(line.at).c_str(),
                  std::string(to_string(line.side)).c_str());
    out << head << padded(printable(line.who), who_width) << ' ' << printable(line.text) << '\n';
  }
  decisions_until(SIZE_MAX);
}

void print_story(std::ostream& out, const ReplayResult& run, const Style& style) {
  const std::vector<StoryLine>& story = run.outcome.story;
  const size_t width = std::max(style.width, kWidthMin);
  constexpr size_t kHead = 7 + 15;  // step, time
  const size_t column = (width - kHead - 3) / 2;
  const std::string rule =
      std::string(kHead, '-') + std::string(column, '-') + "-+-" + std::string(column, '-');
  out << painted(padded("  step", 7) + padded("      time us", 15) + padded("host", column) + " | " + "BMC", kBold, style) << '\n'
      << rule << '\n';
  const std::vector<bool> shown = shown_lines(story.size(), run.decisions, style.full);
  size_t next = 0;
  const auto decisions_until = [&](size_t line) {
    for (; next < run.decisions.size() && run.decisions[next].line <= line; ++next) {
      if (!is_shown(next, run.decisions.size(), style.full)) {
        if (next == kDecisionsAtEachEnd) {
          out << painted("* ... " + std::to_string(run.decisions.size() - 2 * kDecisionsAtEachEnd) + " more unusual choices ...",
                         kUnusual, style)
              << '\n';
        }
        continue;
      }
      for (const std::string& text : wrapped("* " + decision_text(run.decisions[next]), width)) {
        out << painted(text, kUnusual, style) << '\n';
      }
    }
  };
  std::array<std::string, 3> last_who;  // by side: told when it is another
  size_t left_out = 0;
  const auto left_out_line = [&] {
    if (left_out == 0) return;
    out << painted(std::string(kHead, ' ') + "... " + std::to_string(left_out) + " steps ...", kDim, style) << '\n';
    left_out = 0;
  };
  for (size_t i = 0; i < story.size(); ++i) {
    if (!shown[i]) {
      ++left_out;
      continue;
    }
    left_out_line();
    decisions_until(i);
    const StoryLine& line = story[i];
    char head[64];
    std::snprintf(head, sizeof head, "%6llu %13s  ", static_cast<unsigned long long>(line.step), us_text(line.at).c_str());
    // A host that polls says the same again and again.
    size_t times = 1;
    while (i + 1 < story.size() && shown[i + 1] && story[i + 1].text == line.text && story[i + 1].who == line.who &&
           story[i + 1].side == line.side && (next >= run.decisions.size() || run.decisions[next].line > i + 1)) {
      ++times;
      ++i;
    }
    std::string& last = last_who[static_cast<size_t>(line.side)];
    std::string text = printable(line.who.empty() || line.who == last ? line.text : line.who + ": " + line.text);
    if (times > 1) text += " (" + std::to_string(times) + " times)";
    last = line.who;
    const bool both = line.side == StoryLine::Side::kBoth;
    bool first = true;
    for (const std::string& part : wrapped(text, both ? width - kHead : column)) {
      out << (first ? std::string(head) : std::string(kHead, ' '));
      first = false;
      if (both) {
        out << part;
      } else if (line.side == StoryLine::Side::kHost) {
        out << padded(part, column) << " |";
      } else {
        out << std::string(column, ' ') << " | " << part;
      }
      out << '\n';
    }
  }
  left_out_line();
  decisions_until(SIZE_MAX);
  out << rule << '\n';
  if (run.outcome.violated()) {
    out << painted("violated: " + printable(run.outcome.oracle), kViolation, style) << '\n';
    for (const std::string& text : wrapped(printable(run.outcome.sentence), width - 2)) out << "  " << text << '\n';
  } else {
    out << "nothing is violated\n";
  }
}

Json to_json(const StoryLine& line) {
  return Json{{"step", line.step},
              {"time_ns", line.at.time_since_epoch().count()},
              {"side", to_string(line.side)},
              {"who", printable(line.who)},
              {"text", printable(line.text)}};
}

Json to_json(const Replay::Decision& decision) {
  Json json{{"choice", decision.choice},
            {"kind", to_string(decision.kind)},
            {"site", printable(decision.site)},
            {"value", decision.value},
            {"of", decision.n},
            {"before_line", decision.line},
            {"text", decision_text(decision)}};
  if (decision.task) json["task"] = *decision.task;
  if (decision.instead_of) json["instead_of"] = *decision.instead_of;
  return json;
}

Json to_json(const Outcome& outcome) {
  return Json{{"violated", outcome.violated()},
              {"oracle", printable(outcome.oracle)},
              {"sentence", printable(outcome.sentence)},
              {"steps", outcome.steps},
              {"bring_ups", outcome.bring_ups},
              {"virtual_time_ns", outcome.virtual_time.count()},
              {"end_hash", hash_text(outcome.end_hash)}};
}

}  // namespace bmcpair::lab
