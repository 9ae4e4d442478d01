#include "bmc_emu/firmware/sdr.h"

#include <algorithm>

#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/sel.h"
#include "bmc_emu/firmware/sensor.h"
#include "bmc_emu/firmware/state.h"
#include "proto/ipmi/sdr.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr std::string_view kTable = "sdr";               // added records by id
constexpr std::string_view kErasedTable = "sdr_erased";  // records of the configuration that software deleted
constexpr std::string_view kMetaTable = "sdr_meta";
constexpr uint32_t kMetaKey = 0;

constexpr uint8_t kVersion = 0x51;
constexpr uint16_t kFirst = 0x0000;
constexpr uint16_t kLast = 0xffff;
constexpr uint32_t kTimeNever = 0xffffffff;
constexpr size_t kUnitBytes = 16;  // allocation unit
constexpr uint8_t kLengthMismatch = 0x80;  // Partial Add SDR

constexpr uint8_t kEntitySystemBoard = 0x07;
constexpr uint8_t kEntityManagementModule = 0x06;

// FNV-1a: which record it was that software deleted, in case the configuration has changed since.
uint32_t hash_of(ByteView record) {
  uint32_t hash = 2166136261u;
  for (uint8_t b : record.subspan(2)) hash = (hash ^ b) * 16777619u;
  return hash;
}

void set_id(Bytes& record, uint16_t id) {
  record[0] = static_cast<uint8_t>(id);
  record[1] = static_cast<uint8_t>(id >> 8);
}

}  // namespace

size_t SdrPart::base_count(const State& state) const {
  return state.config.sensors.size() + frus_.size() + controllers_.size() + dump_.size();
}

Bytes SdrPart::base_record(const State& state, size_t index) const {
  const BmcConfig& config = state.config;
  auto id = static_cast<uint16_t>(index + 1);
  Bytes record;
  if (index < config.sensors.size()) {
    record = ipmi::encode(sensor_sdr(config.sensors[index], config.identity.ipmb_address));
  } else if (index -= config.sensors.size(); index < frus_.size()) {
    const FruConfig& fru = config.frus[frus_[index]];
    ipmi::SdrFruLocator locator;
    locator.access_address = config.identity.ipmb_address;
    locator.fru_id = fru.id;
    locator.entity_id = kEntitySystemBoard;
    locator.entity_instance = static_cast<uint8_t>(fru.id % 0x5f + 1);
    locator.name = fru.name;
    record = ipmi::encode(locator);
  } else if (index -= frus_.size(); index < controllers_.size()) {
    uint8_t address = controllers_[index];
    const Identity* identity = &config.identity;
    ipmi::SdrMcLocator locator;
    locator.name = "BMC";
    for (const SatelliteConfig& satellite : config.satellites) {
      if (satellite.address == address && address != config.identity.ipmb_address) {
        identity = &satellite.identity;
        locator.name = "MC " + to_hex(Bytes{address}) + "h";
      }
    }
    locator.address = address;
    locator.channel = kChannelPrimaryIpmb;
    locator.capabilities = identity->additional_device_support;
    locator.entity_id = kEntityManagementModule;
    locator.entity_instance = static_cast<uint8_t>(index + 1);
    record = ipmi::encode(locator);
  } else {
    index -= controllers_.size();
    auto [offset, size] = dump_[index];
    auto start = config.sdr_dump.begin() + static_cast<std::ptrdiff_t>(offset);
    record.assign(start, start + size);
  }
  set_id(record, id);
  return record;
}

Bytes SdrPart::meta() const {
  ipmi::Writer out;
  out.u32(last_erase_).u8(overflow_);
  return out.finish();
}

