// VFIO_USER_REGION_READ and VFIO_USER_REGION_WRITE against the bytes.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;
using Access = ArrayRegisters::Access;

class RegionAccessTest : public ProtocolTest {};

TEST_F(RegionAccessTest, AReadOfBar0ReadsItsRegister) {
  start();
  registers().set(0, 0x5a);
  registers().set(1, 0xa5);
  Client c = greeted();
  Bytes p = c.ok(kRegionReadCmd, Client::region(0, 0, 1));
  EXPECT_EQ(p, Client::region(0, 0, 1, {0x5a})) << "offset, region, count, data";
  EXPECT_EQ(c.read_region(0, 1, 1), Bytes{0xa5});
}

TEST_F(RegionAccessTest, AWriteToBar0WritesItsRegisterAndIsAnsweredWithoutData) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.ok(kRegionWriteCmd, Client::region(1, 0, 1, {0x61})), Client::region(1, 0, 1));
  EXPECT_EQ(registers().accesses(), (std::vector<Access>{{'w', 1, {0x61}}}));
}

TEST_F(RegionAccessTest, AWideAccessIsAsManyRegisterAccessesInAscendingOrder) {
  start(registers::InterfaceKind::kBt);
  registers().set(0, 1);
  registers().set(1, 2);
  registers().set(2, 3);
  Client c = greeted();
  EXPECT_EQ(c.read_region(0, 0, 4), (Bytes{1, 2, 3, 0}));
  c.write_region(0, 1, {7, 8, 9, 9});
  EXPECT_EQ(registers().accesses(),
            (std::vector<Access>{{'r', 0, {1}}, {'r', 1, {2}}, {'r', 2, {3}}, {'w', 1, {7}}, {'w', 2, {8}}}));
}

TEST_F(RegionAccessTest, OnlyMultiplesOfTheSpacingAreRegistersAndTheRestReadsZero) {
  for (unsigned spacing : {1u, 4u, 16u}) {
    options_.pci.spacing = spacing;
    start(registers::InterfaceKind::kBt);
    for (uint16_t r = 0; r < 3; ++r) registers().set(r, static_cast<uint8_t>(0xf0 + r));
    Client c = greeted();
    uint32_t size = spacing == 1 ? 8 : spacing == 4 ? 16 : 64;
    for (uint32_t offset = 0; offset < size; ++offset) {
      bool is_register = offset % spacing == 0 && offset / spacing < 3;
      EXPECT_EQ(c.read_region(0, offset, 1), Bytes{static_cast<uint8_t>(is_register ? 0xf0 + offset / spacing : 0)})
          << "spacing " << spacing << " offset " << offset;
      c.write_region(0, offset, {0x11});
    }
    EXPECT_EQ(registers().accesses().size(), 6u);
    c.close();
    server_.reset();
  }
}

TEST_F(RegionAccessTest, PipelinedReadsOfOneRegisterAreOneBurstAndEachIsAnswered) {
  start(registers::InterfaceKind::kBt);
  registers().queue(1, {4, 3, 2, 1});
  Client c = greeted();
  Bytes all;
  for (uint16_t id = 100; id < 104; ++id) {
    Bytes m = Client::message(id, kRegionReadCmd, Client::region(1, 0, 1));
    all.insert(all.end(), m.begin(), m.end());
  }
  Bytes last = Client::message(104, kRegionReadCmd, Client::region(0, 0, 1));
  all.insert(all.end(), last.begin(), last.end());
  ASSERT_TRUE(c.send_raw(all));
  for (uint16_t i = 0; i < 5; ++i) {
    Reply r = c.receive();
    EXPECT_EQ(r.id, 100 + i);
    EXPECT_EQ(r.payload, i < 4 ? Client::region(1, 0, 1, {static_cast<uint8_t>(4 - i)}) : Client::region(0, 0, 1, {0}));
  }
  EXPECT_EQ(registers().accesses(), (std::vector<Access>{{'R', 1, {4, 3, 2, 1}}, {'r', 0, {0}}}));
}

