#include "host_driver/device_node/wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace bmcpair::device_node {
namespace {

using Packet = std::vector<uint8_t>;

template <class T>
Packet encoded(const T& value) {
  uint8_t out[kPacketMax];
  const size_t size = encode(value, out);
  return Packet(out, out + size);
}

Request full_request() {
  Request r;
  r.operation = Operation::kSend;
  r.netfn = 0x2e;
  r.cmd = 0xd5;
  r.data_state = DataState::kTooLong;
  r.timed = true;
  r.channel = 0x8001;
  r.value = 0x80000001;
  r.channels = 0xfedcba98;
  r.retries = -1;
  r.retry_time_ms = 0xffffffff;
  r.msgid = -0x0123456789abcdefLL;
  r.address_size = kAddressMax;
  r.data_size = kMessageDataMax;
  for (size_t i = 0; i < kAddressMax; ++i) r.address[i] = static_cast<uint8_t>(i + 1);
  for (size_t i = 0; i < kMessageDataMax; ++i) r.data[i] = static_cast<uint8_t>(i * 7);
  return r;
}

TEST(Wire, ARequestComesOutAsItWentIn) {
  const Request in = full_request();
  Request out;
  ASSERT_TRUE(decode(encoded(in), out));
  EXPECT_EQ(out.operation, in.operation);
  EXPECT_EQ(out.netfn, in.netfn);
  EXPECT_EQ(out.cmd, in.cmd);
  EXPECT_EQ(out.data_state, in.data_state);
  EXPECT_EQ(out.timed, in.timed);
  EXPECT_EQ(out.channel, in.channel);
  EXPECT_EQ(out.value, in.value);
  EXPECT_EQ(out.channels, in.channels);
  EXPECT_EQ(out.retries, in.retries);
  EXPECT_EQ(out.retry_time_ms, in.retry_time_ms);
  EXPECT_EQ(out.msgid, in.msgid);
  EXPECT_EQ(out.address_size, in.address_size);
  EXPECT_EQ(out.data_size, in.data_size);
  EXPECT_EQ(std::memcmp(out.address, in.address, kAddressMax), 0);
  EXPECT_EQ(std::memcmp(out.data, in.data, kMessageDataMax), 0);
}

TEST(Wire, AReplyComesOutAsItWentIn) {
  Reply in;
  in.error = 90;
  in.recv_type = 4;
  in.netfn = 7;
  in.cmd = 0x35;
  in.value = 0x12345678;
  in.retries = -5;
  in.retry_time_ms = 2000;
  in.msgid = INT64_MIN;
  in.address_size = 12;
  in.data_size = kMessageDataMax;
  std::memset(in.address, 0xa5, 12);
  std::memset(in.data, 0x5a, kMessageDataMax);
  Reply out;
  ASSERT_TRUE(decode(encoded(in), out));
  EXPECT_EQ(out.error, in.error);
  EXPECT_EQ(out.recv_type, in.recv_type);
  EXPECT_EQ(out.netfn, in.netfn);
  EXPECT_EQ(out.cmd, in.cmd);
  EXPECT_EQ(out.value, in.value);
  EXPECT_EQ(out.retries, in.retries);
  EXPECT_EQ(out.retry_time_ms, in.retry_time_ms);
  EXPECT_EQ(out.msgid, in.msgid);
  EXPECT_EQ(out.address_size, in.address_size);
  EXPECT_EQ(std::memcmp(out.address, in.address, kAddressMax), 0);
  EXPECT_EQ(std::memcmp(out.data, in.data, kMessageDataMax), 0);
}

TEST(Wire, GreetingsComeOutAsTheyWentIn) {
  Hello hello;
  hello.device = 0x1234;
  Hello hello_out;
  ASSERT_TRUE(decode(encoded(hello), hello_out));
  EXPECT_EQ(hello_out, hello);

  HelloReply reply;
  reply.error = 16;
  const std::string text(kTextMax + 50, 'x');
  reply.set_text(text.data(), text.size());
  HelloReply reply_out;
  ASSERT_TRUE(decode(encoded(reply), reply_out));
  EXPECT_EQ(reply_out.error, 16);
  EXPECT_EQ(std::string(reply_out.text, reply_out.text_size), text.substr(0, kTextMax));
}

TEST(Wire, VerdictsAreOneByteOfTwoValues) {
  Verdict out{};
  for (Verdict v : {Verdict::kTaken, Verdict::kLeft}) {
    ASSERT_TRUE(decode(encoded(v), out));
    EXPECT_EQ(out, v);
  }
  EXPECT_FALSE(decode(Packet{}, out));
  EXPECT_FALSE(decode(Packet{0}, out));
  EXPECT_FALSE(decode(Packet{3}, out));
  EXPECT_FALSE(decode(Packet{1, 1}, out));
}

TEST(Wire, APacketThatIsTooShortOrTooLongIsRefusedAtEveryLength) {
  const Packet request = encoded(full_request());
  for (size_t size = 0; size < request.size(); ++size) {
    Request out;
    EXPECT_FALSE(decode(Packet(request.begin(), request.begin() + static_cast<long>(size)), out)) << size;
  }
  Packet longer = request;
  longer.push_back(0);
  Request out;
  EXPECT_FALSE(decode(longer, out));

  const Packet hello = encoded(Hello{});
  for (size_t size = 0; size < hello.size(); ++size) {
    Hello h;
    EXPECT_FALSE(decode(Packet(hello.begin(), hello.begin() + static_cast<long>(size)), h)) << size;
  }
}

TEST(Wire, AGreetingOfALaterVersionMayBeLonger) {
  Hello hello;
  hello.version = kProtocolVersion + 1;
  Packet packet = encoded(hello);
  packet.insert(packet.end(), 20, 0xee);
  Hello out;
  ASSERT_TRUE(decode(packet, out));
  EXPECT_EQ(out.version, kProtocolVersion + 1);
  HelloReply reply;
  reply.version = kProtocolVersion + 1;
  packet = encoded(reply);
  packet.insert(packet.end(), 20, 0xee);
  HelloReply reply_out;
  ASSERT_TRUE(decode(packet, reply_out));
  EXPECT_EQ(reply_out.version, kProtocolVersion + 1);
  // Of this version it may not.
  packet = encoded(Hello{});
  packet.push_back(0);
  EXPECT_FALSE(decode(packet, out));
}

TEST(Wire, CountsThatLieAndValuesThatDoNotExistAreRefused) {
  const Packet good = encoded(full_request());
  auto with = [&](size_t at, uint8_t value) {
    Packet p = good;
    p[at] = value;
    Request out;
    return decode(p, out);
  };
  ASSERT_TRUE(with(0, good[0]));
  EXPECT_FALSE(with(0, 0));
  EXPECT_FALSE(with(0, static_cast<uint8_t>(kOperationLast) + 1));
  EXPECT_FALSE(with(3, 3));
  EXPECT_FALSE(with(4, 2));
  const size_t address_size_at = 5 + 2 + 4 * 4 + 8;
  ASSERT_EQ(good[address_size_at], kAddressMax);
  EXPECT_FALSE(with(address_size_at, kAddressMax + 1));
  EXPECT_FALSE(with(address_size_at, kAddressMax - 1));
  EXPECT_FALSE(with(address_size_at + 1, 0xff));
  EXPECT_FALSE(with(address_size_at + 2, 0xff));
  EXPECT_FALSE(with(address_size_at + 3, 0xff));

  Packet reply = encoded(HelloReply{});
  reply[12] = 1;  // a text that is not there
  HelloReply out;
  EXPECT_FALSE(decode(reply, out));
}

TEST(Wire, WhateverIsDecodedEncodesToTheSameBytes) {
  std::mt19937 random(7);
  unsigned accepted = 0;
  for (int n = 0; n < 200'000; ++n) {
    Packet packet = encoded(full_request());
    for (unsigned flips = random() % 4; flips > 0; --flips) packet[random() % 35] = static_cast<uint8_t>(random());
    if (random() % 8 == 0) packet.resize(random() % (packet.size() + 1));
    Request out;
    if (!decode(packet, out)) continue;
    ++accepted;
    EXPECT_EQ(encoded(out), packet);
  }
  EXPECT_GT(accepted, 1000u);
}

}  // namespace
}  // namespace bmcpair::device_node