Status SdrPart::load(State& state, Instant now) {
  const BmcConfig& config = state.config;
  uint8_t self = config.identity.ipmb_address;
  std::vector<uint8_t> located_controllers;
  std::vector<uint8_t> located_frus;
  if (!config.sdr_dump.empty()) {
    auto records = ipmi::parse_sdr_dump(config.sdr_dump);
    if (!records) return Error{ErrorCode::kInvalidArgument, "sdr_dump: " + records.error().message};
    uint32_t offset = 0;
    for (const Bytes& bytes : *records) {
      auto decoded = ipmi::decode_sdr(bytes);
      bool keep = true;
      if (decoded) {
        if (const auto* sensor = std::get_if<ipmi::SdrSensor>(&*decoded)) {
          // A sensor that is configured has a life; its record in the dump has none.
          keep = std::none_of(config.sensors.begin(), config.sensors.end(), [&](const SensorConfig& s) {
            return sensor->owner_id == self && (sensor->owner_lun & 3) == s.owner_lun && sensor->number == s.number;
          });
        } else if (const auto* controller = std::get_if<ipmi::SdrMcLocator>(&*decoded)) {
          located_controllers.push_back(controller->address);
        } else if (const auto* fru = std::get_if<ipmi::SdrFruLocator>(&*decoded)) {
          if (fru->access_address == self && fru->logical()) located_frus.push_back(fru->fru_id);
        }
      }
      if (keep) dump_.push_back({offset, static_cast<uint16_t>(bytes.size())});
      offset += static_cast<uint32_t>(bytes.size());
    }
    dump_.shrink_to_fit();
  }
  auto has = [](const std::vector<uint8_t>& list, uint8_t value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  for (size_t i = 0; i < config.frus.size(); ++i) {
    if (!has(located_frus, config.frus[i].id)) frus_.push_back(static_cast<uint16_t>(i));
  }
  frus_.shrink_to_fit();
  if (!has(located_controllers, self)) controllers_.push_back(self);
  for (const SatelliteConfig& satellite : config.satellites) {
    if (!has(located_controllers, satellite.address) && !has(controllers_, satellite.address)) {
      controllers_.push_back(satellite.address);
    }
  }
  if (base_count(state) >= kAddedFirstId) {
    return Error{ErrorCode::kInvalidArgument, "SDR repository: " + std::to_string(base_count(state)) +
                                                  " records, at most " + std::to_string(kAddedFirstId - 1)};
  }

  last_add_ = state.sel->time(state, now);
  last_erase_ = kTimeNever;
  auto metas = state.store->load(kMetaTable);
  if (!metas) return metas.error();
  for (const auto& [key, value] : *metas) {
    ipmi::Reader in(value);
    last_erase_ = in.u32();
    overflow_ = in.u8() != 0;
    if (key != kMetaKey || !in.done()) {
      return Error{ErrorCode::kCorrupt, "stored SDR repository settings do not hold together"};
    }
  }
  auto erased = state.store->load(kErasedTable);
  if (!erased) return erased.error();
  live_.reserve(base_count(state));
  auto gone = erased->begin();
  for (size_t i = 0; i < base_count(state); ++i) {
    Bytes record = base_record(state, i);
    auto id = static_cast<uint16_t>(i + 1);
    while (gone != erased->end() && gone->first < id) ++gone;
    if (gone != erased->end() && gone->first == id && ipmi::Reader(gone->second).u32() == hash_of(record)) continue;
    live_.push_back(id);
    bytes_used_ += record.size();
  }
  auto added = state.store->load(kTable);
  if (!added) return added.error();
  for (auto& [key, value] : *added) {
    if (key < kAddedFirstId || key >= kLast || value.size() < kHeaderBytes || value.size() != kHeaderBytes + value[4]) {
      return Error{ErrorCode::kCorrupt, "stored SDR repository: row " + std::to_string(key) + " is no record"};
    }
    bytes_used_ += value.size();
    live_.push_back(static_cast<uint16_t>(key));
    added_.push_back({static_cast<uint16_t>(key), std::move(value)});
  }
  if (bytes_used_ > config.sdr_bytes_max) {
    return Error{ErrorCode::kInvalidArgument, "sdr_bytes_max: " + std::to_string(config.sdr_bytes_max) +
                                                  " bytes, the records need " + std::to_string(bytes_used_)};
  }
  return {};
}

void SdrPart::on_reset(State&, bool, Instant) {
  reservation_ = 0;  // §33.11.1
  device_reservation_ = 0;
  partial_.reset();
}

size_t SdrPart::index_of(uint16_t id) const {
  if (live_.empty()) return 0;
  if (id == kFirst) return 0;
  if (id == kLast) return live_.size() - 1;
  auto found = std::lower_bound(live_.begin(), live_.end(), id);  // ids ascend in the order of the repository
  return found != live_.end() && *found == id ? static_cast<size_t>(found - live_.begin()) : live_.size();
}

Bytes SdrPart::resolve(const State& state, uint16_t id) const {
  if (id < kAddedFirstId) return base_record(state, id - size_t{1});
  auto found = std::lower_bound(added_.begin(), added_.end(), id, [](const Added& a, uint16_t i) { return a.id < i; });
  return found->record;
}

Bytes SdrPart::record(const State& state, uint16_t id) const {
  size_t index = index_of(id);
  return index < live_.size() ? resolve(state, live_[index]) : Bytes{};
}

uint16_t SdrPart::next_id(const State&, uint16_t id) const {
  size_t index = index_of(id);
  return index + 1 < live_.size() ? live_[index + 1] : kLast;
}

size_t SdrPart::bytes_free(const State& state) const {
  return state.config.sdr_bytes_max - std::min<size_t>(bytes_used_, state.config.sdr_bytes_max);
}

size_t SdrPart::device_count(const State& state) const { return state.config.sensors.size(); }

Bytes SdrPart::device_record(const State& state, uint16_t id) const {
  size_t count = device_count(state);
  if (count == 0) return {};
  size_t index = id == kFirst ? 0 : id == kLast ? count - 1 : id - size_t{1};
  return index < count ? base_record(state, index) : Bytes{};
}

uint16_t SdrPart::free_id() const {
  uint16_t id = added_.empty() ? kAddedFirstId : static_cast<uint16_t>(added_.back().id + 1);
  if (id < kLast) return id;
  // The last id is taken: the first gap. There are fewer records than ids.
  id = kAddedFirstId;
  for (const Added& a : added_) {
    if (a.id != id) break;
    ++id;
  }
  return id;
}

Result<uint16_t> SdrPart::add(State& state, ByteView bytes, Instant now) {
  if (bytes.size() < kHeaderBytes || bytes.size() != kHeaderBytes + bytes[4]) {
    return Error{ErrorCode::kInvalidArgument, "the SDR's length byte and its " + std::to_string(bytes.size()) +
                                                  " bytes do not agree"};
  }
  uint16_t id = free_id();
  if (!fits(state, bytes.size()) || id >= kLast) {
    overflow_ = true;
    return Error{ErrorCode::kLimit, state.config.name + ": the SDR repository is full"};
  }
  Bytes record(bytes.begin(), bytes.end());
  set_id(record, id);
  Batch batch;
  batch.put.push_back({std::string(kTable), id, record});
  if (auto done = state.store->commit(batch); !done) return done.error();
  bytes_used_ += record.size();
  auto place = std::lower_bound(added_.begin(), added_.end(), id, [](const Added& a, uint16_t i) { return a.id < i; });
  added_.insert(place, {id, std::move(record)});
  live_.insert(std::lower_bound(live_.begin(), live_.end(), id), id);
  last_add_ = state.sel->time(state, now);
  return id;
}

Result<uint16_t> SdrPart::erase(State& state, uint16_t wanted, Instant now) {
  size_t index = index_of(wanted);
  if (index >= live_.size()) return Error{ErrorCode::kNotFound, "no such SDR"};
  uint16_t id = live_[index];
  Bytes record = resolve(state, id);
  uint32_t erased_before = last_erase_;
  last_erase_ = state.sel->time(state, now);
  Batch batch;
  if (id >= kAddedFirstId) {
    batch.erase.push_back({std::string(kTable), id});
  } else {
    ipmi::Writer out;
    out.u32(hash_of(record));
    batch.put.push_back({std::string(kErasedTable), id, out.finish()});
  }
  batch.put.push_back({std::string(kMetaTable), kMetaKey, meta()});
  if (auto done = state.store->commit(batch); !done) {
    last_erase_ = erased_before;
    return done.error();
  }
  bytes_used_ -= record.size();
  live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(index));
  if (id >= kAddedFirstId) {
    added_.erase(std::lower_bound(added_.begin(), added_.end(), id, [](const Added& a, uint16_t i) { return a.id < i; }));
  }
  reservation_ = 0;
  partial_.reset();
  return id;
}

