#include "bmc_emu/firmware/channel.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

class Channel : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.channels.push_back({1, 4, 1, 3});
    c.channels.push_back({7, 1, 1, 4});  // a private IPMB
    return c;
  }
};

TEST_F(Channel, InfoDescribesEveryKindOfChannel) {
  EXPECT_EQ(ask("06 42 00"), "00 00 01 01 00 f2 1b 00 00 00");
  EXPECT_EQ(ask("06 42 01"), "00 01 04 01 80 f2 1b 00 00 00");
  EXPECT_EQ(ask("06 42 07"), "00 07 01 01 00 f2 1b 00 00 00");
  EXPECT_EQ(ask("06 42 0f"), "00 0f 0c 05 00 f2 1b 00 ff ff");
  EXPECT_EQ(ask("06 42 0e"), "00 0f 0c 05 00 f2 1b 00 ff ff");
  context.interface_kind = registers::InterfaceKind::kBt;
  EXPECT_EQ(ask("06 42 0f"), "00 0f 0c 08 00 f2 1b 00 ff ff");
  context.interface_kind = registers::InterfaceKind::kSmic;
  EXPECT_EQ(ask("06 42 0f"), "00 0f 0c 06 00 f2 1b 00 ff ff");
}

TEST_F(Channel, InfoOfWhatIsNotThereIsRefusedWithCcSoThatAScanGoesOn) {
  for (std::string_view bad : {"06 42 02", "06 42 0b", "06 42 10", "06 42 f0"}) EXPECT_EQ(ask(bad), "cc") << bad;
  EXPECT_EQ(ask("06 42"), "c7");
  EXPECT_EQ(ask("06 42 00 00"), "c7");
}

TEST_F(Channel, AccessStartsAsConfiguredAndChangesVolatileAndKeptApart) {
  EXPECT_EQ(ask("06 41 01 40"), "00 02 03");
  EXPECT_EQ(ask("06 41 01 80"), "00 02 03");
  EXPECT_EQ(ask("06 40 01 83 84"), "00");
  EXPECT_EQ(ask("06 41 01 80"), "00 03 04");
  EXPECT_EQ(ask("06 41 01 40"), "00 02 03");
  EXPECT_EQ(ask("06 40 01 7a 00"), "00") << "non-volatile access alone";
  EXPECT_EQ(ask("06 41 01 40"), "00 3a 03");
  EXPECT_EQ(ask("06 41 01 80"), "00 03 04");
  EXPECT_EQ(ask("06 40 01 00 42"), "00") << "non-volatile privilege alone";
  EXPECT_EQ(ask("06 41 01 40"), "00 3a 02");
  EXPECT_EQ(ask("06 40 01 00 00"), "00") << "nothing to set";
  EXPECT_EQ(ask("06 40 01 41 85"), "00") << "one of each";
  EXPECT_EQ(ask("06 41 01 40"), "00 01 02");
  EXPECT_EQ(ask("06 41 01 80"), "00 03 05");
}

TEST_F(Channel, TheKeptAccessIsWhatARebootAndARestartBringBack) {
  ask("06 40 01 42 42");
  ask("06 40 01 81 81");
  bmc->reset(false, now);
  pass(seconds(1));
  EXPECT_EQ(ask("06 41 01 80"), "00 02 02");
  boot();
  EXPECT_EQ(ask("06 41 01 40"), "00 02 02");
  EXPECT_EQ(ask("06 41 01 80"), "00 02 02");
}

TEST_F(Channel, AccessRefusesChannelsWithoutSessionsAndBadFields) {
  EXPECT_EQ(ask("06 41 0f 40"), "82");
  EXPECT_EQ(ask("06 41 00 40"), "82");
  EXPECT_EQ(ask("06 41 07 40"), "82");
  EXPECT_EQ(ask("06 40 0e 42 44"), "82");
  EXPECT_EQ(ask("06 41 02 40"), "cc");
  EXPECT_EQ(ask("06 41 11 40"), "cc");
  EXPECT_EQ(ask("06 41 01 00"), "cc");
  EXPECT_EQ(ask("06 41 01 c0"), "cc");
  EXPECT_EQ(ask("06 41 01 41"), "cc");
  EXPECT_EQ(ask("06 40 01 c2 44"), "cc");
  EXPECT_EQ(ask("06 40 01 42 c4"), "cc");
  EXPECT_EQ(ask("06 40 01 42 40"), "cc") << "privilege 0";
  EXPECT_EQ(ask("06 40 01 42 46"), "cc");
  EXPECT_EQ(ask("06 40 01 42 54"), "cc") << "reserved bits";
  EXPECT_EQ(ask("06 40 01 44 44"), "83") << "access mode";
  EXPECT_EQ(ask("06 41 01"), "c7");
  EXPECT_EQ(ask("06 41 01 40 00"), "c7");
  EXPECT_EQ(ask("06 40 01 42"), "c7");
  EXPECT_EQ(ask("06 40 01 42 44 00"), "c7");
  EXPECT_EQ(ask("06 41 01 40"), "00 02 03") << "none of it changed anything";
}

TEST_F(Channel, WhatCouldNotBeStoredIsNotAcknowledged) {
  store->broken = true;
  EXPECT_EQ(ask("06 40 01 43 44"), "ff");
  EXPECT_EQ(ask("06 41 01 40"), "00 02 03");
  EXPECT_EQ(ask("06 40 01 83 84"), "00");
}

TEST_F(Channel, CommandsNeedTheirPrivilege) {
  context.privilege = Privilege::kOperator;
  EXPECT_EQ(ask("06 40 01 42 44"), "d4");
  EXPECT_EQ(ask("06 41 01 40").substr(0, 2), "00");
  context.privilege = Privilege::kCallback;
  EXPECT_EQ(ask("06 42 00"), "d4");
}

}  // namespace
}  // namespace bmcpair::firmware::testing
