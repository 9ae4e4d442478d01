#include "bmc_emu/firmware/dispatcher.h"

#include <rapidcheck.h>

#include <set>

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ipmi::CompletionCode;

class Dispatch : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    SensorConfig sensor;
    sensor.name = "Temp";
    sensor.number = 1;
    sensor.initial = 20;
    c.sensors.push_back(sensor);
    FruConfig fru;
    fru.size = 64;
    c.frus.push_back(fru);
    c.satellites.push_back({});
    c.i2c_devices.push_back({0, 0xa0, Bytes(256, 0x5a), true});
    c.users.push_back({2, "admin", "secret", 4, true});
    c.channels.push_back({1, 4, 1, 4});
    c.sel_entries_max = 64;
    c.cold_reset_offline = Duration(0);
    c.warm_reset_offline = Duration(0);
    return c;
  }
  CompletionCode execute(uint8_t netfn, uint8_t cmd, const Bytes& data, uint8_t lun = 0) {
    return bmc->execute({netfn, lun, cmd, data}, context, now).cc;
  }
  static uint8_t lun_of(const Command& command) {
    uint8_t lun = 0;
    while ((command.luns >> lun & 1) == 0) ++lun;
    return lun;
  }
};

TEST_F(Dispatch, TheTableIsSortedWithoutDoublesAndFindsEveryCommand) {
  const auto& commands = Dispatcher::instance().commands();
  EXPECT_GE(commands.size(), 80u);
  std::set<std::pair<uint8_t, uint8_t>> seen;
  for (const Command& command : commands) {
    EXPECT_TRUE(seen.insert({command.netfn, command.cmd}).second) << command.name;
    EXPECT_EQ(Dispatcher::instance().find(command.netfn, command.cmd), &command);
    EXPECT_TRUE(Dispatcher::instance().has_netfn(command.netfn));
    EXPECT_FALSE(command.name.empty());
    EXPECT_NE(command.luns, 0);
  }
  for (uint8_t netfn : {0x00, 0x04, 0x06, 0x0a}) EXPECT_TRUE(Dispatcher::instance().has_netfn(netfn));
  EXPECT_FALSE(Dispatcher::instance().has_netfn(0x0c));
  EXPECT_FALSE(Dispatcher::instance().has_netfn(0x01));
}

TEST_F(Dispatch, EveryCommandThatIsNotThereIsC1WhateverTheLun) {
  for (unsigned netfn = 0; netfn < 64; ++netfn) {
    for (unsigned cmd = 0; cmd < 256; ++cmd) {
      auto n = static_cast<uint8_t>(netfn);
      auto c = static_cast<uint8_t>(cmd);
      if (Dispatcher::instance().find(n, c) != nullptr) continue;
      EXPECT_EQ(execute(n, c, {}, static_cast<uint8_t>(cmd % 4)), CompletionCode::kInvalidCommand);
    }
  }
}

TEST_F(Dispatch, EveryCommandRefusesTheLunsItIsNotOn) {
  for (const Command& command : Dispatcher::instance().commands()) {
    for (uint8_t lun = 0; lun < 4; ++lun) {
      if ((command.luns >> lun & 1) != 0) continue;
      EXPECT_EQ(execute(command.netfn, command.cmd, Bytes(command.data_min, 0), lun),
                CompletionCode::kInvalidCommandForLun)
          << command.name;
    }
    EXPECT_EQ(execute(command.netfn, command.cmd, Bytes(command.data_min, 0), 4),
              CompletionCode::kInvalidCommandForLun);
  }
}

TEST_F(Dispatch, EveryCommandRefusesAPrivilegeBelowItsOwn) {
  for (const Command& command : Dispatcher::instance().commands()) {
    for (uint8_t privilege = 0; privilege < static_cast<uint8_t>(command.privilege); ++privilege) {
      context.privilege = static_cast<Privilege>(privilege);
      EXPECT_EQ(execute(command.netfn, command.cmd, Bytes(command.data_min, 0), lun_of(command)),
                CompletionCode::kInsufficientPrivilege)
          << command.name;
    }
  }
}