Status SdrPart::clear(State& state, Instant now) {
  uint32_t erased_before = last_erase_;
  bool overflow_before = overflow_;
  last_erase_ = state.sel->time(state, now);
  overflow_ = false;
  Batch batch;
  batch.clear_tables = {std::string(kTable), std::string(kErasedTable)};
  for (size_t i = 0; i < base_count(state); ++i) {
    ipmi::Writer out;
    out.u32(hash_of(base_record(state, i)));
    batch.put.push_back({std::string(kErasedTable), static_cast<uint32_t>(i + 1), out.finish()});
  }
  batch.put.push_back({std::string(kMetaTable), kMetaKey, meta()});
  if (auto done = state.store->commit(batch); !done) {
    last_erase_ = erased_before;
    overflow_ = overflow_before;
    return done;
  }
  live_.clear();
  added_.clear();
  bytes_used_ = 0;
  reservation_ = 0;
  partial_.reset();
  return {};
}

uint16_t SdrPart::reserve() {
  if (++last_reservation_ == 0) last_reservation_ = 1;
  partial_.reset();
  return reservation_ = last_reservation_;
}

uint16_t SdrPart::reserve_device() {
  if (++last_device_reservation_ == 0) last_device_reservation_ = 1;
  return device_reservation_ = last_device_reservation_;
}

