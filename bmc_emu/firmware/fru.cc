#include "bmc_emu/firmware/fru.h"

#include <algorithm>

#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

// Key: FRU id, then page. A row is a page of the area, as it reads; pages never written are the configuration's.
constexpr std::string_view kTable = "fru";
constexpr uint32_t key_of(uint8_t id, size_t page) { return static_cast<uint32_t>(id) << 16 | static_cast<uint32_t>(page); }

FruConfig* find_mutable(State& state, uint8_t id) {
  for (FruConfig& fru : state.config.frus) {
    if (fru.id == id) return &fru;
  }
  return nullptr;
}

}  // namespace

Status FruPart::load(State& state, Instant) {
  auto& frus = state.config.frus;
  for (size_t i = 0; i < frus.size(); ++i) {
    auto refuse = [&](const std::string& what) {
      return Error{ErrorCode::kInvalidArgument, "FRU " + std::to_string(frus[i].id) + " (" + frus[i].name + "): " + what};
    };
    if (frus[i].id == 0xff) return refuse("id FFh is reserved");  // §34.1
    if (frus[i].size == 0) return refuse("size is 0");
    if (frus[i].content.size() > frus[i].size) {
      return refuse("content has " + std::to_string(frus[i].content.size()) + " bytes, size is " +
                    std::to_string(frus[i].size));
    }
    for (size_t j = 0; j < i; ++j) {
      if (frus[j].id == frus[i].id) return refuse("the id is used twice");
    }
    frus[i].content.shrink_to_fit();
  }
  auto rows = state.store->load(kTable);
  if (!rows) return rows.error();
  for (const auto& [key, value] : *rows) {
    if (value.size() > kPageBytes || key >> 24 != 0) {
      return Error{ErrorCode::kCorrupt, "stored FRU pages: row " + std::to_string(key) + " is no page"};
    }
    // What was written to a FRU that the configuration no longer has, or has smaller, waits.
    FruConfig* fru = find_mutable(state, static_cast<uint8_t>(key >> 16));
    size_t offset = (key & 0xffff) * kPageBytes;
    if (fru == nullptr || offset >= fru->size) continue;
    size_t bytes = std::min<size_t>(value.size(), fru->size - offset);
    if (fru->content.size() < offset + bytes) fru->content.resize(offset + bytes, 0xff);
    std::copy_n(value.begin(), bytes, fru->content.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  return {};
}

const FruConfig* FruPart::find(const State& state, uint8_t id) const {
  for (const FruConfig& fru : state.config.frus) {
    if (fru.id == id) return &fru;
  }
  return nullptr;
}

Bytes FruPart::read(const FruConfig& fru, size_t offset, size_t count) {
  offset = std::min<size_t>(offset, fru.size);
  count = std::min<size_t>(count, fru.size - offset);
  Bytes out(count, 0xff);
  if (offset < fru.content.size()) {
    std::copy_n(fru.content.begin() + static_cast<std::ptrdiff_t>(offset), std::min(count, fru.content.size() - offset),
                out.begin());
  }
  return out;
}

Status FruPart::write(State& state, uint8_t id, size_t offset, ByteView data) {
  FruConfig* fru = find_mutable(state, id);
  if (fru == nullptr) return Error{ErrorCode::kNotFound, "there is no FRU " + std::to_string(id)};
  if (offset > fru->size || data.size() > fru->size - offset) {
    return Error{ErrorCode::kInvalidArgument, "FRU " + std::to_string(id) + " has " + std::to_string(fru->size) + " bytes"};
  }
  if (data.empty()) return {};
  Batch batch;
  for (size_t page = offset / kPageBytes; page <= (offset + data.size() - 1) / kPageBytes; ++page) {
    size_t start = page * kPageBytes;
    Bytes bytes = read(*fru, start, kPageBytes);
    size_t from = std::max(start, offset);
    size_t to = std::min(start + bytes.size(), offset + data.size());
    std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(from - offset), to - from,
                bytes.begin() + static_cast<std::ptrdiff_t>(from - start));
    batch.put.push_back({std::string(kTable), key_of(id, page), std::move(bytes)});
  }
  if (auto done = state.store->commit(batch); !done) return done;
  if (fru->content.size() < offset + data.size()) fru->content.resize(offset + data.size(), 0xff);
  std::copy(data.begin(), data.end(), fru->content.begin() + static_cast<std::ptrdiff_t>(offset));
  return {};
}

namespace {

ipmi::Response get_area_info(Call& call) {  // §34.1
  const FruConfig* fru = call.state.fru->find(call.state, call.in.u8());
  if (fru == nullptr) return fail(CompletionCode::kNotPresent);
  ipmi::Writer out;
  out.u16(fru->size).u8(0x00);  // accessed by bytes
  return ok(out.finish());
}

ipmi::Response read_data(Call& call) {  // §34.2
  const FruConfig* fru = call.state.fru->find(call.state, call.in.u8());
  uint16_t offset = call.in.u16();
  uint8_t count = call.in.u8();
  if (fru == nullptr) return fail(CompletionCode::kNotPresent);
  if (count == 0) return fail(CompletionCode::kInvalidDataField);  // the count is 1-based
  if (offset >= fru->size) return fail(CompletionCode::kParameterOutOfRange);
  // Less than asked for at the area's end: the response says how many.
  Bytes data = FruPart::read(*fru, offset, count);
  ipmi::Writer out;
  out.u8(static_cast<uint8_t>(data.size())).bytes(data);
  return ok(out.finish());
}

ipmi::Response write_data(Call& call) {  // §34.3
  uint8_t id = call.in.u8();
  uint16_t offset = call.in.u16();
  ByteView data = call.in.rest();
  const FruConfig* fru = call.state.fru->find(call.state, id);
  if (fru == nullptr) return fail(CompletionCode::kNotPresent);
  if (offset >= fru->size || data.size() > static_cast<size_t>(fru->size - offset)) {
    return fail(CompletionCode::kParameterOutOfRange);
  }
  if (auto done = call.state.fru->write(call.state, id, offset, data); !done) {
    return fail(CompletionCode::kUnspecified);
  }
  return ok({static_cast<uint8_t>(data.size())});
}

}  // namespace

std::vector<Command> fru_commands() {
  constexpr uint8_t kNetFn = ipmi::kNetFnStorage;
  return {
      {kNetFn, 0x10, "Get FRU Inventory Area Info", Privilege::kUser, 1, 1, kLun0, get_area_info},
      {kNetFn, 0x11, "Read FRU Data", Privilege::kUser, 4, 4, kLun0, read_data},
      {kNetFn, 0x12, "Write FRU Data", Privilege::kOperator, 4, 3 + 255, kLun0, write_data},
  };
}

}  // namespace bmcpair::firmware
