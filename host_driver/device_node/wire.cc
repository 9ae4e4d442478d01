#include "host_driver/device_node/wire.h"

namespace bmcpair::device_node {
namespace {

constexpr uint8_t kMagic[8] = {'B', 'M', 'C', 'I', 'P', 'M', 'I', 0};

class Writer {
 public:
  explicit Writer(std::span<uint8_t, kPacketMax> out) : out_(out) {}
  template <class T>
  void put(T value) {
    auto v = static_cast<uint64_t>(value);
    for (size_t i = 0; i < sizeof(T); ++i, v >>= 8) out_[size_++] = static_cast<uint8_t>(v);
  }
  void put_bytes(const void* bytes, size_t size) {
    const auto* from = static_cast<const uint8_t*>(bytes);
    for (size_t i = 0; i < size; ++i) out_[size_++] = from[i];
  }
  size_t size() const { return size_; }

 private:
  std::span<uint8_t, kPacketMax> out_;
  size_t size_ = 0;
};

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> in) : in_(in) {}
  template <class T>
  void get(T& value) {
    uint64_t v = 0;
    for (size_t i = 0; i < sizeof(T); ++i) v |= static_cast<uint64_t>(byte()) << (8 * i);
    value = static_cast<T>(v);
  }
  void get_bytes(void* bytes, size_t size) {
    auto* to = static_cast<uint8_t*>(bytes);
    for (size_t i = 0; i < size; ++i) to[i] = byte();
  }
  size_t left() const { return in_.size() - at_; }
  bool good() const { return good_; }
  bool finished() const { return good_ && left() == 0; }

 private:
  uint8_t byte() {
    if (at_ < in_.size()) return in_[at_++];
    good_ = false;
    return 0;
  }
  std::span<const uint8_t> in_;
  size_t at_ = 0;
  bool good_ = true;
};

uint16_t at_most(uint16_t value, size_t max) { return value > max ? static_cast<uint16_t>(max) : value; }

bool magic(Reader& reader) {
  uint8_t seen[sizeof kMagic];
  reader.get_bytes(seen, sizeof seen);
  bool same = reader.good();
  for (size_t i = 0; i < sizeof seen; ++i) same = same && seen[i] == kMagic[i];
  return same;
}

}  // namespace

void HelloReply::set_text(const char* s, size_t size) {
  text_size = static_cast<uint16_t>(size > kTextMax ? kTextMax : size);
  for (size_t i = 0; i < text_size; ++i) text[i] = s[i];
}

size_t encode(const Hello& hello, std::span<uint8_t, kPacketMax> out) {
  Writer w(out);
  w.put_bytes(kMagic, sizeof kMagic);
  w.put(hello.version);
  w.put(hello.device);
  return w.size();
}

size_t encode(const HelloReply& reply, std::span<uint8_t, kPacketMax> out) {
  Writer w(out);
  w.put_bytes(kMagic, sizeof kMagic);
  w.put(reply.version);
  w.put(reply.error);
  const uint16_t size = at_most(reply.text_size, kTextMax);
  w.put(size);
  w.put_bytes(reply.text, size);
  return w.size();
}

size_t encode(const Request& r, std::span<uint8_t, kPacketMax> out) {
  Writer w(out);
  const uint16_t address_size = at_most(r.address_size, kAddressMax);
  const uint16_t data_size = at_most(r.data_size, kMessageDataMax);
  w.put(static_cast<uint8_t>(r.operation));
  w.put(r.netfn);
  w.put(r.cmd);
  w.put(static_cast<uint8_t>(r.data_state));
  w.put(static_cast<uint8_t>(r.timed));
  w.put(r.channel);
  w.put(r.value);
  w.put(r.channels);
  w.put(r.retries);
  w.put(r.retry_time_ms);
  w.put(r.msgid);
  w.put(address_size);
  w.put(data_size);
  w.put_bytes(r.address, address_size);
  w.put_bytes(r.data, data_size);
  return w.size();
}

size_t encode(const Reply& r, std::span<uint8_t, kPacketMax> out) {
  Writer w(out);
  const uint16_t address_size = at_most(r.address_size, kAddressMax);
  const uint16_t data_size = at_most(r.data_size, kMessageDataMax);
  w.put(r.error);
  w.put(r.recv_type);
  w.put(r.netfn);
  w.put(r.cmd);
  w.put(r.value);
  w.put(r.retries);
  w.put(r.retry_time_ms);
  w.put(r.msgid);
  w.put(address_size);
  w.put(data_size);
  w.put_bytes(r.address, address_size);
  w.put_bytes(r.data, data_size);
  return w.size();
}

size_t encode(Verdict verdict, std::span<uint8_t, kPacketMax> out) {
  out[0] = static_cast<uint8_t>(verdict);
  return 1;
}

bool decode(std::span<const uint8_t> packet, Hello& hello) {
  Reader r(packet);
  if (!magic(r)) return false;
  r.get(hello.version);
  r.get(hello.device);
  // What a later version appends is for those who know it.
  return r.good() && (hello.version != kProtocolVersion || r.finished());
}

bool decode(std::span<const uint8_t> packet, HelloReply& reply) {
  Reader r(packet);
  if (!magic(r)) return false;
  r.get(reply.version);
  r.get(reply.error);
  r.get(reply.text_size);
  if (!r.good() || reply.text_size > kTextMax || reply.text_size > r.left()) return false;
  r.get_bytes(reply.text, reply.text_size);
  return r.good() && (reply.version != kProtocolVersion || r.finished());
}

bool decode(std::span<const uint8_t> packet, Request& request) {
  Reader r(packet);
  uint8_t operation = 0, data_state = 0, timed = 0;
  r.get(operation);
  r.get(request.netfn);
  r.get(request.cmd);
  r.get(data_state);
  r.get(timed);
  r.get(request.channel);
  r.get(request.value);
  r.get(request.channels);
  r.get(request.retries);
  r.get(request.retry_time_ms);
  r.get(request.msgid);
  r.get(request.address_size);
  r.get(request.data_size);
  if (!r.good() || operation == 0 || operation > static_cast<uint8_t>(kOperationLast)) return false;
  if (data_state > static_cast<uint8_t>(DataState::kFault) || timed > 1) return false;
  if (request.address_size > kAddressMax || request.data_size > kMessageDataMax) return false;
  request.operation = static_cast<Operation>(operation);
  request.data_state = static_cast<DataState>(data_state);
  request.timed = timed != 0;
  r.get_bytes(request.address, request.address_size);
  r.get_bytes(request.data, request.data_size);
  return r.finished();
}

bool decode(std::span<const uint8_t> packet, Reply& reply) {
  Reader r(packet);
  r.get(reply.error);
  r.get(reply.recv_type);
  r.get(reply.netfn);
  r.get(reply.cmd);
  r.get(reply.value);
  r.get(reply.retries);
  r.get(reply.retry_time_ms);
  r.get(reply.msgid);
  r.get(reply.address_size);
  r.get(reply.data_size);
  if (!r.good() || reply.address_size > kAddressMax || reply.data_size > kMessageDataMax) return false;
  r.get_bytes(reply.address, reply.address_size);
  r.get_bytes(reply.data, reply.data_size);
  return r.finished();
}

bool decode(std::span<const uint8_t> packet, Verdict& verdict) {
  if (packet.size() != 1) return false;
  if (packet[0] != static_cast<uint8_t>(Verdict::kTaken) && packet[0] != static_cast<uint8_t>(Verdict::kLeft)) return false;
  verdict = static_cast<Verdict>(packet[0]);
  return true;
}

}  // namespace bmcpair::device_node