namespace {

ipmi::Response fail(const Error& error) {
  return firmware::fail(error.code == ErrorCode::kLimit ? CompletionCode::kOutOfSpace : CompletionCode::kUnspecified);
}

// Get SDR and Get Device SDR, from the record on. A response that is too long for the interface becomes CA.
ipmi::Response part_of(const Bytes& record, uint16_t next, uint8_t offset, uint8_t count) {
  if (offset >= record.size()) return firmware::fail(CompletionCode::kParameterOutOfRange);
  size_t left = record.size() - offset;
  size_t bytes = count == 0xff ? left : count;
  if (bytes > left) return firmware::fail(CompletionCode::kCannotReturnRequestedLength);
  ipmi::Writer out;
  out.u16(next).bytes(ByteView(record).subspan(offset, bytes));
  return ok(out.finish());
}

ipmi::Response get_info(Call& call) {  // §33.9
  const SdrPart& sdr = *call.state.sdr;
  // Non-modal updates only; delete, partial add, reserve and allocation information are there.
  auto operations = static_cast<uint8_t>(0x2f | (sdr.overflow() ? 0x80 : 0));
  ipmi::Writer out;
  out.u8(kVersion).u16(static_cast<uint16_t>(sdr.count()));
  out.u16(static_cast<uint16_t>(std::min<size_t>(sdr.bytes_free(call.state), 0xfffe)));
  out.u32(sdr.last_add()).u32(sdr.last_erase()).u8(operations);
  return ok(out.finish());
}

ipmi::Response get_allocation_info(Call& call) {  // §33.10
  auto free_units = static_cast<uint16_t>(call.state.sdr->bytes_free(call.state) / kUnitBytes);
  ipmi::Writer out;
  out.u16(static_cast<uint16_t>(call.state.config.sdr_bytes_max / kUnitBytes)).u16(kUnitBytes);
  out.u16(free_units).u16(free_units);
  out.u8((SdrPart::kRecordBytesMax + kUnitBytes - 1) / kUnitBytes);
  return ok(out.finish());
}

ipmi::Response reserve_sdr(Call& call) {  // §33.11
  ipmi::Writer out;
  out.u16(call.state.sdr->reserve());
  return ok(out.finish());
}

ipmi::Response get_sdr(Call& call) {  // §33.12
  SdrPart& sdr = *call.state.sdr;
  uint16_t reservation = call.in.u16();
  uint16_t id = call.in.u16();
  uint8_t offset = call.in.u8();
  uint8_t count = call.in.u8();
  // Needed for an offset into the record, and believed whenever it is given.
  if ((offset != 0 || reservation != 0) && !sdr.reserved(reservation)) {
    return firmware::fail(CompletionCode::kReservationCancelled);
  }
  Bytes record = sdr.record(call.state, id);
  if (record.empty()) return firmware::fail(CompletionCode::kNotPresent);
  return part_of(record, sdr.next_id(call.state, id), offset, count);
}

ipmi::Response add_sdr(Call& call) {  // §33.13
  ByteView record = call.in.rest();
  if (record.size() != SdrPart::kHeaderBytes + record[4]) return firmware::fail(CompletionCode::kRequestLengthInvalid);
  if (record[3] == 0) return firmware::fail(CompletionCode::kInvalidDataField);
  auto id = call.state.sdr->add(call.state, record, call.now);
  if (!id) return fail(id.error());
  ipmi::Writer out;
  out.u16(*id);
  return ok(out.finish());
}

ipmi::Response partial_add_sdr(Call& call) {  // §33.14
  SdrPart& sdr = *call.state.sdr;
  uint16_t reservation = call.in.u16();
  uint16_t id = call.in.u16();
  uint8_t offset = call.in.u8();
  uint8_t progress = call.in.u8();
  ByteView data = call.in.rest();
  if (!sdr.reserved(reservation)) return firmware::fail(CompletionCode::kReservationCancelled);
  if ((progress & 0x0f) > 1) return firmware::fail(CompletionCode::kInvalidDataField);
  auto& partial = sdr.partial();
  if (id == 0) {
    if (offset != 0) return firmware::fail(CompletionCode::kParameterOutOfRange);
    partial = SdrPart::Partial{};
    partial->id = sdr.free_id();
  } else if (!partial || partial->id != id) {
    return firmware::fail(CompletionCode::kNotPresent);
  }
  // Contiguous: a piece may be sent again, but never leave a gap.
  if (offset > partial->record.size()) return firmware::fail(CompletionCode::kParameterOutOfRange);
  partial->record.resize(offset);
  partial->record.insert(partial->record.end(), data.begin(), data.end());
  const Bytes& so_far = partial->record;
  bool complete = so_far.size() >= SdrPart::kHeaderBytes && so_far.size() == SdrPart::kHeaderBytes + so_far[4];
  bool too_long = so_far.size() >= SdrPart::kHeaderBytes && so_far.size() > SdrPart::kHeaderBytes + so_far[4];
  uint16_t given = partial->id;
  if (too_long || ((progress & 0x0f) == 1 && !complete)) {
    partial.reset();
    return firmware::fail(kLengthMismatch);
  }
  if ((progress & 0x0f) == 1) {
    Bytes record = std::move(partial->record);
    partial.reset();
    if (record[3] == 0) return firmware::fail(CompletionCode::kInvalidDataField);
    auto added = sdr.add(call.state, record, call.now);
    if (!added) return fail(added.error());
    given = *added;
  }
  ipmi::Writer out;
  out.u16(given);
  return ok(out.finish());
}

ipmi::Response delete_sdr(Call& call) {  // §33.15
  SdrPart& sdr = *call.state.sdr;
  uint16_t reservation = call.in.u16();
  uint16_t id = call.in.u16();
  if (!sdr.reserved(reservation)) return firmware::fail(CompletionCode::kReservationCancelled);
  auto erased = sdr.erase(call.state, id, call.now);
  if (!erased) {
    return erased.error().code == ErrorCode::kNotFound ? firmware::fail(CompletionCode::kNotPresent)
                                                       : fail(erased.error());
  }
  ipmi::Writer out;
  out.u16(*erased);
  return ok(out.finish());
}

ipmi::Response clear_sdr(Call& call) {  // §33.16
  SdrPart& sdr = *call.state.sdr;
  uint16_t reservation = call.in.u16();
  bool clr = call.in.u8() == 'C';
  clr = (call.in.u8() == 'L') && clr;
  clr = (call.in.u8() == 'R') && clr;
  uint8_t action = call.in.u8();
  if (!clr || (action != 0xaa && action != 0x00)) return firmware::fail(CompletionCode::kInvalidDataField);
  if (action == 0xaa) {
    if (!sdr.reserved(reservation)) return firmware::fail(CompletionCode::kReservationCancelled);
    if (auto done = sdr.clear(call.state, call.now); !done) return fail(done.error());
  }
  // The status needs no reservation: the erasure itself has cancelled it. It is complete on return.
  return ok({0x01});
}

ipmi::Response get_time(Call& call) {  // §33.17; one clock for both, as §31.10 allows
  ipmi::Writer out;
  out.u32(call.state.sel->time(call.state, call.now));
  return ok(out.finish());
}

ipmi::Response set_time(Call& call) {  // §33.18
  if (auto done = call.state.sel->set_time(call.state, call.in.u32(), call.now); !done) return fail(done.error());
  return ok();
}

ipmi::Response run_initialization_agent(Call& call) {  // §33.21
  uint8_t action = call.in.u8();
  if ((action & 0xfe) != 0) return firmware::fail(CompletionCode::kInvalidDataField);
  if (action == 1) call.state.sensor->initialise(call.state, call.now);
  return ok({0x01});  // completed
}

ipmi::Response get_device_info(Call& call) {  // §35.2
  const BmcConfig& config = call.state.config;
  if (!config.identity.provides_device_sdrs) return firmware::fail(CompletionCode::kInvalidCommand);
  bool count_sdrs = false;
  if (call.in.remaining() > 0) {
    uint8_t operation = call.in.u8();
    if ((operation & 0xfe) != 0) return firmware::fail(CompletionCode::kInvalidDataField);
    count_sdrs = operation == 1;
  }
  size_t on_lun = 0;
  uint8_t flags = 0;  // static population
  for (const SensorConfig& sensor : config.sensors) {
    if (sensor.owner_lun == call.request.lun) ++on_lun;
    flags |= static_cast<uint8_t>(1 << (sensor.owner_lun & 3));
  }
  size_t count = count_sdrs ? call.state.sdr->device_count(call.state) : on_lun;
  return ok({static_cast<uint8_t>(std::min<size_t>(count, 0xff)), flags});
}

ipmi::Response get_device_sdr(Call& call) {  // §35.3
  if (!call.state.config.identity.provides_device_sdrs) return firmware::fail(CompletionCode::kInvalidCommand);
  SdrPart& sdr = *call.state.sdr;
  uint16_t reservation = call.in.u16();
  uint16_t id = call.in.u16();
  uint8_t offset = call.in.u8();
  uint8_t count = call.in.u8();
  if ((offset != 0 || reservation != 0) && !sdr.reserved_device(reservation)) {
    return firmware::fail(CompletionCode::kReservationCancelled);
  }
  Bytes record = sdr.device_record(call.state, id);
  if (record.empty()) return firmware::fail(CompletionCode::kNotPresent);
  auto present = static_cast<uint16_t>(record[0] | record[1] << 8);
  uint16_t next = present < sdr.device_count(call.state) ? static_cast<uint16_t>(present + 1) : kLast;
  return part_of(record, next, offset, count);
}

ipmi::Response reserve_device_sdr(Call& call) {  // §35.4
  if (!call.state.config.identity.provides_device_sdrs) return firmware::fail(CompletionCode::kInvalidCommand);
  ipmi::Writer out;
  out.u16(call.state.sdr->reserve_device());
  return ok(out.finish());
}

}  // namespace

