#include "bmc_emu/transport/grpc/ops.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "proto/rpc/register_bus.pb.h"

namespace bmcpair::transport {
namespace {

struct Refusal {
  v1::OpError::Code code;
  std::string message;
};
using Check = std::optional<Refusal>;

Check check_offset(uint32_t offset, uint16_t registers) {
  if (offset < registers) return std::nullopt;
  return Refusal{v1::OpError::CODE_OFFSET, "offset " + std::to_string(offset) + ": there are " +
                                               std::to_string(registers) + " registers"};
}

Check check_count(const char* field, uint64_t count) {
  if (count == 0) return Refusal{v1::OpError::CODE_INVALID, std::string(field) + " is 0"};
  if (count <= v1::LIMITS_BURST_BYTES) return std::nullopt;
  return Refusal{v1::OpError::CODE_LIMIT, std::string(field) + " " + std::to_string(count) + ": at most " +
                                              std::to_string(static_cast<int>(v1::LIMITS_BURST_BYTES)) + " bytes"};
}

Check check_id(uint64_t id, const char* what, bool in_batch) {
  if (id != 0 || in_batch) return std::nullopt;
  return Refusal{v1::OpError::CODE_INVALID, std::string(what) + " has no id"};
}

Check check_op(const v1::Op& op, uint16_t registers, bool in_batch) {
  switch (op.action_case()) {
    case v1::Op::kRead:
      if (auto r = check_id(op.id(), "a read", in_batch)) return r;
      return check_offset(op.read().offset(), registers);
    case v1::Op::kWrite:
      if (op.write().value() > 0xff)
        return Refusal{v1::OpError::CODE_INVALID, "value " + std::to_string(op.write().value()) + " is above 255"};
      return check_offset(op.write().offset(), registers);
    case v1::Op::kBurstRead:
      if (auto r = check_id(op.id(), "a burst read", in_batch)) return r;
      if (auto r = check_count("count", op.burst_read().count())) return r;
      return check_offset(op.burst_read().offset(), registers);
    case v1::Op::kBurstWrite:
      if (auto r = check_count("data", op.burst_write().data().size())) return r;
      return check_offset(op.burst_write().offset(), registers);
    case v1::Op::kCountedRead:
      if (auto r = check_id(op.id(), "a counted read", in_batch)) return r;
      if (auto r = check_count("max_bytes", op.counted_read().max_bytes())) return r;
      return check_offset(op.counted_read().offset(), registers);
    case v1::Op::kBatch: {
      if (in_batch) return Refusal{v1::OpError::CODE_INVALID, "a batch inside a batch"};
      if (op.batch().ops().empty()) return Refusal{v1::OpError::CODE_INVALID, "an empty batch"};
      int n = 0;
      bool reads = false;
      for (const v1::Op& inner : op.batch().ops()) {
        if (auto r = check_op(inner, registers, true)) {
          r->message = "op " + std::to_string(n) + " of the batch: " + r->message;
          return r;
        }
        reads |= inner.has_read() || inner.has_burst_read() || inner.has_counted_read();
        ++n;
      }
      return reads ? check_id(op.id(), "a batch that reads", false) : std::nullopt;
    }
    case v1::Op::ACTION_NOT_SET:
      break;
  }
  return Refusal{v1::OpError::CODE_INVALID, "no action that is known here"};
}

// What an op counts for the bounds of its message, whether or not it is well formed.
struct Weight {
  uint64_t ops = 0;
  uint64_t bytes = 0;

