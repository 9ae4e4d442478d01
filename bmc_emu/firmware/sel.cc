#include "bmc_emu/firmware/sel.h"

#include <algorithm>

#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr std::string_view kTable = "sel";
constexpr std::string_view kMetaTable = "sel_meta";
constexpr uint32_t kMetaKey = 0;
constexpr uint32_t kClockKey = 1;

constexpr uint8_t kTypeSystemEvent = 0x02;
constexpr uint8_t kTypeOemTimestamped = 0xc0;
constexpr uint8_t kTypeUntimestamped = 0xe0;
constexpr uint8_t kVersion = 0x51;
constexpr uint16_t kFirst = 0x0000;
constexpr uint16_t kLast = 0xffff;
constexpr int16_t kUtcOffsetMax = 1440;

// Our own completion codes of this group.
constexpr uint8_t kTypeNotSupported = 0x80;   // Add, Delete SEL Entry
constexpr uint8_t kLengthMismatch = 0x80;     // Partial Add SEL Entry

uint16_t id_of(const SelPart::Record& record) { return static_cast<uint16_t>(record[0] | record[1] << 8); }

void put_u32(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<uint8_t>(value >> 8 * i);
}

}  // namespace

Bytes SelPart::encode(const Meta& meta) {
  ipmi::Writer out;
  out.u8(meta.overflow).u32(meta.last_add).u32(meta.last_erase).u16(meta.last_id).u8(meta.preloaded);
  return out.finish();
}

Bytes SelPart::encode(const ClockSetting& clock) {
  auto offset = static_cast<uint64_t>(clock.offset_s);
  ipmi::Writer out;
  out.u32(static_cast<uint32_t>(offset)).u32(static_cast<uint32_t>(offset >> 32));
  out.u16(static_cast<uint16_t>(clock.utc_offset_minutes));
  return out.finish();
}

Status SelPart::load(State& state, Instant now) {
  if (state.config.sel_entries_max == 0) {
    return Error{ErrorCode::kInvalidArgument, "sel_entries_max: a SEL has room for one entry at least"};
  }
  if (state.config.sel_preload.size() > state.config.sel_entries_max) {
    return Error{ErrorCode::kInvalidArgument, "sel_preload: " + std::to_string(state.config.sel_preload.size()) +
                                                  " records, there is room for " +
                                                  std::to_string(state.config.sel_entries_max)};
  }
  auto metas = state.store->load(kMetaTable);
  if (!metas) return metas.error();
  for (const auto& [key, value] : *metas) {
    ipmi::Reader in(value);
    if (key == kMetaKey) {
      meta_.overflow = in.u8() != 0;
      meta_.last_add = in.u32();
      meta_.last_erase = in.u32();
      meta_.last_id = in.u16();
      meta_.preloaded = in.u8() != 0;
    } else if (key == kClockKey) {
      uint64_t low = in.u32();
      clock_.offset_s = static_cast<int64_t>(low | static_cast<uint64_t>(in.u32()) << 32);
      clock_.utc_offset_minutes = static_cast<int16_t>(in.u16());
    }
    if (!in.done()) {
      return Error{ErrorCode::kCorrupt, "stored SEL settings: row " + std::to_string(key) + " does not hold together"};
    }
  }
  auto rows = state.store->load(kTable);
  if (!rows) return rows.error();
  entries_.reserve(rows->size());
  for (const auto& [key, value] : *rows) {
    if (value.size() != kRecordBytes || (value[0] | value[1]) == 0 || (value[0] & value[1]) == 0xff) {
      return Error{ErrorCode::kCorrupt, "stored SEL: row " + std::to_string(key) + " is no record"};
    }
    Entry entry{key, {}};
    std::copy(value.begin(), value.end(), entry.record.begin());
    entries_.push_back(entry);
    next_key_ = key + 1;
  }
  return preload(state, now);
}

