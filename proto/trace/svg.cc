#include "proto/trace/svg.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "proto/ipmi/message.h"
#include "proto/trace/names.h"
#include "proto/trace/text.h"
#include "proto/trace/timeline.h"

namespace bmcpair::trace {
namespace {

// Pixels; a character of the monospaced face is 7.2 wide at this size.
constexpr int kWidth = 1360;
constexpr int kTimeX = 124;  // right edge
constexpr int kHostX = 470;
constexpr int kBmcX = 890;
constexpr int kGap = 12;
constexpr int kLineHeight = 15;
constexpr int kRowGap = 8;
constexpr int kHeadHeight = 96;
constexpr size_t kHostChars = 45;
constexpr size_t kBmcChars = 62;
constexpr size_t kMiddleChars = 55;
constexpr size_t kLinesMax = 6;
constexpr size_t kBytesShown = 16;
constexpr size_t kTextBytesMax = 8192;

constexpr std::string_view kHostColour = "#1f5fa8";
constexpr std::string_view kBmcColour = "#8a4b08";
constexpr std::string_view kFaultColour = "#c00000";
constexpr std::string_view kQuietColour = "#666666";
constexpr std::string_view kTextColour = "#222222";

struct Row {
  enum class Arrow : uint8_t { kNone, kToBmc, kToHost, kBmcSelf };
  uint64_t ns = 0;
  Arrow arrow = Arrow::kNone;
  bool bold = false;
  bool dashed = false;
  bool fault = false;  // a mark on its side
  Side side = Side::kHost;
  std::string_view colour = kTextColour;
  std::string left, middle, right;
};

std::string time_text(uint64_t ns) {
  auto fixed = [](uint64_t value, uint64_t unit, size_t digits, std::string_view name) {
    std::string fraction = std::to_string(value % unit);
    fraction.insert(0, digits - fraction.size(), '0');
    return std::to_string(value / unit) + "." + fraction + " " + std::string(name);
  };
  if (ns < 1'000'000'000) return fixed(ns, 1000, 3, "us");
  if (ns < 1'000'000'000'000'000) return fixed(ns / 1000, 1'000'000, 6, "s");
  return fixed(ns / 1'000'000, 1000, 3, "s");
}

// Lines of at most so many characters, broken at blanks where there are any; the last one says that there was more.
std::vector<std::string> wrapped(const std::string& text, size_t width) {
  std::vector<std::string> lines;
  std::string rest = clean_utf8(std::string_view(text).substr(0, kTextBytesMax));
  while (characters_of(rest) > width && lines.size() + 1 < kLinesMax) {
    std::string head = shortened(rest, width + 1);
    head.resize(head.size() - std::string_view("\u2026").size());  // what fits
    size_t cut = head.rfind(' ');
    if (cut == std::string::npos || cut < head.size() / 2) cut = head.size();
    lines.push_back(rest.substr(0, cut));
    rest.erase(0, rest[cut] == ' ' ? cut + 1 : cut);
  }
  if (!rest.empty() || lines.empty()) lines.push_back(shortened(rest, width));
  return lines;
}

std::string bytes_text(ByteView bytes) {
  if (bytes.size() <= kBytesShown) return to_hex(bytes);
  return to_hex(bytes.first(kBytesShown)) + " \u2026 (" + std::to_string(bytes.size()) + " bytes)";
}

// Events become rows; equal ones in a row become one.
class Rows {
 public:
  Rows(const Trace& trace, size_t rows_max) : trace_(trace), rows_max_(std::max<size_t>(rows_max, 1)), last_(trace.interfaces.size()) {
    std::vector<bool> used(trace.interfaces.size());
    for (const Event& e : trace.events) {
      if (e.interface < used.size()) used[e.interface] = true;
    }
    several_ = std::count(used.begin(), used.end(), true) > 1;
  }

  void add(const TimedEvent& timed) {
    event_ = timed.event;
    ns_ = timed.ns;
    std::visit([&](const auto& what) { one(what); }, timed.event->what);
  }
  void finish() { flush(); }
  const std::deque<Row>& rows() const { return rows_; }
  uint64_t left_out() const { return left_out_; }

 private:
  struct Last {
    std::optional<uint8_t> flags;
    std::optional<bool> interrupt;
  };
  // Accesses that go on being the same one.
  struct Run {
    const Event* first = nullptr;
    uint64_t ns = 0;
    size_t count = 0;
    Bytes bytes;  // of a FIFO
    size_t bytes_in_all = 0;
    std::optional<uint8_t> flags_before;
    const Event* last = nullptr;
  };

  std::string prefix() const {
    const InterfaceInfo* interface = interface_of(trace_, *event_);
    if (!several_ || !interface) return "";
    const std::string name = interface->name.substr(interface->name.rfind('/') + 1);
    return name.empty() ? "" : name + ": ";
  }
  void push(Row row) {
    if (rows_.size() >= rows_max_) {
      rows_.pop_front();
      ++left_out_;
    }
    rows_.push_back(std::move(row));
  }
  void who(Row& row) {
    if (event_->who == who_) return;
    who_ = event_->who;
    if (row.left.empty()) row.left = who_;
  }

  static bool same(const Event& a, const Event& b, registers::InterfaceKind kind) {
    const auto& x = std::get<Access>(a.what);
    const auto& y = std::get<Access>(b.what);
    if (a.interface != b.interface || a.who != b.who || x.face != y.face || x.is_write != y.is_write || x.offset != y.offset ||
        x.fault != y.fault || x.interrupt_after != y.interrupt_after || x.flags_after != y.flags_after) {
      return false;
    }
    return is_buffer(kind, x.offset) || x.value == y.value;
  }

  void one(const Access& access) {
    const InterfaceInfo* interface = interface_of(trace_, *event_);
    if (!interface) return;
    if (run_.first && same(*run_.first, *event_, interface->kind)) {
      ++run_.count;
    } else {
      flush();
      run_ = {event_, ns_, 1, {}, 0, last_[event_->interface].flags, event_};
    }
    run_.last = event_;
    if (run_.bytes.size() <= kBytesShown) run_.bytes.push_back(access.value);
    ++run_.bytes_in_all;
    if (access.flags_after) last_[event_->interface].flags = access.flags_after;
    if (access.interrupt_after) {
      // The row of the access that moved the line comes first.
      const bool moved = last_[event_->interface].interrupt != access.interrupt_after &&
                         (last_[event_->interface].interrupt || *access.interrupt_after);
      if (moved) interrupt(*access.interrupt_after);
      last_[event_->interface].interrupt = access.interrupt_after;
    }
  }
  void one(const InterruptLine& line) {
    if (!interface_of(trace_, *event_)) return;
    auto& before = last_[event_->interface].interrupt;
    if (before == line.level || (!before && !line.level)) {
      before = line.level;
      return;
    }
    before = line.level;
    interrupt(line.level);
  }
  void interrupt(bool level) {
    flush();
    Row row;
    row.ns = ns_;
    row.colour = kQuietColour;
    row.middle = prefix() + (level ? "interrupt rises" : "interrupt falls");
    row.arrow = level ? Row::Arrow::kToHost : Row::Arrow::kNone;
    row.dashed = true;
    push(std::move(row));
  }

  void flush() {
    if (!run_.first) return;
    Run run = std::move(run_);
    run_ = {};
    const Event* now = event_;
    event_ = run.first;
    const registers::InterfaceKind kind = interface_of(trace_, *run.first)->kind;
    const auto& access = std::get<Access>(run.first->what);
    const bool host = access.face == Side::kHost;
    Row row;
    row.ns = run.ns;
    row.side = access.face;
    row.colour = access.fault != 0 ? kFaultColour : host ? kHostColour : kBmcColour;
    row.fault = access.fault != 0;
    row.arrow = !host ? Row::Arrow::kBmcSelf : access.is_write ? Row::Arrow::kToBmc : Row::Arrow::kToHost;
    row.dashed = host && !access.is_write;
    std::string text = prefix() + (access.is_write ? "W " : "R ") + register_name(kind, access) + " ";
    if (is_buffer(kind, access.offset)) {
      const size_t shown = std::min(run.bytes.size(), kBytesShown);
      text += to_hex(ByteView(run.bytes).first(shown));
      if (run.bytes_in_all > shown) text += " \u2026";
      if (run.bytes_in_all > 1) text += " (" + std::to_string(run.bytes_in_all) + " bytes)";
    } else {
      text += to_hex(ByteView(&access.value, 1));
      if (const std::string means = value_text(kind, access); !means.empty()) text += " " + means;
      if (run.count > 1) text += " \u00d7" + std::to_string(run.count);
    }
    if (access.fault != 0) text += " (fault " + std::to_string(access.fault) + ")";
    std::string flags;
    // What a read of the flags says is what they are.
    const bool told = host && !access.is_write && access.offset == flags_offset(kind) && access.flags_after == access.value;
    if (access.flags_after && access.flags_after != run.flags_before && !told) flags = "[" + flags_text(kind, *access.flags_after) + "]";
    if (host) {
      row.middle = std::move(text);
      row.right = std::move(flags);
    } else {
      row.right = text + (flags.empty() ? "" : "  " + flags);
    }
    who(row);
    push(std::move(row));
    event_ = now;
  }

  void one(const Message& message) {
    flush();
    const bool to_bmc = message.direction == Message::Direction::kToBmc;
    Row row;
    row.ns = ns_;
    row.bold = true;
    row.arrow = to_bmc ? Row::Arrow::kToBmc : Row::Arrow::kToHost;
    row.colour = to_bmc ? kHostColour : kBmcColour;
    row.middle = prefix() + message_name(message);
    if (!to_bmc && message.bytes.size() > 2 && message.bytes[2] != 0) {
      row.colour = kFaultColour;
      row.middle += " (" + std::string(ipmi::to_string(static_cast<ipmi::CompletionCode>(message.bytes[2]))) + ")";
    }
    row.middle += ": " + bytes_text(message.bytes);
    if (message.took > Duration::zero()) row.right = "after " + time_text(static_cast<uint64_t>(message.took.count()));
    who(row);
    push(std::move(row));
  }
  void one(const Text& text) {
    flush();
    Row row;
    row.ns = ns_;
    row.side = text.side;
    std::string words = prefix() + (event_->who.empty() ? "" : event_->who + ": ");
    if (text.kind == Text::Kind::kFault) {
      words += "fault " + (text.fault ? std::to_string(text.fault) + ": " : std::string());
      row.fault = true;
    }
    if (text.kind == Text::Kind::kFault || text.kind == Text::Kind::kError) row.colour = kFaultColour;
    if (text.kind == Text::Kind::kStep) row.colour = kQuietColour;
    row.bold = text.kind == Text::Kind::kError;
    words += text.text;
    (text.side == Side::kHost ? row.left : text.side == Side::kBmc ? row.right : row.middle) = std::move(words);
    who_ = event_->who;
    push(std::move(row));
  }
  void one(const Activity& activity) {
    flush();
    Row row;
    row.ns = ns_;
    row.side = activity.side;
    row.colour = kQuietColour;
    std::string words = (event_->who.empty() ? "" : event_->who + ": ") + activity.what;
    if (activity.took > Duration::zero()) words += " (" + time_text(static_cast<uint64_t>(activity.took.count())) + ")";
    (activity.side == Side::kBmc ? row.right : row.left) = std::move(words);
    who_ = event_->who;
    push(std::move(row));
  }

  const Trace& trace_;
  const size_t rows_max_;
  std::vector<Last> last_;
  bool several_ = false;
  const Event* event_ = nullptr;
  uint64_t ns_ = 0;
  std::string who_;
  Run run_;
  std::deque<Row> rows_;
  uint64_t left_out_ = 0;
};

class Picture {
 public:
  std::string draw(const Trace& trace, const Timeline& line, const Rows& rows) {
    int y = kHeadHeight;
    std::string last_time;
    for (const Row& row : rows.rows()) y = draw_row(row, y, last_time);
    const int height = y + 24;
    std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" +
                      std::to_string(kWidth) + "\" height=\"" + std::to_string(height) + "\" viewBox=\"0 0 " + std::to_string(kWidth) +
                      " " + std::to_string(height) + "\" font-family=\"monospace\" font-size=\"12\">\n";
    out += "<title>" + xml_text(trace.title.empty() ? "bmcpair" : trace.title) + "</title>\n";
    out += "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
    out += text(12, 22, "start", kTextColour, shortened(clean_utf8(trace.title), 150), " font-size=\"15\" font-weight=\"bold\"");
    std::string note = "0.000 us is " + std::to_string(line.begin.time_since_epoch().count()) + " ns of the trace's clock.";
    if (line.events.empty()) note = "Nothing was recorded.";
    if (trace.left_out > 0) note += " The recording's bound was met: " + std::to_string(trace.left_out) + " older events are missing.";
    if (rows.left_out() > 0) note += " " + std::to_string(rows.left_out()) + " earlier rows are not drawn.";
    out += text(12, 42, "start", kQuietColour, note, "");
    for (auto [x, name, colour] : {std::tuple(kHostX, "host", kHostColour), std::tuple(kBmcX, "BMC", kBmcColour)}) {
      out += "<rect x=\"" + std::to_string(x - 40) + "\" y=\"56\" width=\"80\" height=\"24\" rx=\"4\" fill=\"" + std::string(colour) + "\"/>\n";
      out += text(x, 73, "middle", "#ffffff", name, " font-weight=\"bold\"");
      out += "<line class=\"life\" x1=\"" + std::to_string(x) + "\" y1=\"80\" x2=\"" + std::to_string(x) + "\" y2=\"" + std::to_string(y + 8) +
             "\" stroke=\"" + std::string(colour) + "\" stroke-width=\"2\"/>\n";
    }
    return out + body_ + "</svg>\n";
  }

 private:
  static std::string text(int x, int y, std::string_view anchor, std::string_view colour, std::string_view words, std::string_view more) {
    return "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" text-anchor=\"" + std::string(anchor) + "\" fill=\"" +
           std::string(colour) + "\"" + std::string(more) + " xml:space=\"preserve\">" + xml_text(words) + "</text>\n";
  }
  void lines(const std::vector<std::string>& all, int x, int y, std::string_view anchor, std::string_view colour, std::string_view more) {
    for (size_t i = 0; i < all.size(); ++i) body_ += text(x, y + static_cast<int>(i) * kLineHeight, anchor, colour, all[i], more);
  }
  void head(int x, int y, bool to_right, std::string_view colour) {
    const int back = to_right ? x - 8 : x + 8;
    body_ += "<polygon points=\"" + std::to_string(x) + "," + std::to_string(y) + " " + std::to_string(back) + "," + std::to_string(y - 4) +
             " " + std::to_string(back) + "," + std::to_string(y + 4) + "\" fill=\"" + std::string(colour) + "\"/>\n";
  }
  void cross(int x, int y) {
    for (int sign : {1, -1}) {
      body_ += "<line class=\"fault\" x1=\"" + std::to_string(x - 6) + "\" y1=\"" + std::to_string(y - 6 * sign) + "\" x2=\"" +
               std::to_string(x + 6) + "\" y2=\"" + std::to_string(y + 6 * sign) + "\" stroke=\"" + std::string(kFaultColour) +
               "\" stroke-width=\"3\"/>\n";
    }
  }

  int draw_row(const Row& row, int y, std::string& last_time) {
    const std::string_view weight = row.bold ? " font-weight=\"bold\"" : "";
    const auto left = wrapped(row.left, kHostChars);
    const auto middle = wrapped(row.middle, kMiddleChars);
    const auto right = wrapped(row.right, kBmcChars);
    const size_t n = std::max({left.size(), middle.size(), right.size(), size_t{1}});
    const int base = y + kLineHeight - 3;
    const bool arrow = row.arrow == Row::Arrow::kToBmc || row.arrow == Row::Arrow::kToHost;
    // An arrow runs below its own text.
    const int arrow_y = base + (static_cast<int>(middle.size()) - 1) * kLineHeight + 5;
    const std::string time = time_text(row.ns);
    if (time != last_time) body_ += text(kTimeX, base, "end", kQuietColour, time, "");
    last_time = time;
    body_ += "<g>\n";
    if (!row.left.empty()) lines(left, kHostX - kGap, base, "end", row.middle.empty() && row.right.empty() ? row.colour : kQuietColour, arrow ? "" : weight);
    if (!row.middle.empty()) lines(middle, (kHostX + kBmcX) / 2, base, "middle", row.colour, weight);
    if (!row.right.empty()) lines(right, kBmcX + kGap, base, "start", arrow ? kQuietColour : row.colour, arrow ? "" : weight);
    if (arrow) {
      const bool to_right = row.arrow == Row::Arrow::kToBmc;
      body_ += "<line class=\"arrow\" x1=\"" + std::to_string(kHostX + 2) + "\" y1=\"" + std::to_string(arrow_y) + "\" x2=\"" +
               std::to_string(kBmcX - 2) + "\" y2=\"" + std::to_string(arrow_y) + "\" stroke=\"" + std::string(row.colour) +
               "\" stroke-width=\"" + (row.bold ? "3" : "1") + "\"" + (row.dashed ? " stroke-dasharray=\"6 3\"" : "") + "/>\n";
      head(to_right ? kBmcX - 2 : kHostX + 2, arrow_y, to_right, row.colour);
    }
    if (row.arrow == Row::Arrow::kBmcSelf) {
      body_ += "<circle cx=\"" + std::to_string(kBmcX) + "\" cy=\"" + std::to_string(base - 4) + "\" r=\"3\" fill=\"" + std::string(row.colour) + "\"/>\n";
    }
    if (row.fault) {
      if (row.side != Side::kBmc) cross(kHostX, arrow ? arrow_y : base - 4);
      if (row.side != Side::kHost) cross(kBmcX, arrow ? arrow_y : base - 4);
    }
    body_ += "</g>\n";
    return y + static_cast<int>(n) * kLineHeight + kRowGap;
  }

  std::string body_;
};

}  // namespace

std::string svg(const Trace& trace, const SvgOptions& options) {
  const Timeline line = timeline(trace);
  Rows rows(trace, options.rows_max);
  for (const TimedEvent& timed : line.events) rows.add(timed);
  rows.finish();
  return Picture().draw(trace, line, rows);
}

}  // namespace bmcpair::trace