TEST_F(RegionAccessTest, PipelinedReadsAndWritesKeepTheirOrder) {
  start(registers::InterfaceKind::kBt);
  Client c = greeted();
  Bytes all;
  for (const Bytes& m : {Client::message(1, kRegionWriteCmd, Client::region(0, 0, 1, {1}), 0x10),
                         Client::message(2, kRegionWriteCmd, Client::region(1, 0, 1, {2}), 0x10),
                         Client::message(3, kRegionWriteCmd, Client::region(1, 0, 1, {3}), 0x10),
                         Client::message(4, kRegionReadCmd, Client::region(1, 0, 1)),
                         Client::message(5, kRegionWriteCmd, Client::region(0, 0, 1, {4}), 0)}) {
    all.insert(all.end(), m.begin(), m.end());
  }
  ASSERT_TRUE(c.send_raw(all));
  Reply r = c.receive();
  EXPECT_EQ(r.id, 4) << "the writes before said No_reply";
  EXPECT_EQ(r.payload.back(), 3);
  EXPECT_EQ(c.receive().id, 5);
  EXPECT_EQ(registers().accesses(),
            (std::vector<Access>{{'w', 0, {1}}, {'W', 1, {2, 3}}, {'r', 1, {3}}, {'w', 0, {4}}}));
}

TEST_F(RegionAccessTest, NoReplyIsNeverAnswered) {
  start();
  Client c = greeted();
  c.send(kRegionWriteCmd, Client::region(0, 0, 1, {9}), {}, 0x10);
  c.send(kRegionReadCmd, Client::region(0, 0, 1), {}, 0x10);
  c.send(kRegionWriteCmd, Client::region(99, 0, 1, {9}), {}, 0x10);  // an error
  c.send(kRegionWriteCmd, Client::region(0, 99, 1, {9}), {}, 0x10);  // an error
  c.send(kRegionWriteCmd, Bytes{1}, {}, 0x10);                       // an error
  c.send(77, Bytes{}, {}, 0x10);                                     // an unknown command
  c.send(kResetCmd, Bytes{}, {}, 0x10);
  c.expect_silence_then_alive();
  EXPECT_EQ(registers().value(0), 9);
}

TEST_F(RegionAccessTest, ConfigurationSpaceIsTheHeaderOfAnIpmiFunction) {
  start();
  Client c = greeted();
  Bytes config = c.read_region(7, 0, 256);
  EXPECT_EQ(at<uint16_t>(config, 0), 0x1234);
  EXPECT_EQ(at<uint16_t>(config, 2), 0x1112);
  EXPECT_EQ(config[0x09], 0x01) << "KCS";
  EXPECT_EQ(config[0x0a], 0x07);
  EXPECT_EQ(config[0x0b], 0x0c);
  EXPECT_EQ(config[0x0e], 0x00);
  EXPECT_EQ(at<uint32_t>(config, 0x10), 1u) << "an I/O BAR";
  EXPECT_EQ(config[0x34], 0) << "no capabilities";
  EXPECT_EQ(config[0x3d], 1) << "INTA";
}

TEST_F(RegionAccessTest, TheClassSaysWhichInterfaceItIs) {
  for (auto [kind, interface] : {std::pair{registers::InterfaceKind::kSmic, 0},
                                 {registers::InterfaceKind::kKcs, 1},
                                 {registers::InterfaceKind::kBt, 2}}) {
    start(kind);
    Client c = greeted();
    EXPECT_EQ(c.read_region(7, 8, 4), (Bytes{0, static_cast<uint8_t>(interface), 0x07, 0x0c}));
    c.close();
    server_.reset();
  }
}

TEST_F(RegionAccessTest, Bar0IsSizedAsPciSizesIt) {
  struct Case {
    BarKind kind;
    unsigned spacing;
    uint32_t sized;
  };
  for (Case k : {Case{BarKind::kIo, 1, 0xfffffff9}, Case{BarKind::kIo, 4, 0xfffffff1},
                 Case{BarKind::kIo, 16, 0xffffffc1}, Case{BarKind::kMemory, 4, 0xfffff000}}) {
    options_.pci.bar = k.kind;
    options_.pci.spacing = k.spacing;
    start();
    Client c = greeted();
    c.write_region(7, 0x10, {0xff, 0xff, 0xff, 0xff});
    EXPECT_EQ(at<uint32_t>(c.read_region(7, 0x10, 4), 0), k.sized);
    c.write_region(7, 0x14, {0xff, 0xff, 0xff, 0xff});
    EXPECT_EQ(at<uint32_t>(c.read_region(7, 0x14, 4), 0), 0u) << "BAR1 is not there";
    c.write_region(7, 0x30, {0x00, 0xf8, 0xff, 0xff});
    EXPECT_EQ(at<uint32_t>(c.read_region(7, 0x30, 4), 0), 0u) << "there is no ROM";
    c.close();
    server_.reset();
  }
}

