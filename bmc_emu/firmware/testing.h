// What the firmware's tests share: a BMC over a store that can fail, driven by bytes.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bmc_emu/firmware/bmc.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"
#include "proto/base/hex.h"

namespace bmcpair::firmware::testing {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A MemoryStore shared by several lives of a BMC, whose disk can break.
class BreakableStore : public MemoryStore {
 public:
  Result<std::vector<std::pair<uint32_t, Bytes>>> load(std::string_view table) override {
    if (broken) return Error{ErrorCode::kIo, "the disk is broken"};
    return MemoryStore::load(table);
  }
  Status commit(const Batch& batch) override {
    if (broken) return Error{ErrorCode::kIo, "the disk is broken"};
    ++commits;
    return MemoryStore::commit(batch);
  }
  bool broken = false;
  int commits = 0;
};

class Recorder : public Observer {
 public:
  void on_change(const Change& change) override { changes.push_back(change); }
  std::vector<Change> of(Change::Kind kind) const {
    std::vector<Change> out;
    for (const Change& change : changes) {
      if (change.kind == kind) out.push_back(change);
    }
    return out;
  }
  std::vector<uint32_t> values(Change::Kind kind) const {
    std::vector<uint32_t> out;
    for (const Change& change : of(kind)) out.push_back(change.value);
    return out;
  }
  std::vector<std::string> texts(Change::Kind kind) const {
    std::vector<std::string> out;
    for (const Change& change : of(kind)) out.push_back(change.text);
    return out;
  }
  std::vector<Change> changes;
};

// Requests and answers as hexadecimal: "06 01" asks, "00 20 81..." is completion code and data.
class FirmwareTest : public ::testing::Test {
 protected:
  virtual BmcConfig config() const { return {}; }

  void SetUp() override { boot(); }

  // A new life of the daemon over the same store.
  void boot() {
    auto made = Bmc::create(config(), store, &recorder, now);
    ASSERT_TRUE(made.ok()) << made.error().to_string();
    bmc = std::move(made).value();
  }

  std::string ask(std::string_view netfn_cmd_data, uint8_t lun = 0) {
    auto bytes = from_hex(netfn_cmd_data);
    if (!bytes || bytes->size() < 2) return "bad test";
    ipmi::Request request{(*bytes)[0], lun, (*bytes)[1], Bytes(bytes->begin() + 2, bytes->end())};
    ipmi::Response response = bmc->execute(request, context, now);
    Bytes out{static_cast<uint8_t>(response.cc)};
    out.insert(out.end(), response.data.begin(), response.data.end());
    return to_hex(out);
  }

  // Does what is due, in order, until `duration` has passed.
  void pass(Duration duration) {
    Instant end = now + duration;
    for (int steps = 0; bmc->next_due() <= end; ++steps) {
      ASSERT_LT(steps, 100000) << "something is always due";
      now = std::max(now, bmc->next_due());
      bmc->run(now);
    }
    now = end;
  }

  Instant now{seconds(1000)};
  RequestContext context;
  std::shared_ptr<BreakableStore> store = std::make_shared<BreakableStore>();
  Recorder recorder;
  std::unique_ptr<Bmc> bmc;
};

}  // namespace bmcpair::firmware::testing
