// Hosts that bring whole messages rather than register accesses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "bmc_emu/board/testing.h"

namespace bmcpair::board {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = HostSignal::Kind;

constexpr hardware::MessageFace::Limits kLimits{254, 254};

// A host that writes down what it is told, as "response 3: 1c 01 00 ...", "attention 1", "enables 0f", "power 3".
class MessageHost {
 public:
  explicit MessageHost(Board& board, const std::string& interface = "bt") {
    auto attached = board.attach_messages(interface, "message host", kLimits);
    if (!attached) throw std::runtime_error(attached.error().message);
    port = std::move(*attached);
    port->set_signal_handler([this](const HostSignal& signal) {
      std::string line;
      switch (signal.kind) {
        case Kind::kResponse: line = "response " + std::to_string(signal.value) + ": " + to_hex(signal.message); break;
        case Kind::kAttention: line = "attention " + std::to_string(signal.value); break;
        case Kind::kGlobalEnables: line = "enables " + to_hex(Bytes{static_cast<uint8_t>(signal.value)}); break;
        case Kind::kPower: line = "power " + std::to_string(signal.value); break;
        case Kind::kLinkDown: line = "down: " + signal.text; break;
      }
      std::lock_guard<std::mutex> lock(mutex_);
      told_.push_back((signal.initial ? "at first " : "") + line);
    });
  }
  ~MessageHost() { port.reset(); }  // first: its handler writes down until it is gone
  std::vector<std::string> told() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(told_, {});
  }

  std::unique_ptr<MessagePort> port;

 private:
  std::mutex mutex_;
  std::vector<std::string> told_;
};

TEST(MessageHosts, HowThingsStandIsToldFirst) {
  Bench bench;
  MessageHost host(*bench.board);
  EXPECT_THAT(host.told(), ElementsAre("at first enables 08", "at first attention 0"));
}

TEST(MessageHosts, ARequestIsAnsweredAfterItsLatency) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  host.port->submit(3, kGetDeviceId);
  bench.run_for(49us);
  EXPECT_TRUE(host.told().empty());
  bench.run_for(2us);
  auto told = host.told();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0], HasSubstr("response 3: 1c 01 00 20"));
  auto statistics = bench.board->statistics("bt");
  EXPECT_EQ(statistics.requests, 1u);
  EXPECT_EQ(statistics.responses, 1u);
}

TEST(MessageHosts, SubmittingWakesTheBoard) {
  Bench bench;
  MessageHost host(*bench.board);
  int before = bench.wakes;
  host.port->submit(1, kGetDeviceId);
  EXPECT_GT(bench.wakes, before);
  EXPECT_LE(bench.board->next_due(), bench.now());
}

TEST(MessageHosts, WhatASubmissionMakesDueAtOnceMayBeDoneOnItsOwnThread) {
  BoardConfig config = board_config();
  config.interfaces[0].latency.response = {};
  Bench bench(config);
  MessageHost host(*bench.board);
  host.told();
  host.port->submit_and_run(1, kGetDeviceId);
  auto told = host.told();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0], HasSubstr("response 1: 1c 01 00"));
  EXPECT_GT(bench.board->next_due(), bench.now() + 1s) << "nothing was left for others";
}

TEST(MessageHosts, WhatIsDueLaterIsLeftToTheBoardsOwnThreads) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  int before = bench.wakes;
  host.port->submit_and_run(1, kGetDeviceId);
  EXPECT_TRUE(host.told().empty());
  EXPECT_GT(bench.wakes, before);
  EXPECT_EQ(bench.board->next_due(), bench.now() + 50us);
  bench.run_for(50us);
  EXPECT_EQ(host.told().size(), 1u);
}

TEST(MessageHosts, ABoardWhoseWorkTookLongIsLeftToItsOwnThreadsForAWhile) {
  class SlowStore : public firmware::MemoryStore {
   public:
    Status commit(const firmware::Batch& batch) override {
      if (clock) *clock += 5'000'000;
      return MemoryStore::commit(batch);
    }
    std::atomic<int64_t>* clock = nullptr;
  };
  BoardConfig config = board_config();
  config.interfaces[0].latency.response = {};
  auto store = std::make_shared<SlowStore>();
  Bench bench(config, store);
  store->clock = &bench.now_ns;
  MessageHost host(*bench.board);
  host.told();
  host.port->submit_and_run(1, Bytes{0x28, 0x44, 0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, 0x59, 1, 2});
  EXPECT_THAT(host.told(), ElementsAre("response 1: 2c 44 00 01 00"));
  uint32_t tag = 2;
  for (; tag < 1000; ++tag) {
    host.port->submit_and_run(tag, kGetDeviceId);
    if (!host.told().empty()) break;
    bench.board->run(bench.now());
    ASSERT_EQ(host.told().size(), 1u) << tag;
  }
  EXPECT_GT(tag, 10u);
  EXPECT_LT(tag, 1000u) << "not for ever";
}