TEST_F(RegionAccessTest, ReadOnlyConfigurationBytesStay) {
  start();
  Client c = greeted();
  Bytes before = c.read_region(7, 0, 256);
  c.write_region(7, 0, Bytes(256, 0xff));
  Bytes after = c.read_region(7, 0, 256);
  for (size_t i = 0; i < 256; ++i) {
    bool writable = i == 4 || i == 5 || i == 0x0c || i == 0x0d || (i >= 0x10 && i < 0x14) || i == 0x3c;
    if (!writable) {
      EXPECT_EQ(after[i], before[i]) << i;
    }
  }
  EXPECT_EQ(at<uint16_t>(after, 4), 0x0547);
  EXPECT_EQ(after[0x3c], 0xff);
}

TEST_F(RegionAccessTest, AccessesPastTheEndOrToNoRegionAreRefused) {
  start();
  Client c = greeted();
  for (auto [offset, region, count] : {std::tuple<uint64_t, uint32_t, uint32_t>{8, 0, 1},
                                       {7, 0, 2},
                                       {0, 0, 9},
                                       {UINT64_MAX, 0, 1},
                                       {UINT64_MAX, 0, 2},
                                       {256, 7, 1},
                                       {255, 7, 2},
                                       {0, 7, 257},
                                       {0, 1, 1},
                                       {0, 6, 1},
                                       {0, 8, 1},
                                       {0, 9, 1},
                                       {0, 0xffffffff, 1},
                                       {0, 0, 0xffffffff}}) {
    EXPECT_EQ(c.fails(kRegionReadCmd, Client::region(offset, region, count)), kEinval)
        << offset << " " << region << " " << count;
    if (count <= 1000) {
      EXPECT_EQ(c.fails(kRegionWriteCmd, Client::region(offset, region, count, Bytes(count, 0xee))), kEinval)
          << offset << " " << region << " " << count;
    }
  }
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(RegionAccessTest, AnAccessOfNoBytesDoesNothing) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.ok(kRegionReadCmd, Client::region(0, 0, 0)), Client::region(0, 0, 0));
  EXPECT_EQ(c.ok(kRegionWriteCmd, Client::region(8, 0, 0)), Client::region(8, 0, 0));
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(RegionAccessTest, BadSizesAreRefused) {
  start();
  Client c = greeted();
  for (size_t n : {0, 1, 15, 17}) {
    Bytes p = Client::region(0, 0, 1);
    p.resize(n);
    EXPECT_EQ(c.fails(kRegionReadCmd, p), kEinval) << n;
  }
  EXPECT_EQ(c.fails(kRegionWriteCmd, Client::region(0, 0, 1)), kEinval) << "no data";
  EXPECT_EQ(c.fails(kRegionWriteCmd, Client::region(0, 0, 1, {1, 2})), kEinval) << "too much data";
  EXPECT_EQ(c.fails(kRegionWriteCmd, Client::region(0, 0, 2, {1})), kEinval) << "too little data";
  EXPECT_EQ(c.fails(kRegionWriteCmd, Bytes{0, 0, 0}), kEinval);
  Event e;
  EXPECT_EQ(c.fails(kRegionReadCmd, Client::region(0, 0, 1), {e.fd()}), kEinval) << "a descriptor";
  EXPECT_EQ(c.fails(kRegionWriteCmd, Client::region(0, 0, 1, {1}), {e.fd()}), kEinval) << "a descriptor";
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(RegionAccessTest, ACountAboveWhatTheClientCanTakeIsRefused) {
  start();
  Client c = connect();
  c.ok(kVersionCmd, Client::version(R"({"capabilities":{"max_data_xfer_size":64}})"));
  EXPECT_EQ(c.read_region(7, 0, 64).size(), 64u);
  EXPECT_EQ(c.fails(kRegionReadCmd, Client::region(0, 7, 65)), kEinval);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
