#include "bmc_emu/firmware/event.h"

#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/messaging.h"
#include "bmc_emu/firmware/sel.h"
#include "bmc_emu/firmware/sensor.h"
#include "bmc_emu/firmware/state.h"
#include "proto/ipmi/sel.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr uint8_t kCmdPlatformEvent = 0x02;
constexpr uint8_t kEvmRev10 = 0x03;
constexpr uint8_t kEvmRev15 = 0x04;

// What happened, for people.
std::string text_of(const State& state, const SelPart::Record& bytes) {
  auto record = ipmi::decode_sel_record(bytes);
  if (!record) return {};
  std::string text;
  ipmi::SdrSensor sdr;
  const ipmi::SdrSensor* known = nullptr;
  if (record->generator_low == state.config.identity.ipmb_address) {
    size_t index = state.sensor->find(state, record->generator_high & 3, record->sensor_number);
    if (index != SensorPart::kNone) {
      sdr = sensor_sdr(state.config.sensors[index], record->generator_low);
      known = &sdr;
      text = sdr.name + ": ";
    }
  }
  text += ipmi::sel_event_text(*record, known);
  return text + (record->deassertion() ? ", deasserted" : ", asserted");
}

}  // namespace

Status EventPart::load(State& state, Instant) {
  receiver_address_ = state.config.identity.ipmb_address;
  return {};
}

void EventPart::on_reset(State& state, bool cold, Instant) {
  if (!cold) return;
  receiver_address_ = state.config.identity.ipmb_address;
  receiver_lun_ = 0;
}

void EventPart::set_receiver(uint8_t address, uint8_t lun) {
  receiver_address_ = address;
  receiver_lun_ = lun;
}

Status EventPart::deliver(State& state, const PlatformEvent& event, Instant now) {
  uint32_t seconds = state.sel->time(state, now);
  SelPart::Record record{0,
                         0,
                         ipmi::kSelSystemEvent,
                         static_cast<uint8_t>(seconds),
                         static_cast<uint8_t>(seconds >> 8),
                         static_cast<uint8_t>(seconds >> 16),
                         static_cast<uint8_t>(seconds >> 24),
                         event.generator_id_low,
                         event.generator_id_high,
                         event.evm_rev,
                         event.sensor_type,
                         event.sensor_number,
                         event.event_dir_type,
                         event.data1,
                         event.data2,
                         event.data3};
  Status logged;
  if ((state.messaging->global_enables() & kEnableSystemEventLog) != 0) {
    if (auto id = state.sel->add(state, record, now)) {
      record[0] = static_cast<uint8_t>(*id);
      record[1] = static_cast<uint8_t>(*id >> 8);
    } else if (id.error().code != ErrorCode::kLimit) {
      logged = id.error();
    }
  }
  state.messaging->offer_event(state, record);
  if (state.observer != nullptr) {
    state.notify({Change::Kind::kEvent, event.sensor_number, Duration{0}, text_of(state, record)});
  }
  return logged;
}

void EventPart::raise(State& state, const PlatformEvent& event, Instant now) { (void)deliver(state, event, now); }

void EventPart::generate(State& state, const PlatformEvent& event, Instant now) {
  if (!generation_enabled()) return;
  uint8_t self = state.config.identity.ipmb_address;
  if (receiver_address_ == self) {
    raise(state, event, now);
    return;
  }
  // §29.3: the IPMB form has no generator id, the requester's address and LUN are it.
  sequence_ = (sequence_ + 1) & 0x3f;
  Bytes message{receiver_address_, ipmi::netfn_lun(ipmi::kNetFnSensorEvent, receiver_lun_)};
  message.push_back(ipmi::checksum(message));
  Bytes body{self,
             static_cast<uint8_t>(sequence_ << 2 | (event.generator_id_high & 3)),
             kCmdPlatformEvent,
             event.evm_rev,
             event.sensor_type,
             event.sensor_number,
             event.event_dir_type,
             event.data1,
             event.data2,
             event.data3};
  body.push_back(ipmi::checksum(body));
  message.insert(message.end(), body.begin(), body.end());
  (void)state.messaging->send_ipmb(state, message, false, now);
}

namespace {

ipmi::Response set_event_receiver(Call& call) {  // §29.1
  uint8_t address = call.in.u8();
  uint8_t lun = call.in.u8();
  bool disable = address == EventPart::kReceiverDisabled;
  if ((lun & 0xfc) != 0 || (!disable && (address & 1) != 0)) return fail(CompletionCode::kInvalidDataField);
  call.state.event->set_receiver(address, lun);
  // The command re-arms all internal sensors: conditions that hold are told to the new receiver.
  if (!disable) call.state.sensor->rearm_all(call.state, call.now);
  return ok();
}

ipmi::Response get_event_receiver(Call& call) {  // §29.2
  return ok({call.state.event->receiver_address(), call.state.event->receiver_lun()});
}

ipmi::Response platform_event(Call& call) {  // §29.3
  // System software says who it is; on the IPMB the requester's address does.
  bool system_interface = call.context.channel == kChannelSystemInterface;
  size_t size = call.in.remaining();
  size_t generator = system_interface ? 1 : 0;
  // Event data bytes 2 and 3 may be absent (table 29-6); in a record they are FFh then.
  if (size < generator + 5 || size > generator + 7) return fail(CompletionCode::kRequestLengthInvalid);
  PlatformEvent event;
  if (system_interface) {
    event.generator_id_low = call.in.u8();
    event.generator_id_high = 0;
  } else {
    event.generator_id_low = call.context.requester_address;
    event.generator_id_high = static_cast<uint8_t>(call.context.channel << 4 | (call.context.requester_lun & 3));
  }
  event.evm_rev = call.in.u8();
  event.sensor_type = call.in.u8();
  event.sensor_number = call.in.u8();
  event.event_dir_type = call.in.u8();
  event.data1 = call.in.u8();
  if (call.in.remaining() > 0) event.data2 = call.in.u8();
  if (call.in.remaining() > 0) event.data3 = call.in.u8();
  if (event.evm_rev != kEvmRev10 && event.evm_rev != kEvmRev15) return fail(CompletionCode::kInvalidDataField);
  if (auto done = call.state.event->deliver(call.state, event, call.now); !done) {
    return fail(CompletionCode::kUnspecified);
  }
  return ok();
}

}  // namespace

std::vector<Command> event_commands() {
  constexpr uint8_t kNetFn = ipmi::kNetFnSensorEvent;
  return {
      {kNetFn, 0x00, "Set Event Receiver", Privilege::kAdministrator, 2, 2, kLun0, set_event_receiver},
      {kNetFn, 0x01, "Get Event Receiver", Privilege::kUser, 0, 0, kLun0, get_event_receiver},
      {kNetFn, kCmdPlatformEvent, "Platform Event Message", Privilege::kOperator, 5, 8, kLun0, platform_event},
  };
}

}  // namespace bmcpair::firmware