TEST(MessageHosts, EnablesAreToldBeforeTheResponseThatChangedThem) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  for (int i = 0; i < 2; ++i) {
    host.port->submit(1, Bytes{0x18, 0x2e, 0x0f});
    bench.run_for(1ms);
    EXPECT_THAT(host.told(), ElementsAre("enables 0f", "response 1: 1c 2e 00")) << i;
  }
}

TEST(MessageHosts, PowerIsToldAfterTheResponseOfItsCommandAndAtOnceToTheOthers) {
  Bench bench;
  MessageHost asker(*bench.board, "bt");
  MessageHost other(*bench.board, "kcs");
  asker.told();
  other.told();
  asker.port->submit(1, Bytes{0x00, 0x02, 0x04});
  bench.board->run(bench.now());
  EXPECT_TRUE(asker.told().empty());
  EXPECT_THAT(other.told(), ElementsAre("power 4"));
  bench.run_for(1ms);
  EXPECT_THAT(asker.told(), ElementsAre("response 1: 04 02 00", "power 4"));
  bench.board->with_firmware([&](firmware::Bmc& bmc, Instant now) {
    EXPECT_TRUE(bmc.power(firmware::PowerAction::kSoftShutdown, now));
  });
  bench.run_for(1ms);
  EXPECT_THAT(asker.told(), ElementsAre("power 5"));
}

TEST(MessageHosts, PowerIsToldAlsoWhenANewerRequestTookTheResponsesPlace) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  host.port->submit(1, Bytes{0x00, 0x02, 0x04});
  bench.board->run(bench.now());
  host.port->submit(2, kGetDeviceId);
  bench.run_for(1ms);
  auto told = host.told();
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0], "power 4");
  EXPECT_THAT(told[1], HasSubstr("response 2"));
}

TEST(MessageHosts, OnlyTheNewestRequestIsAnsweredAndAllAreExecuted) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  for (uint32_t tag = 1; tag <= 3; ++tag) host.port->submit(tag, Bytes{0x28, 0x44, 0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, 0x59, 1, 2});
  bench.run_for(1ms);
  EXPECT_THAT(host.told(), ElementsAre("response 3: 2c 44 00 03 00"));
  auto statistics = bench.board->statistics("bt");
  EXPECT_EQ(statistics.responses, 1u);
  EXPECT_EQ(statistics.responses_dropped, 2u);
}

TEST(MessageHosts, AFloodIsBounded) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  for (uint32_t tag = 1; tag <= 10'000; ++tag) host.port->submit(tag, kGetDeviceId);
  bench.run_for(1s);
  auto told = host.told();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0], HasSubstr("response 10000:"));
  auto statistics = bench.board->statistics("bt");
  EXPECT_EQ(statistics.requests, 10'000u);
  EXPECT_EQ(statistics.responses + statistics.responses_dropped, 10'000u);
}

TEST(MessageHosts, AnInterfaceHasOneHostOfEitherKind) {
  Bench bench;
  {
    MessageHost host(*bench.board);
    auto endpoints = bench.board->endpoints();
    ASSERT_EQ(endpoints.size(), 1u);
    EXPECT_EQ(endpoints[0].id, host.port->endpoint());
    EXPECT_EQ(endpoints[0].who, "message host");
    auto registers = bench.board->attach("bt", "a driver");
    ASSERT_FALSE(registers);
    EXPECT_EQ(registers.error().code, ErrorCode::kBusy);
    EXPECT_THAT(registers.error().message, HasSubstr("in use by message host"));
    EXPECT_FALSE(bench.board->attach_messages("bt", "another", kLimits));
    EXPECT_TRUE(bench.board->attach("kcs", "a driver"));
  }
  auto port = bench.attach("bt");
  EXPECT_EQ(bench.board->attach_messages("bt", "late", kLimits).error().code, ErrorCode::kBusy);
  EXPECT_EQ(bench.board->attach_messages("nonsense", "late", kLimits).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0x00) << "the registers work after a host by messages";
}

TEST(MessageHosts, ARequestThatAHostLeftBehindIsNotAnsweredToTheNext) {
  for (bool registers : {false, true}) {
    Bench bench;
    auto first = std::make_unique<MessageHost>(*bench.board);
    first->port->submit(1, Bytes{0x18, 0x04});
    bench.board->run(bench.now());  // executed, its answer is on the way
    first.reset();
    if (registers) {
      auto port = bench.attach("bt");
      bench.run_for(1s);
      EXPECT_EQ(port->read(registers::bt::kCtrl), 0);
    } else {
      MessageHost second(*bench.board);
      second.told();
      bench.run_for(1s);
      EXPECT_TRUE(second.told().empty());
      second.port->submit(1, kGetDeviceId);
      bench.run_for(1ms);
      EXPECT_EQ(second.told().size(), 1u);
    }
  }
}

TEST(MessageHosts, DetachingTellsTheHostAndItsPortIsDeadFromThere) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  ASSERT_TRUE(bench.board->detach(host.port->endpoint(), "maintenance"));
  EXPECT_THAT(host.told(), ElementsAre("down: maintenance"));
  host.port->submit(1, kGetDeviceId);
  host.port->host_was_reset();
  host.port->host_is_running();
  bench.run_for(1s);
  EXPECT_TRUE(host.told().empty());
  MessageHost next(*bench.board);
  EXPECT_EQ(next.told().size(), 2u);
}