Status SelPart::preload(State& state, Instant now) {
  if (meta_.preloaded || state.config.sel_preload.empty() || !entries_.empty()) return {};
  Batch batch;
  std::vector<Entry> entries;
  Meta meta = meta_;
  meta.preloaded = true;
  for (size_t i = 0; i < state.config.sel_preload.size(); ++i) {
    const Bytes& bytes = state.config.sel_preload[i];
    if (bytes.size() != kRecordBytes) {
      return Error{ErrorCode::kInvalidArgument, "sel_preload[" + std::to_string(i) + "]: a SEL record has 16 bytes, not " +
                                                    std::to_string(bytes.size())};
    }
    Entry entry{next_key_ + static_cast<uint32_t>(i), {}};
    std::copy(bytes.begin(), bytes.end(), entry.record.begin());
    auto id = static_cast<uint16_t>(i + 1);
    entry.record[0] = static_cast<uint8_t>(id);
    entry.record[1] = static_cast<uint8_t>(id >> 8);
    // The time a real machine stamped is kept; one that says nothing becomes now.
    if (bytes[2] < kTypeUntimestamped) {
      bool unset = std::all_of(bytes.begin() + 3, bytes.begin() + 7, [](uint8_t b) { return b == 0; }) ||
                   std::all_of(bytes.begin() + 3, bytes.begin() + 7, [](uint8_t b) { return b == 0xff; });
      if (unset) put_u32(&entry.record[3], time(state, now));
    }
    meta.last_id = id;
    batch.put.push_back({std::string(kTable), entry.key, Bytes(entry.record.begin(), entry.record.end())});
    entries.push_back(entry);
  }
  meta.last_add = time(state, now);
  batch.put.push_back({std::string(kMetaTable), kMetaKey, encode(meta)});
  if (auto done = state.store->commit(batch); !done) return done;
  entries_ = std::move(entries);
  next_key_ += static_cast<uint32_t>(entries_.size());
  meta_ = meta;
  return {};
}

void SelPart::on_reset(State&, bool, Instant) {
  reservation_ = 0;  // §31.4
  partial_.reset();
}

uint32_t SelPart::time(const State& state, Instant now) const {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  return static_cast<uint32_t>(state.config.unix_seconds_at_zero + seconds + clock_.offset_s);
}

Status SelPart::set_time(State& state, uint32_t seconds, Instant now) {
  ClockSetting clock = clock_;
  clock.offset_s = 0;
  auto running = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  clock.offset_s = static_cast<int64_t>(seconds) - state.config.unix_seconds_at_zero - running;
  Batch batch;
  batch.put.push_back({std::string(kMetaTable), kClockKey, encode(clock)});
  if (auto done = state.store->commit(batch); !done) return done;
  clock_ = clock;
  return {};
}

Status SelPart::set_utc_offset_minutes(State& state, int16_t minutes) {
  ClockSetting clock = clock_;
  clock.utc_offset_minutes = minutes;
  Batch batch;
  batch.put.push_back({std::string(kMetaTable), kClockKey, encode(clock)});
  if (auto done = state.store->commit(batch); !done) return done;
  clock_ = clock;
  return {};
}

size_t SelPart::index_of(uint16_t id) const {
  if (entries_.empty()) return 0;
  if (id == kFirst) return 0;
  if (id == kLast) return entries_.size() - 1;
  // Readers walk: the record is where the last look-up ended, or just after.
  for (size_t i = hint_; i < entries_.size() && i < hint_ + 2; ++i) {
    if (id_of(entries_[i].record) == id) return hint_ = i;
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (id_of(entries_[i].record) == id) return hint_ = i;
  }
  return entries_.size();
}

const SelPart::Record* SelPart::find(uint16_t id) const {
  size_t index = index_of(id);
  return index < entries_.size() ? &entries_[index].record : nullptr;
}

uint16_t SelPart::next_id(uint16_t id) const {
  size_t index = index_of(id);
  return index + 1 < entries_.size() ? id_of(entries_[index + 1].record) : kLast;
}

std::vector<SelRecordView> SelPart::records() const {
  std::vector<SelRecordView> out;
  out.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    out.push_back({id_of(entry.record), Bytes(entry.record.begin(), entry.record.end())});
  }
  return out;
}

uint16_t SelPart::free_id() const {
  // Ids go on from the last one given; only after they have wrapped can one still be in use. There are fewer entries
  // than ids, so this ends.
  uint16_t id = meta_.last_id;
  for (;;) {
    id = id >= 0xfffe ? 1 : static_cast<uint16_t>(id + 1);
    bool ascending = entries_.empty() || (id_of(entries_.front().record) <= id_of(entries_.back().record) &&
                                          id > id_of(entries_.back().record));
    if (ascending || index_of(id) == entries_.size()) return id;
  }
}