TEST_F(Dispatch, EveryCommandRefusesEveryLengthOutsideItsBounds) {
  context.request_bytes_max = 300;
  for (const Command& command : Dispatcher::instance().commands()) {
    for (size_t length = 0; length <= 298; ++length) {
      if (length >= command.data_min && length <= command.data_max) continue;
      EXPECT_EQ(execute(command.netfn, command.cmd, Bytes(length, 0), lun_of(command)),
                CompletionCode::kRequestLengthInvalid)
          << command.name << " with " << length;
    }
    EXPECT_EQ(execute(command.netfn, command.cmd, Bytes(299, 0), lun_of(command)),
              CompletionCode::kRequestLengthLimitExceeded)
        << command.name << " longer than the interface carries";
  }
}

TEST_F(Dispatch, AnAnswerLongerThanTheInterfaceCarriesIsCa) {
  context.response_bytes_max = 18;
  EXPECT_EQ(execute(0x06, 0x01, {}), CompletionCode::kOk);
  context.response_bytes_max = 17;
  EXPECT_EQ(execute(0x06, 0x01, {}), CompletionCode::kCannotReturnRequestedLength);
  EXPECT_EQ(ask("06 01"), "ca");
}

// Whatever is said, and however time goes on, there is an answer that fits, and failures carry no data but where the
// specification says so.
TEST_F(Dispatch, AnyBytesToAnyCommandGetAnAnswer) {
  const auto& commands = Dispatcher::instance().commands();
  bool held = rc::check("any bytes to any command", [&] {
    boot();
    auto steps = *rc::gen::inRange(1, 60);
    for (int i = 0; i < steps; ++i) {
      const Command& command = commands[*rc::gen::inRange<size_t>(0, commands.size())];
      auto length = *rc::gen::inRange<size_t>(0, 41);
      bool within = *rc::gen::inRange(0, 4) != 0;
      if (within) length = std::min<size_t>(40, command.data_min + length % (command.data_max - command.data_min + 1u));
      auto byte = rc::gen::weightedOneOf<uint8_t>({{3, rc::gen::arbitrary<uint8_t>()},
                                                   {2, rc::gen::inRange<uint8_t>(0, 6)},
                                                   {1, rc::gen::element<uint8_t>(0x0e, 0x0f, 0x20, 0x80, 0xff)}});
      Bytes data = *rc::gen::container<Bytes>(length, byte);
      auto lun = static_cast<uint8_t>(*rc::gen::inRange(0, 8) == 0 ? *rc::gen::inRange(0, 4) : lun_of(command));
      ipmi::Response response = bmc->execute({command.netfn, lun, command.cmd, data}, context, now);
      RC_ASSERT(response.data.size() + 3 <= context.response_bytes_max);
      bool bad_length = length < command.data_min || length > command.data_max;
      if (bad_length) RC_ASSERT(response.cc != CompletionCode::kOk);
      now += milliseconds(*rc::gen::inRange(0, 3000));
      bmc->run(now);
    }
  });
  EXPECT_TRUE(held);
}

// The same without shrinking's overhead: every command, every length up to 40, several fillings.
TEST_F(Dispatch, EveryLengthUpToFortyOfEveryCommandGetsAnAnswer) {
  uint64_t seed = 1;
  auto random = [&seed] {
    seed += 0x9e3779b97f4a7c15;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    return static_cast<uint8_t>((z ^ (z >> 27)) >> 24);
  };
  for (const Command& command : Dispatcher::instance().commands()) {
    for (size_t length = 0; length <= 40; ++length) {
      for (int filling = 0; filling < 4; ++filling) {
        Bytes data(length);
        for (uint8_t& b : data) b = filling == 0 ? 0x00 : filling == 1 ? 0xff : random();
        ipmi::Response response = bmc->execute({command.netfn, lun_of(command), command.cmd, data}, context, now);
        EXPECT_LE(response.data.size() + 3, context.response_bytes_max) << command.name;
        if (length < command.data_min || length > command.data_max) {
          EXPECT_EQ(response.cc, CompletionCode::kRequestLengthInvalid) << command.name << " with " << length;
        }
      }
    }
    now += milliseconds(700);
    bmc->run(now);
  }
}

}  // namespace
}  // namespace bmcpair::firmware::testing