  void add(const v1::Op& op, bool in_batch) {
    ++ops;
    switch (op.action_case()) {
      case v1::Op::kRead:
      case v1::Op::kWrite: ++bytes; break;
      case v1::Op::kBurstRead: bytes += std::min<uint64_t>(op.burst_read().count(), v1::LIMITS_BURST_BYTES); break;
      case v1::Op::kBurstWrite: bytes += op.burst_write().data().size(); break;
      case v1::Op::kCountedRead:
        bytes += std::min<uint64_t>(op.counted_read().max_bytes(), v1::LIMITS_BURST_BYTES);
        break;
      case v1::Op::kBatch:
        // One level is enough: a batch inside a batch is refused before anything of it counts.
        if (!in_batch)
          for (const v1::Op& inner : op.batch().ops()) add(inner, true);
        break;
      case v1::Op::ACTION_NOT_SET: break;
    }
  }
};

using Buffer = std::array<uint8_t, v1::LIMITS_BURST_BYTES>;

// Executes a checked op that is not a batch. True when it read.
bool execute(const v1::Op& op, registers::RegisterPort& port, std::string* data) {
  Buffer buffer;
  switch (op.action_case()) {
    case v1::Op::kRead:
      data->assign(1, static_cast<char>(port.read(static_cast<uint16_t>(op.read().offset()))));
      return true;
    case v1::Op::kWrite:
      port.write(static_cast<uint16_t>(op.write().offset()), static_cast<uint8_t>(op.write().value()));
      return false;
    case v1::Op::kBurstRead: {
      std::span<uint8_t> out(buffer.data(), op.burst_read().count());
      port.read_burst(static_cast<uint16_t>(op.burst_read().offset()), out);
      data->assign(reinterpret_cast<const char*>(out.data()), out.size());
      return true;
    }
    case v1::Op::kBurstWrite: {
      const std::string& in = op.burst_write().data();
      port.write_burst(static_cast<uint16_t>(op.burst_write().offset()),
                       {reinterpret_cast<const uint8_t*>(in.data()), in.size()});
      return false;
    }
    case v1::Op::kCountedRead: {
      std::span<uint8_t> out(buffer.data(), op.counted_read().max_bytes());
      size_t n = port.read_counted(static_cast<uint16_t>(op.counted_read().offset()), out);
      data->assign(reinterpret_cast<const char*>(out.data()), n);
      return true;
    }
    case v1::Op::kBatch:
    case v1::Op::ACTION_NOT_SET: break;
  }
  return false;
}

}  // namespace

Status check_hello(const v1::Hello& hello) {
  if (hello.protocol_version() != kProtocolVersion)
    return Error{ErrorCode::kNotSupported, "RegisterBus protocol version " + std::to_string(hello.protocol_version()) +
                                               " is not spoken here, version " + std::to_string(kProtocolVersion) +
                                               " is"};
  for (const auto& [field, text] : {std::pair<const char*, const std::string&>{"path", hello.path()},
                                    std::pair<const char*, const std::string&>{"who", hello.who()}}) {
    if (text.size() > v1::LIMITS_NAME_BYTES)
      return Error{ErrorCode::kLimit, "hello." + std::string(field) + " has " + std::to_string(text.size()) +
                                          " bytes, at most " +
                                          std::to_string(static_cast<int>(v1::LIMITS_NAME_BYTES))};
    for (char c : text)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        return Error{ErrorCode::kInvalidArgument, "hello." + std::string(field) + " has a control character in it"};
  }
  return {};
}

Status execute_ops(const v1::Ops& ops, registers::RegisterPort& port, v1::Results& results, OpCounts& counts) {
  if (ops.ops().empty()) return Error{ErrorCode::kInvalidArgument, "ops.ops is empty"};
  Weight weight;
  for (const v1::Op& op : ops.ops()) weight.add(op, false);
  if (weight.ops > v1::LIMITS_OPS_PER_MESSAGE)
    return Error{ErrorCode::kLimit, std::to_string(weight.ops) + " ops in one message, at most " +
                                        std::to_string(static_cast<int>(v1::LIMITS_OPS_PER_MESSAGE))};
  if (weight.bytes > v1::LIMITS_BYTES_PER_MESSAGE)
    return Error{ErrorCode::kLimit, std::to_string(weight.bytes) + " bytes read or written by one message, at most " +
                                        std::to_string(static_cast<int>(v1::LIMITS_BYTES_PER_MESSAGE))};

  const uint16_t registers = registers::register_count(port.kind());
  std::string data;
  for (const v1::Op& op : ops.ops()) {
    if (auto refusal = check_op(op, registers, false)) {
      ++counts.refused;
      v1::Result* result = results.add_results();
      result->set_id(op.id());
      result->mutable_error()->set_code(refusal->code);
      result->mutable_error()->set_message(std::move(refusal->message));
      continue;
    }
    if (op.has_batch()) {
      v1::Result* result = nullptr;
      if (op.id() != 0) {
        result = results.add_results();
        result->set_id(op.id());
      }
      for (const v1::Op& inner : op.batch().ops()) {
        ++counts.executed;
        data.clear();
        // check_op has seen to it that a batch that reads has an id.
        if (execute(inner, port, &data)) {
          v1::Result* read = result->add_batch();
          read->set_id(inner.id());
          read->set_data(std::move(data));
        }
      }
      continue;
    }
    ++counts.executed;
    data.clear();
    execute(op, port, &data);
    if (op.id() != 0) {
      v1::Result* result = results.add_results();
      result->set_id(op.id());
      result->set_data(std::move(data));
    }
  }
  return {};
}

}  // namespace bmcpair::transport