Result<uint16_t> SelPart::add(State& state, ByteView bytes, Instant now) {
  if (bytes.size() != kRecordBytes) {
    return Error{ErrorCode::kInvalidArgument, "a SEL record has 16 bytes, not " + std::to_string(bytes.size())};
  }
  Meta meta = meta_;
  // Fewer entries than ids, whatever the configuration says.
  size_t room = std::min<size_t>(state.config.sel_entries_max, 0xfffd);
  if (entries_.size() >= room) {
    if (!meta_.overflow) {
      meta.overflow = true;
      Batch batch;
      batch.put.push_back({std::string(kMetaTable), kMetaKey, encode(meta)});
      // The flag holds in any case; that it may not outlive a crash loses no entry.
      (void)state.store->commit(batch);
      meta_ = meta;
    }
    return Error{ErrorCode::kLimit, state.config.name + ": the SEL is full (" + std::to_string(room) + " entries)"};
  }
  Entry entry{next_key_, {}};
  std::copy(bytes.begin(), bytes.end(), entry.record.begin());
  uint16_t id = free_id();
  uint32_t seconds = time(state, now);
  entry.record[0] = static_cast<uint8_t>(id);
  entry.record[1] = static_cast<uint8_t>(id >> 8);
  if (bytes[2] < kTypeUntimestamped) put_u32(&entry.record[3], seconds);
  meta.last_add = seconds;
  meta.last_id = id;
  Batch batch;
  batch.put.push_back({std::string(kTable), entry.key, Bytes(entry.record.begin(), entry.record.end())});
  batch.put.push_back({std::string(kMetaTable), kMetaKey, encode(meta)});
  if (auto done = state.store->commit(batch); !done) return done.error();
  entries_.push_back(entry);
  meta_ = meta;
  ++next_key_;
  reservation_ = 0;  // §31.4: an added entry cancels it
  partial_.reset();
  state.notify({Change::Kind::kSelAdded, id, Duration{0}, {}});
  return id;
}

Result<uint16_t> SelPart::erase(State& state, uint16_t wanted, Instant now) {
  size_t index = index_of(wanted);
  if (index >= entries_.size()) return Error{ErrorCode::kNotFound, "no such SEL record"};
  uint16_t id = id_of(entries_[index].record);
  Meta meta = meta_;
  meta.last_erase = time(state, now);
  Batch batch;
  batch.erase.push_back({std::string(kTable), entries_[index].key});
  batch.put.push_back({std::string(kMetaTable), kMetaKey, encode(meta)});
  if (auto done = state.store->commit(batch); !done) return done.error();
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(index));
  meta_ = meta;
  reservation_ = 0;
  partial_.reset();
  return id;
}

Status SelPart::clear(State& state, Instant now) {
  Meta meta = meta_;
  meta.last_erase = time(state, now);
  meta.overflow = false;
  meta.preloaded = true;  // an empty SEL stays empty over a restart
  Batch batch;
  batch.clear_tables.push_back(std::string(kTable));
  batch.put.push_back({std::string(kMetaTable), kMetaKey, encode(meta)});
  if (auto done = state.store->commit(batch); !done) return done;
  std::vector<Entry>().swap(entries_);
  meta_ = meta;
  hint_ = 0;
  reservation_ = 0;
  partial_.reset();
  state.notify({Change::Kind::kSelCleared, 0, Duration{0}, {}});
  return {};
}

uint16_t SelPart::reserve() {
  if (++last_reservation_ == 0) last_reservation_ = 1;
  partial_.reset();
  return reservation_ = last_reservation_;
}

