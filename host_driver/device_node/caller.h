// One ioctl on /dev/ipmiN as a caller sees it: what is copied from and to his memory, in Linux's order, and what each thing
// that can be wrong is called (reference F.4). Pure: memory and the way to the server are arguments. No allocation and no
// C++ runtime: the preloaded library uses it.
#pragma once

#include <cerrno>
#include <cstdint>

#include "host_driver/device_node/abi.h"
#include "host_driver/device_node/wire.h"

namespace bmcpair::device_node {

// Memory:
//   bool copy_from(void* to, uint64_t from, size_t size)        false: EFAULT; size 0 is always good
//   bool copy_to(uint64_t to, const void* from, size_t size)
// Link, each 0 or an errno of its own (ENODEV: there is no server any more):
//   int transact(const Request& request, Reply& reply)
//   int receive(Reply& reply)                                   a message that is this caller's until finish()
//   int finish(Verdict verdict)
template <class Abi, class Memory, class Link>
class Caller {
 public:
  Caller(Memory& memory, Link& link) : memory_(memory), link_(link) {}

  // 0 or an errno.
  int ioctl(uint32_t number, uint64_t argument) {
    using N = IoctlOf<Abi>;
    switch (number) {
      case N::kReceiveTruncated: return receive(argument, true);
      case N::kReceive: return receive(argument, false);
      case N::kSend: return send(argument);
      case N::kSendTimed: return send_timed(argument);
      case N::kRegister: return command(Operation::kRegister, argument);
      case N::kUnregister: return command(Operation::kUnregister, argument);
      case N::kRegisterChannels: return command_channels(Operation::kRegister, argument);
      case N::kUnregisterChannels: return command_channels(Operation::kUnregister, argument);
      case N::kSetGetsEvents: return set_value(Operation::kSetGetsEvents, argument);
      case N::kSetMyAddress: return set_value(Operation::kSetMyAddress, argument);
      case N::kGetMyAddress: return get_value(Operation::kGetMyAddress, argument);
      case N::kSetMyLun: return set_value(Operation::kSetMyLun, argument);
      case N::kGetMyLun: return get_value(Operation::kGetMyLun, argument);
      case N::kSetMyChannelAddress: return set_channel(Operation::kSetMyAddress, argument);
      case N::kGetMyChannelAddress: return get_channel(Operation::kGetMyAddress, argument);
      case N::kSetMyChannelLun: return set_channel(Operation::kSetMyLun, argument);
      case N::kGetMyChannelLun: return get_channel(Operation::kGetMyLun, argument);
      case N::kSetTiming: return set_timing(argument);
      case N::kGetTiming: return get_timing(argument);
      case N::kGetMaintenanceMode: return get_value(Operation::kGetMaintenanceMode, argument);
      case N::kSetMaintenanceMode: return set_value(Operation::kSetMaintenanceMode, argument);
      default: return ENOTTY;
    }
  }

 private:
  int transact(Request& request) {
    const int error = link_.transact(request, reply_);
    return error ? error : reply_.error;
  }

  int send(uint64_t argument) {
    RequestOf<Abi> req;
    if (!memory_.copy_from(&req, argument, sizeof req)) return EFAULT;
    return send(req);
  }

  int send_timed(uint64_t argument) {
    TimedRequestOf<Abi> timed;
    if (!memory_.copy_from(&timed, argument, sizeof timed)) return EFAULT;
    request_.timed = true;
    request_.retries = timed.retries;
    request_.retry_time_ms = timed.retry_time_ms;
    return send(timed.req);
  }

  int send(const RequestOf<Abi>& req) {
    if (req.addr_len > kAddressMax) return EINVAL;
    if (!memory_.copy_from(request_.address, req.addr, req.addr_len)) return EFAULT;
    request_.operation = Operation::kSend;
    request_.address_size = static_cast<uint16_t>(req.addr_len);
    request_.msgid = req.msgid;
    request_.netfn = req.msg.netfn;
    request_.cmd = req.msg.cmd;
    // A null pointer means no data, whatever the length.
    if (req.msg.data != 0) {
      if (req.msg.data_len > kMessageDataMax) {
        request_.data_state = DataState::kTooLong;
      } else if (!memory_.copy_from(request_.data, req.msg.data, req.msg.data_len)) {
        request_.data_state = DataState::kFault;
      } else {
        request_.data_size = req.msg.data_len;
      }
    }
    return transact(request_);
  }

