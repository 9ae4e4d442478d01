// For tests of traces: a small story that has everything in it, and real readers for what is made of it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/trace/trace.h"

namespace bmcpair::trace::test {

class Folder {
 public:
  Folder() {
    std::string name = "/tmp/bmcpair-trace-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << content;
    return path_ + "/" + name;
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct Ran {
  int status = -1;
  std::string out;
};

// A shell's command line and its standard output. Status 127: there is no such program.
inline Ran run(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return ran;
  std::array<char, 65536> buffer;
  while (size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) ran.out.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

// ---- a story ---------------------------------------------------------------------------------------------------------

inline Instant at_us(int64_t us) { return Instant(std::chrono::microseconds(us)); }

class Story {
 public:
  InterfaceId interface(std::string name, registers::InterfaceKind kind) {
    trace.interfaces.push_back({std::move(name), kind});
    return static_cast<InterfaceId>(trace.interfaces.size() - 1);
  }
  template <class What>
  Story& add(int64_t us, InterfaceId interface, What what, std::string who = "") {
    trace.events.push_back({at_us(us), interface, std::move(who), std::move(what)});
    return *this;
  }
  Story& host(int64_t us, InterfaceId i, bool write, uint16_t offset, uint8_t value, uint8_t flags, bool irq = false) {
    return add(us, i, Access{Side::kHost, write, offset, value, flags, irq, 0});
  }
  Story& bmc(int64_t us, InterfaceId i, bool write, uint16_t offset, uint8_t value, uint8_t flags, bool irq = false) {
    return add(us, i, Access{Side::kBmc, write, offset, value, flags, irq, 0});
  }
  Story& request(int64_t us, InterfaceId i, Bytes bytes) {
    return add(us, i, Message{Message::Direction::kToBmc, std::move(bytes), Duration(0)});
  }
  Story& response(int64_t us, InterfaceId i, Bytes bytes, Duration took = Duration(0)) {
    return add(us, i, Message{Message::Direction::kToHost, std::move(bytes), took});
  }

  Trace trace;
};

// A BT transaction that ends in D5, a KCS one that ends well, a fault, notes and a task.
inline Story two_interfaces() {
  namespace r = registers;
  using namespace r::bt;
  Story s;
  s.trace.title = "two interfaces <&> \"a story\"";
  const InterfaceId bt = s.interface("demo/bt", r::InterfaceKind::kBt);
  const InterfaceId kcs = s.interface("demo/kcs", r::InterfaceKind::kKcs);
  s.host(10, bt, true, kIntMask, kB2hIrqEnable, 0);
  s.host(11, bt, true, kCtrl, kClrWrPtr, 0);
  for (uint8_t byte : {0x03, 0x18, 0x00, 0x01}) s.host(12, bt, true, kBuffer, byte, 0);
  s.host(13, bt, true, kCtrl, kH2bAtn, kH2bAtn);
  s.request(13, bt, {0x18, 0x01});
  s.bmc(20, bt, true, kCtrl, kBBusy, kH2bAtn | kBBusy);
  s.bmc(21, bt, true, kCtrl, kClrRdPtr | kH2bAtn, kBBusy);
  for (uint8_t byte : {0x03, 0x18, 0x00, 0x01}) s.bmc(22, bt, false, kBuffer, byte, kBBusy);
  s.add(25, bt, Text{Text::Kind::kFault, Side::kBmc, "answers completion code d5", 7});
  s.bmc(30, bt, true, kCtrl, kB2hAtn, kB2hAtn, true);
  s.response(31, bt, {0x1c, 0x01, 0xd5}, std::chrono::microseconds(18));
  s.request(40, kcs, {0x18, 0x01});
  s.host(40, kcs, true, r::kcs::kCommand, r::kcs::kWriteStart, r::kcs::kIbf | r::kcs::kCd);
  s.bmc(41, kcs, true, r::kcs::kStatus, 0x80, 0x80);
  s.response(60, kcs, {0x1c, 0x01, 0x00, 0x20, 0x01, 0x02, 0x15, 0x02, 0xbf, 0xf2, 0x1b, 0x00, 0x04, 0x03});
  s.add(61, kNoInterface, Text{Text::Kind::kStep, Side::kHost, "the timer goes on", 0}, "timer");
  s.add(62, kNoInterface, Activity{Side::kHost, "expires", std::chrono::microseconds(5)}, "timer");
  s.add(80, kNoInterface, Text{Text::Kind::kError, Side::kBoth, "exactly-once: two answers", 0});
  return s;
}

// Traces that a writer must survive, each with what is wrong with it.
inline std::vector<std::pair<std::string, Trace>> hard_traces() {
  std::vector<std::pair<std::string, Trace>> all;
  all.emplace_back("empty", Trace{});
  Story one;
  one.host(5, one.interface("kcs", registers::InterfaceKind::kKcs), false, 1, 0x00, 0x00);
  all.emplace_back("one event", one.trace);
  Story far;
  const InterfaceId i = far.interface("bt", registers::InterfaceKind::kBt);
  far.trace.events.push_back({Instant::min(), i, "", Access{Side::kHost, true, 0, 1, uint8_t{0}, false, 0}});
  far.trace.events.push_back({Instant::max(), i, "", Access{Side::kBmc, true, 0, 4, uint8_t{4}, true, 0}});
  far.trace.events.push_back({Instant::max(), i, "", Message{Message::Direction::kToBmc, {0x18, 0x01}, Duration::max()}});
  far.trace.events.push_back({Instant::max(), i, "", Message{Message::Direction::kToHost, {0x1c, 0x01, 0}, Duration::max()}});
  far.trace.events.push_back({Instant::max(), i, "task", Activity{Side::kBmc, "for ever", Duration::max()}});
  far.trace.events.push_back({Instant{}, i, "task", Activity{Side::kBmc, "backwards", Duration::min()}});
  far.trace.unix_epoch_ns = INT64_MAX;
  far.trace.left_out = UINT64_MAX;
  all.emplace_back("instants at both ends of time", far.trace);
  Story odd;
  const InterfaceId j = odd.interface(std::string("\x01/\xff \xe2\x82 $end\n<&>", 15), registers::InterfaceKind::kSmic);
  odd.interface("", registers::InterfaceKind::kBt);
  odd.interface("", registers::InterfaceKind::kBt);
  odd.trace.title = std::string("\0$end <![CDATA[ \"\\ \xc0\xaf \xed\xa0\x80", 25);
  odd.add(1, j, Text{Text::Kind::kNote, Side::kBoth, std::string(100'000, '\xfe'), 0}, std::string(300, '"'));
  odd.add(1, j, Text{Text::Kind::kFault, Side::kBmc, "", UINT32_MAX});
  odd.add(1, j, Message{Message::Direction::kToHost, {}, Duration(-5)});
  odd.add(1, j, Message{Message::Direction::kToBmc, {0xff}, Duration(0)});
  odd.add(1, j, Message{Message::Direction::kToBmc, Bytes(100'000, 0xaa), Duration(0)});
  odd.add(1, j, Access{Side::kHost, true, 0xffff, 0xff, std::nullopt, std::nullopt, UINT32_MAX});
  odd.add(1, 1000, Access{Side::kHost, true, 0, 0, std::nullopt, std::nullopt, 0});
  odd.add(1, 1000, Message{Message::Direction::kToBmc, {0x18, 0x01}, Duration(0)});
  odd.add(1, kNoInterface, InterruptLine{true});
  odd.add(0, 1, Access{Side::kBmc, false, 1, 0, uint8_t{0xff}, true, 3});
  odd.add(0, 1, Text{Text::Kind::kStep, Side::kHost, "\xf0\x9f\x90\x9b \xc3\xa4 <script>", 0});
  all.emplace_back("texts and numbers of an enemy", odd.trace);
  return all;
}

}  // namespace bmcpair::trace::test