namespace {

ipmi::Response fail(const Error& error) {
  return firmware::fail(error.code == ErrorCode::kLimit ? CompletionCode::kOutOfSpace : CompletionCode::kUnspecified);
}

uint16_t free_bytes(const State& state) {
  size_t room = std::min<size_t>(state.config.sel_entries_max, 0xfffd);
  size_t used = std::min(state.sel->size(), room);
  return static_cast<uint16_t>(std::min<size_t>((room - used) * SelPart::kRecordBytes, 0xffff));
}

ipmi::Response get_info(Call& call) {  // §31.2
  const SelPart& sel = *call.state.sel;
  // Delete, partial add, reserve and allocation information are there.
  auto operations = static_cast<uint8_t>(0x0f | (sel.overflow() ? 0x80 : 0));
  ipmi::Writer out;
  out.u8(kVersion).u16(static_cast<uint16_t>(sel.size())).u16(free_bytes(call.state));
  out.u32(sel.last_add()).u32(sel.last_erase()).u8(operations);
  return ok(out.finish());
}

ipmi::Response get_allocation_info(Call& call) {  // §31.3
  size_t room = std::min<size_t>(call.state.config.sel_entries_max, 0xfffd);
  auto units = static_cast<uint16_t>(room);
  auto left = static_cast<uint16_t>(room - std::min(call.state.sel->size(), room));
  ipmi::Writer out;
  out.u16(units).u16(SelPart::kRecordBytes).u16(left).u16(left).u8(1);
  return ok(out.finish());
}

ipmi::Response reserve_sel(Call& call) {  // §31.4
  ipmi::Writer out;
  out.u16(call.state.sel->reserve());
  return ok(out.finish());
}

ipmi::Response get_entry(Call& call) {  // §31.5
  SelPart& sel = *call.state.sel;
  uint16_t reservation = call.in.u16();
  uint16_t id = call.in.u16();
  uint8_t offset = call.in.u8();
  uint8_t count = call.in.u8();
  // Needed for an offset into the record, and believed whenever it is given.
  if ((offset != 0 || reservation != 0) && !sel.reserved(reservation)) {
    return firmware::fail(CompletionCode::kReservationCancelled);
  }
  const SelPart::Record* record = sel.find(id);
  if (record == nullptr) return firmware::fail(CompletionCode::kNotPresent);
  if (offset >= SelPart::kRecordBytes) return firmware::fail(CompletionCode::kParameterOutOfRange);
  size_t left = SelPart::kRecordBytes - offset;
  size_t bytes = count == 0xff ? left : count;
  if (bytes > left) return firmware::fail(CompletionCode::kCannotReturnRequestedLength);
  ipmi::Writer out;
  out.u16(sel.next_id(id)).bytes(ByteView(*record).subspan(offset, bytes));
  return ok(out.finish());
}

bool addable(uint8_t type) { return type == kTypeSystemEvent || type >= kTypeOemTimestamped; }

ipmi::Response add_entry(Call& call) {  // §31.6
  ByteView record = call.in.rest();
  if (!addable(record[2])) return firmware::fail(kTypeNotSupported);
  auto id = call.state.sel->add(call.state, record, call.now);
  if (!id) return fail(id.error());
  ipmi::Writer out;
  out.u16(*id);
  return ok(out.finish());
}

ipmi::Response partial_add_entry(Call& call) {  // §31.7
  SelPart& sel = *call.state.sel;
  uint16_t reservation = call.in.u16();
  uint16_t id = call.in.u16();
  uint8_t offset = call.in.u8();
  uint8_t progress = call.in.u8();
  ByteView data = call.in.rest();
  if (!sel.reserved(reservation)) return firmware::fail(CompletionCode::kReservationCancelled);
  if (progress > 1) return firmware::fail(CompletionCode::kInvalidDataField);
  auto& partial = sel.partial();
  if (id == 0) {
    if (offset != 0) return firmware::fail(CompletionCode::kParameterOutOfRange);
    partial = SelPart::Partial{};
    partial->id = sel.free_id();
  } else if (!partial || partial->id != id) {
    return firmware::fail(CompletionCode::kNotPresent);
  }
  // Contiguous: a piece may be sent again, but never leave a gap.
  if (offset > partial->bytes) return firmware::fail(CompletionCode::kParameterOutOfRange);
  if (offset + data.size() > SelPart::kRecordBytes) {
    partial.reset();
    return firmware::fail(kLengthMismatch);
  }
  std::copy(data.begin(), data.end(), partial->record.begin() + offset);
  partial->bytes = static_cast<uint8_t>(offset + data.size());
  uint16_t given = partial->id;
  if (progress == 1) {
    SelPart::Partial whole = *partial;
    partial.reset();
    if (whole.bytes != SelPart::kRecordBytes || !addable(whole.record[2])) return firmware::fail(kLengthMismatch);
    auto added = sel.add(call.state, whole.record, call.now);
    if (!added) return fail(added.error());
    given = *added;
  }
  ipmi::Writer out;
  out.u16(given);
  return ok(out.finish());
}

ipmi::Response delete_entry(Call& call) {  // §31.8
  SelPart& sel = *call.state.sel;
  uint16_t reservation = call.in.u16();
  uint16_t id = call.in.u16();
  if (!sel.reserved(reservation)) return firmware::fail(CompletionCode::kReservationCancelled);
  if (sel.find(id) == nullptr) return firmware::fail(CompletionCode::kNotPresent);
  auto erased = sel.erase(call.state, id, call.now);
  if (!erased) return fail(erased.error());
  ipmi::Writer out;
  out.u16(*erased);
  return ok(out.finish());
}

ipmi::Response clear_sel(Call& call) {  // §31.9
  SelPart& sel = *call.state.sel;
  uint16_t reservation = call.in.u16();
  bool clr = call.in.u8() == 'C';
  clr = (call.in.u8() == 'L') && clr;
  clr = (call.in.u8() == 'R') && clr;
  uint8_t action = call.in.u8();
  if (!clr || (action != 0xaa && action != 0x00)) return firmware::fail(CompletionCode::kInvalidDataField);
  if (action == 0xaa) {
    if (!sel.reserved(reservation)) return firmware::fail(CompletionCode::kReservationCancelled);
    if (auto done = sel.clear(call.state, call.now); !done) return fail(done.error());
  }
  // Asking for the status needs no reservation: the erasure itself has cancelled it. It is complete on return.
  return ok({0x01});
}

ipmi::Response get_time(Call& call) {  // §31.10
  ipmi::Writer out;
  out.u32(call.state.sel->time(call.state, call.now));
  return ok(out.finish());
}

ipmi::Response set_time(Call& call) {  // §31.11
  if (auto done = call.state.sel->set_time(call.state, call.in.u32(), call.now); !done) return fail(done.error());
  return ok();
}

ipmi::Response get_utc_offset(Call& call) {  // §31.11a
  ipmi::Writer out;
  out.u16(static_cast<uint16_t>(call.state.sel->utc_offset_minutes()));
  return ok(out.finish());
}

ipmi::Response set_utc_offset(Call& call) {  // §31.11b
  auto minutes = static_cast<int16_t>(call.in.u16());
  if (minutes != SelPart::kUtcOffsetUnspecified && (minutes < -kUtcOffsetMax || minutes > kUtcOffsetMax)) {
    return firmware::fail(CompletionCode::kParameterOutOfRange);
  }
  if (auto done = call.state.sel->set_utc_offset_minutes(call.state, minutes); !done) return fail(done.error());
  return ok();
}

}  // namespace