  int receive(uint64_t argument, bool truncate) {
    ReceivedOf<Abi> out;
    if (!memory_.copy_from(&out, argument, sizeof out)) return EFAULT;
    int error = link_.receive(reply_);
    if (error) return error;
    if (reply_.error) return reply_.error;
    int verdict = hand_over(argument, truncate, out);
    const bool taken = verdict == 0 || (truncate && verdict == EMSGSIZE);
    error = link_.finish(taken ? Verdict::kTaken : Verdict::kLeft);
    // Who has the message has it, even if the server has gone since.
    return taken ? verdict : error ? error : verdict;
  }

  int hand_over(uint64_t argument, bool truncate, ReceivedOf<Abi>& out) {
    if (out.addr_len < reply_.address_size) return EINVAL;
    if (!memory_.copy_to(out.addr, reply_.address, reply_.address_size)) return EFAULT;
    out.addr_len = reply_.address_size;
    out.recv_type = reply_.recv_type;
    out.msgid = static_cast<typename Abi::Long>(reply_.msgid);
    out.msg.netfn = reply_.netfn;
    out.msg.cmd = reply_.cmd;
    int result = 0;
    uint16_t size = reply_.data_size;
    if (out.msg.data_len < size) {
      if (!truncate) return EMSGSIZE;
      result = EMSGSIZE;
      size = out.msg.data_len;
    }
    if (!memory_.copy_to(out.msg.data, reply_.data, size)) return EFAULT;
    out.msg.data_len = size;
    if (!memory_.copy_to(argument, &out, sizeof out)) return EFAULT;
    return result;
  }

  int command(Operation operation, uint64_t argument) {
    CommandSpec spec;
    if (!memory_.copy_from(&spec, argument, sizeof spec)) return EFAULT;
    request_.operation = operation;
    request_.netfn = spec.netfn;
    request_.cmd = spec.cmd;
    request_.channels = kEveryChannel;
    return transact(request_);
  }

  int command_channels(Operation operation, uint64_t argument) {
    CommandSpecChannels spec;
    if (!memory_.copy_from(&spec, argument, sizeof spec)) return EFAULT;
    request_.operation = operation;
    request_.netfn = static_cast<uint8_t>(spec.netfn);
    request_.cmd = static_cast<uint8_t>(spec.cmd);
    request_.channels = spec.channels;
    return transact(request_);
  }

  // An int or an unsigned int; channel 0 where one matters.
  int set_value(Operation operation, uint64_t argument) {
    if (!memory_.copy_from(&request_.value, argument, sizeof request_.value)) return EFAULT;
    request_.operation = operation;
    return transact(request_);
  }

  int get_value(Operation operation, uint64_t argument) {
    request_.operation = operation;
    if (int error = transact(request_)) return error;
    return memory_.copy_to(argument, &reply_.value, sizeof reply_.value) ? 0 : EFAULT;
  }

  int set_channel(Operation operation, uint64_t argument) {
    ChannelValue value;
    if (!memory_.copy_from(&value, argument, sizeof value)) return EFAULT;
    request_.operation = operation;
    request_.channel = value.channel;
    request_.value = value.value;
    return transact(request_);
  }

  int get_channel(Operation operation, uint64_t argument) {
    ChannelValue value;
    if (!memory_.copy_from(&value, argument, sizeof value)) return EFAULT;
    request_.operation = operation;
    request_.channel = value.channel;
    if (int error = transact(request_)) return error;
    value.value = static_cast<uint8_t>(reply_.value);
    return memory_.copy_to(argument, &value, sizeof value) ? 0 : EFAULT;
  }

  int set_timing(uint64_t argument) {
    TimingParameters timing;
    if (!memory_.copy_from(&timing, argument, sizeof timing)) return EFAULT;
    request_.operation = Operation::kSetTiming;
    request_.retries = timing.retries;
    request_.retry_time_ms = timing.retry_time_ms;
    return transact(request_);
  }

  int get_timing(uint64_t argument) {
    request_.operation = Operation::kGetTiming;
    if (int error = transact(request_)) return error;
    const TimingParameters timing{reply_.retries, reply_.retry_time_ms};
    return memory_.copy_to(argument, &timing, sizeof timing) ? 0 : EFAULT;
  }

  Memory& memory_;
  Link& link_;
  Request request_;
  Reply reply_;
};

}  // namespace bmcpair::device_node
