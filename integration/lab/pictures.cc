#include "integration/lab/pictures.h"

#include <fstream>

#include "integration/lab/story.h"

namespace bmcpair::lab {

namespace {

trace::Side side_of(StoryLine::Side side) {
  switch (side) {
    case StoryLine::Side::kHost: return trace::Side::kHost;
    case StoryLine::Side::kBmc: return trace::Side::kBmc;
    case StoryLine::Side::kBoth: return trace::Side::kBoth;
  }
  return trace::Side::kBoth;
}

trace::Event text_event(Instant at, std::string who, trace::Text::Kind kind, trace::Side side, std::string text) {
  return {at, trace::kNoInterface, std::move(who), trace::Text{kind, side, std::move(text), 0}};
}

Status write_file(const std::string& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) return Error{ErrorCode::kIo, path + ": cannot be written"};
  return {};
}

}  // namespace

trace::Trace trace_of(const ReplayResult& run, std::string title) {
  trace::Trace trace = run.recorded;
  trace.title = std::move(title);
  const std::vector<StoryLine>& story = run.outcome.story;
  size_t next = 0;
  Instant now{};
  const auto decisions_until = [&](size_t line) {
    for (; next < run.decisions.size() && run.decisions[next].line <= line; ++next) {
      trace.events.push_back(text_event(now, "", trace::Text::Kind::kNote, trace::Side::kBoth, decision_text(run.decisions[next])));
    }
  };
  for (size_t i = 0; i < story.size(); ++i) {
    decisions_until(i);
    now = story[i].at;
    trace.events.push_back(text_event(now, story[i].who, trace::Text::Kind::kStep, side_of(story[i].side), story[i].text));
  }
  decisions_until(SIZE_MAX);
  if (run.outcome.violated()) {
    const Instant end = std::max(now, Instant(run.outcome.virtual_time));
    trace.events.push_back(text_event(end, "", trace::Text::Kind::kError, trace::Side::kBoth,
                                      run.outcome.oracle + ": " + run.outcome.sentence));
  }
  return trace;
}

Status draw(const ReplayResult& run, const std::string& title, const trace::Outputs& outputs) {
  if (!outputs.any()) return {};
  return trace::write_outputs(trace_of(run, title), outputs, write_file);
}

}  // namespace bmcpair::lab