std::vector<Command> sel_commands() {
  constexpr uint8_t kNetFn = ipmi::kNetFnStorage;
  return {
      {kNetFn, 0x40, "Get SEL Info", Privilege::kUser, 0, 0, kLun0, get_info},
      {kNetFn, 0x41, "Get SEL Allocation Info", Privilege::kUser, 0, 0, kLun0, get_allocation_info},
      {kNetFn, 0x42, "Reserve SEL", Privilege::kUser, 0, 0, kLun0, reserve_sel},
      {kNetFn, 0x43, "Get SEL Entry", Privilege::kUser, 6, 6, kLun0, get_entry},
      {kNetFn, 0x44, "Add SEL Entry", Privilege::kOperator, 16, 16, kLun0, add_entry},
      {kNetFn, 0x45, "Partial Add SEL Entry", Privilege::kOperator, 7, 6 + 16, kLun0, partial_add_entry},
      {kNetFn, 0x46, "Delete SEL Entry", Privilege::kOperator, 4, 4, kLun0, delete_entry},
      {kNetFn, 0x47, "Clear SEL", Privilege::kOperator, 6, 6, kLun0, clear_sel},
      {kNetFn, 0x48, "Get SEL Time", Privilege::kUser, 0, 0, kLun0, get_time},
      {kNetFn, 0x49, "Set SEL Time", Privilege::kOperator, 4, 4, kLun0, set_time},
      {kNetFn, 0x5c, "Get SEL Time UTC Offset", Privilege::kUser, 0, 0, kLun0, get_utc_offset},
      {kNetFn, 0x5d, "Set SEL Time UTC Offset", Privilege::kOperator, 2, 2, kLun0, set_utc_offset},
  };
}

}  // namespace bmcpair::firmware