// Enter and Exit SDR Repository Update Mode (2Ah, 2Bh) are for modal repositories (§33.19); this one is not, says so in
// its operation support byte, and answers C1.
std::vector<Command> sdr_commands() {
  constexpr uint8_t kNetFn = ipmi::kNetFnStorage;
  constexpr uint8_t kSensorNetFn = ipmi::kNetFnSensorEvent;
  constexpr uint8_t kSensorLuns = 0x0b;  // LUN 2 is system software's
  return {
      {kNetFn, 0x20, "Get SDR Repository Info", Privilege::kUser, 0, 0, kLun0, get_info},
      {kNetFn, 0x21, "Get SDR Repository Allocation Info", Privilege::kUser, 0, 0, kLun0, get_allocation_info},
      {kNetFn, 0x22, "Reserve SDR Repository", Privilege::kUser, 0, 0, kLun0, reserve_sdr},
      {kNetFn, 0x23, "Get SDR", Privilege::kUser, 6, 6, kLun0, get_sdr},
      {kNetFn, 0x24, "Add SDR", Privilege::kOperator, 5, SdrPart::kRecordBytesMax, kLun0, add_sdr},
      {kNetFn, 0x25, "Partial Add SDR", Privilege::kOperator, 7, 6 + SdrPart::kRecordBytesMax, kLun0, partial_add_sdr},
      {kNetFn, 0x26, "Delete SDR", Privilege::kOperator, 4, 4, kLun0, delete_sdr},
      {kNetFn, 0x27, "Clear SDR Repository", Privilege::kOperator, 6, 6, kLun0, clear_sdr},
      {kNetFn, 0x28, "Get SDR Repository Time", Privilege::kUser, 0, 0, kLun0, get_time},
      {kNetFn, 0x29, "Set SDR Repository Time", Privilege::kOperator, 4, 4, kLun0, set_time},
      {kNetFn, 0x2c, "Run Initialization Agent", Privilege::kOperator, 1, 1, kLun0, run_initialization_agent},
      {kSensorNetFn, 0x20, "Get Device SDR Info", Privilege::kUser, 0, 1, kSensorLuns, get_device_info},
      {kSensorNetFn, 0x21, "Get Device SDR", Privilege::kUser, 6, 6, kSensorLuns, get_device_sdr},
      {kSensorNetFn, 0x22, "Reserve Device SDR Repository", Privilege::kUser, 0, 0, kSensorLuns, reserve_device_sdr},
  };
}

}  // namespace bmcpair::firmware