TEST(MessageHosts, AHostDetachedBeforeItListenedIsToldWhenItDoes) {
  Bench bench;
  auto attached = bench.board->attach_messages("bt", "message host", kLimits);
  ASSERT_TRUE(attached);
  ASSERT_TRUE(bench.board->detach((*attached)->endpoint(), "maintenance"));
  std::vector<std::string> downs;
  (*attached)->set_signal_handler([&](const HostSignal& signal) {
    if (signal.kind == Kind::kLinkDown) downs.push_back(signal.text);
  });
  EXPECT_THAT(downs, ElementsAre("maintenance"));
  auto port = bench.attach("kcs");
  ASSERT_TRUE(bench.board->detach(port->endpoint(), "maintenance"));
  std::vector<std::string> links;
  port->set_link_handler([&](const registers::LinkState& link) { links.push_back(link.reason); });
  EXPECT_THAT(links, ElementsAre("maintenance"));
}

TEST(MessageHosts, ABoardThatShutsDownTellsItsHostAndThePortOutlivesIt) {
  Bench bench;
  MessageHost host(*bench.board);
  host.told();
  bench.board->shutdown();
  EXPECT_THAT(host.told(), ElementsAre("down: BMC demo is shutting down"));
  bench.board.reset();
  host.port->submit(1, kGetDeviceId);
  EXPECT_TRUE(host.told().empty());
}

TEST(MessageHosts, AColdResetIsAnsweredAndThenNothingUntilItIsOver) {
  BoardConfig config = board_config();
  config.firmware.cold_reset_offline = 2s;
  Bench bench(config);
  MessageHost host(*bench.board);
  host.port->submit(1, Bytes{0x18, 0x2e, 0x0f});
  bench.run_for(1ms);
  host.told();
  host.port->submit(2, Bytes{0x18, 0x02});
  bench.run_for(100ms);
  EXPECT_THAT(host.told(), ElementsAre("enables 08", "response 2: 1c 02 00"));
  host.port->submit(3, kGetDeviceId);
  bench.run_for(1s);
  EXPECT_TRUE(host.told().empty());
  bench.run_for(2s);
  EXPECT_TRUE(host.told().empty()) << "what was asked of a BMC that is away stays unanswered";
  host.port->submit(4, kGetDeviceId);
  bench.run_for(1ms);
  EXPECT_THAT(host.told()[0], HasSubstr("response 4: 1c 01 00"));
}

TEST(MessageHosts, WhatTheHostSaysOfItselfReachesTheFirmwareInItsPlace) {
  BoardConfig config = board_config();
  config.firmware.power_on = false;
  Bench bench(config);
  MessageHost host(*bench.board);
  host.port->host_is_running();
  host.port->submit(1, Bytes{0x18, 0x2e, 0x0f});
  bench.run_for(1ms);
  bench.board->with_firmware([](firmware::Bmc& bmc, Instant) { EXPECT_TRUE(bmc.power_on()); });
  host.told();
  host.port->host_was_reset();
  host.port->submit(2, Bytes{0x18, 0x2f});
  bench.run_for(1ms);
  EXPECT_THAT(host.told(), ElementsAre("enables 08", "response 2: 1c 2f 00 08"));
}

TEST(MessageHosts, ManyThreadsMayUseABoardAtOnce) {
  Bench bench;
  std::atomic<bool> end{false};
  std::thread worker([&] {
    while (!end) {
      bench.now_ns += 10'000;
      bench.board->run(bench.now());
    }
  });
  for (int round = 0; round < 200; ++round) {
    auto host = std::make_unique<MessageHost>(*bench.board);
    for (uint32_t tag = 1; tag <= 5; ++tag) {
      host->port->submit(tag, kGetDeviceId);
      if (tag == 2) host->port->host_was_reset();
    }
    if (round % 3 == 0) (void)bench.board->detach(host->port->endpoint(), "test");
  }
  end = true;
  worker.join();
  MessageHost host(*bench.board);
  host.told();
  host.port->submit(1, kGetDeviceId);
  bench.run_for(1ms);
  EXPECT_EQ(host.told().size(), 1u);
}

}  // namespace
}  // namespace bmcpair::board
