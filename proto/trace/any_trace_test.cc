// Whatever is recorded, what is written holds together.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "proto/trace/pcap.h"
#include "proto/trace/svg.h"
#include "proto/trace/testing.h"
#include "proto/trace/trace_json.h"
#include "proto/trace/vcd.h"

namespace bmcpair::trace {
namespace {

// A trace out of any bytes.
Trace any_trace(const std::vector<uint8_t>& bytes) {
  size_t at = 0;
  auto next = [&]() -> uint8_t { return at < bytes.size() ? bytes[at++] : uint8_t{0}; };
  auto wide = [&] {
    uint64_t v = 0;
    for (int i = 0; i < 8; ++i) v = v << 8 | next();
    return v;
  };
  auto text = [&] {
    std::string out;
    for (size_t n = next() % 40; n-- > 0;) out += static_cast<char>(next());
    return out;
  };
  auto duration = [&] { return Duration(static_cast<int64_t>(next() % 4 == 0 ? wide() : next())); };
  Trace trace;
  trace.title = text();
  trace.left_out = next() % 2;
  trace.unix_epoch_ns = next() % 2 == 0 ? 0 : static_cast<int64_t>(wide());
  for (size_t n = next() % 4; n-- > 0;) trace.interfaces.push_back({text(), static_cast<registers::InterfaceKind>(next() % 3)});
  while (at < bytes.size()) {
    Event event;
    event.at = Instant(duration());
    event.interface = next() % 8 == 0 ? kNoInterface : static_cast<InterfaceId>(next() % 4);
    if (next() % 4 == 0) event.who = text();
    const auto side = static_cast<Side>(next() % 3);
    switch (next() % 5) {
      case 0: {
        Access access{side == Side::kBoth ? Side::kHost : side, next() % 2 == 0, static_cast<uint16_t>(next() % 4), next(), {}, {}, 0};
        if (next() % 4 != 0) access.flags_after = next();
        if (next() % 2 == 0) access.interrupt_after = next() % 2 == 0;
        if (next() % 8 == 0) access.fault = static_cast<uint32_t>(wide());
        event.what = access;
        break;
      }
      case 1: event.what = InterruptLine{next() % 2 == 0}; break;
      case 2: {
        const std::string body = text();
        event.what = Message{static_cast<Message::Direction>(next() % 2), Bytes(body.begin(), body.end()), duration()};
        break;
      }
      case 3: event.what = Text{static_cast<Text::Kind>(next() % 4), side, text(), next()}; break;
      case 4: event.what = Activity{side, text(), duration()}; break;
    }
    trace.events.push_back(std::move(event));
  }
  return trace;
}

void vcd_holds_together(const std::string& text) {
  std::set<std::string> codes;
  bool body = false;
  int depth = 0;
  uint64_t now = 0;
  for (const std::string& line : test::lines_of(text)) {
    std::istringstream words(line);
    std::string word, type, width, code;
    words >> word >> type;
    if (word == "$scope") ++depth;
    if (word == "$upscope") --depth;
    if (word == "$var") {
      words >> width >> code;
      RC_ASSERT(codes.insert(code).second);
    }
    if (!body && word == "$enddefinitions") {
      RC_ASSERT(depth == 0);
      body = true;
      continue;
    }
    if (!body || word == "$dumpvars" || word == "$end") continue;
    if (line[0] == '#') {
      const uint64_t time = std::stoull(line.substr(1));
      RC_ASSERT(time >= now);
      now = time;
    } else if (line[0] == 'b' || line[0] == 's') {
      RC_ASSERT(std::count(line.begin(), line.end(), ' ') == 1);
      RC_ASSERT(codes.contains(line.substr(line.find(' ') + 1)));
    } else {
      RC_ASSERT(line[0] == '0' || line[0] == '1' || line[0] == 'x');
      RC_ASSERT(codes.contains(line.substr(1)));
    }
  }
  RC_ASSERT(body);
}

void pcap_holds_together(const std::string& capture, size_t messages) {
  auto u32 = [&](size_t at) {
    uint32_t v = 0;
    std::memcpy(&v, capture.data() + at, 4);
    return v;
  };
  size_t packets = 0;
  for (size_t at = 0; at < capture.size();) {
    RC_ASSERT(at + 12 <= capture.size());
    const uint32_t size = u32(at + 4);
    RC_ASSERT(size % 4 == 0 && size >= 12 && at + size <= capture.size());
    RC_ASSERT(u32(at + size - 4) == size);
    if (u32(at) == 6) {
      const uint32_t kept = u32(at + 20);
      RC_ASSERT(kept >= 11 && kept <= 11 + kPcapBlockBytesMax && 32 + kept <= size);
      RC_ASSERT(static_cast<uint8_t>(capture[at + 28 + 10]) == kept - 11);
      packets += static_cast<uint8_t>(capture[at + 28]) >> 4 == 0 ? 1 : 0;
    }
    at += size;
  }
  RC_ASSERT(packets == messages);
}

}  // namespace

TEST(AnyTrace, IsAWaveformACaptureTraceEventsAndALadderThatHoldTogether) {
  EXPECT_TRUE(rc::check([](const std::vector<uint8_t>& seed) {
    // A small input is a short trace; this one is long enough to meet what goes wrong late.
    std::vector<uint8_t> bytes;
    for (int n = 0; n < 8; ++n) bytes.insert(bytes.end(), seed.begin(), seed.end());
    const Trace trace = any_trace(bytes);
    size_t messages = 0;
    for (const Event& event : trace.events) messages += std::holds_alternative<Message>(event.what) ? 1 : 0;
    vcd_holds_together(vcd(trace));
    vcd_holds_together(vcd(trace, {.microseconds = true}));
    pcap_holds_together(pcap(trace), messages);
    for (const std::string& text : {trace_json(trace), svg(trace), svg(trace, {.rows_max = 3})}) {
      for (char c : text) RC_ASSERT(static_cast<unsigned char>(c) >= 0x20 || c == '\n');
    }
  }));
}

}  // namespace bmcpair::trace
