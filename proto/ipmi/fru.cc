#include "proto/ipmi/fru.h"

#include "proto/ipmi/cursor.h"
#include "proto/ipmi/message.h"
#include "proto/ipmi/sel.h"
#include "proto/ipmi/type_length.h"

namespace bmcpair::ipmi {
namespace {

constexpr uint8_t kFormat = 0x01;
constexpr uint8_t kEndOfFields = 0xc1;
constexpr size_t kHeaderBytes = 8;
constexpr size_t kAreaBytesMax = 255 * 8;
constexpr uint32_t kMinutesMax = 0xffffff;

bool english(uint8_t language) { return language == 0 || language == 25; }

Error corrupt(size_t offset, const std::string& what) {
  return Error{ErrorCode::kCorrupt, "FRU inventory, byte " + std::to_string(offset) + ": " + what};
}

// One area in the making: fields, then end mark, padding, length and checksum.
class AreaBuilder {
 public:
  explicit AreaBuilder(std::string area) : area_(std::move(area)) { out_.u8(kFormat).u8(0); }

  Writer& out() { return out_; }

  Status field(const std::string& name, const std::string& text) {
    auto bytes = encode_string(StringCoding::kEightBit, text);
    if (!bytes) {
      return Error{ErrorCode::kInvalidArgument, area_ + " " + name + ": a character is not in Latin-1"};
    }
    // C1h ends the fields, so one character of 8-bit text cannot be said (§13); a blank makes it two.
    if (bytes->size() == 1) bytes->push_back(' ');
    if (bytes->size() > kFruFieldBytesMax) {
      return Error{ErrorCode::kInvalidArgument, area_ + " " + name + ": " + std::to_string(bytes->size()) +
                                                    " characters, at most " + std::to_string(kFruFieldBytesMax)};
    }
    out_.u8(static_cast<uint8_t>(0xc0 | bytes->size())).bytes(*bytes);
    return {};
  }

  Status custom(const std::vector<std::string>& fields) {
    if (fields.size() > kFruCustomFieldsMax) {
      return Error{ErrorCode::kInvalidArgument,
                   area_ + " custom: at most " + std::to_string(kFruCustomFieldsMax) + " fields"};
    }
    for (size_t i = 0; i < fields.size(); ++i) {
      if (auto done = field("custom " + std::to_string(i + 1), fields[i]); !done) return done;
    }
    return {};
  }

  Result<Bytes> finish() {
    Bytes bytes = out_.u8(kEndOfFields).finish();
    bytes.resize((bytes.size() + 1 + 7) / 8 * 8, 0);
    if (bytes.size() > kAreaBytesMax) {
      return Error{ErrorCode::kLimit, area_ + ": " + std::to_string(bytes.size()) + " bytes, an area has at most " +
                                          std::to_string(kAreaBytesMax)};
    }
    bytes[1] = static_cast<uint8_t>(bytes.size() / 8);
    bytes.back() = checksum(ByteView(bytes).first(bytes.size() - 1));
    return bytes;
  }

 private:
  std::string area_;
  Writer out_;
};

using Fields = std::vector<std::pair<const char*, const std::string*>>;

Result<Bytes> build_area(AreaBuilder& area, const Fields& fields, const std::vector<std::string>& custom) {
  for (auto [name, text] : fields) {
    if (auto done = area.field(name, *text); !done) return done.error();
  }
  if (auto done = area.custom(custom); !done) return done.error();
  return area.finish();
}

// One area being read; offsets are from the start of the inventory.
class AreaReader {
 public:
  AreaReader(ByteView inventory, size_t offset, std::string area)
      : inventory_(inventory), start_(offset), at_(offset), area_(std::move(area)) {}

  // Checks the frame; `fixed` bytes follow version and length.
  Status open(size_t fixed) {
    if (start_ + 2 > inventory_.size()) return fail(start_, "starts beyond the inventory's end");
    if ((inventory_[start_] & 0x0f) != kFormat) {
      return fail(start_, "format version " + std::to_string(inventory_[start_] & 0x0f) + " is not 1");
    }
    size_t size = inventory_[start_ + 1] * size_t{8};
    if (size < 8) return fail(start_ + 1, "length is 0");
    if (size > inventory_.size() - start_) {
      return fail(start_ + 1, "says " + std::to_string(size) + " bytes, " +
                                  std::to_string(inventory_.size() - start_) + " are left");
    }
    end_ = start_ + size - 1;  // the checksum is not for fields
    if (checksum(inventory_.subspan(start_, size)) != 0) return fail(end_, "checksum is wrong");
    at_ = start_ + 2;
    if (at_ + fixed > end_) return fail(at_, "is too short");
    return {};
  }

  uint8_t u8() { return inventory_[at_++]; }

  // False at the end mark.
  Result<bool> field(std::string& out, uint8_t language) {
    if (ended_) return false;
    if (at_ >= end_) return Error(fail(at_, "has no end mark C1h").error());
    uint8_t code = inventory_[at_];
    if (code == kEndOfFields) {
      ended_ = true;
      return false;
    }
    size_t length = code & 0x3f;
    if (at_ + 1 + length > end_) {
      return Error(fail(at_, "a field of " + std::to_string(length) + " bytes runs over the area's end").error());
    }
    ByteView text = inventory_.subspan(at_ + 1, length);
    at_ += 1 + length;
    auto coding = static_cast<StringCoding>(code >> 6);
    out = coding == StringCoding::kEightBit && !english(language) ? decode_ucs2(text) : decode_string(coding, text);
    return true;
  }

  Status fields(std::initializer_list<std::string*> known, std::vector<std::string>& custom, uint8_t language) {
    for (std::string* out : known) {
      auto more = field(*out, language);
      if (!more) return more.error();
      if (!*more) return {};  // fields may be missing at the end: machines do so
    }
    for (;;) {
      std::string text;
      size_t at = at_;
      auto more = field(text, language);
      if (!more) return more.error();
      if (!*more) return {};
      // Nothing in the format bounds them but the area; each takes a byte at least.
      if (custom.size() == kAreaBytesMax) return fail(at, "too many fields");
      custom.push_back(std::move(text));
    }
  }

 private:
  Status fail(size_t offset, const std::string& what) const { return corrupt(offset, area_ + " " + what); }

  ByteView inventory_;
  size_t start_;
  size_t at_;
  size_t end_ = 0;
  bool ended_ = false;
  std::string area_;
};

Status parse_multirecords(ByteView inventory, size_t offset, std::vector<FruMultiRecord>& out) {
  for (;;) {
    if (offset + 5 > inventory.size()) return corrupt(offset, "multirecord header runs over the inventory's end");
    ByteView header = inventory.subspan(offset, 5);
    if (checksum(header) != 0) return corrupt(offset + 4, "multirecord header checksum is wrong");
    FruMultiRecord record{header[0], static_cast<uint16_t>(offset + 5), header[2]};
    if ((header[1] & 0x0f) != 2) {
      return corrupt(offset + 1, "multirecord format " + std::to_string(header[1] & 0x0f) + " is not 2");
    }
    if (offset + 5 + record.size > inventory.size()) {
      return corrupt(offset + 2, "multirecord of " + std::to_string(record.size) + " bytes runs over the inventory's end");
    }
    ByteView data = inventory.subspan(offset + 5, record.size);
    // The record checksum makes data and itself 0; checksum(data) is what it must be.
    if (checksum(data) != header[3]) return corrupt(offset + 3, "multirecord data checksum is wrong");
    if (out.size() == kFruRecordsMax) return corrupt(offset, "more than 256 multirecords");
    out.push_back(record);
    if ((header[1] & 0x80) != 0) return {};
    offset += 5 + record.size;
  }
}

}  // namespace

Result<Bytes> build_fru(const FruInventory& inventory, size_t size_max) {
  Bytes areas;
  std::array<uint8_t, kHeaderBytes> header{kFormat};
  auto place = [&](size_t index, Result<Bytes> area) -> Status {
    if (!area) return area.error();
    size_t offset = (kHeaderBytes + areas.size()) / 8;
    if (offset > 0xff) return Error{ErrorCode::kLimit, "FRU inventory: areas start beyond byte 2040"};
    header[index] = static_cast<uint8_t>(offset);
    areas.insert(areas.end(), area->begin(), area->end());
    return {};
  };
  if (const auto& c = inventory.chassis) {
    AreaBuilder area("chassis");
    area.out().u8(c->type);
    if (auto done = place(2, build_area(area, {{"part number", &c->part_number}, {"serial", &c->serial}}, c->custom));
        !done) {
      return done.error();
    }
  }
  if (const auto& b = inventory.board) {
    if (b->manufactured > kMinutesMax) {
      return Error{ErrorCode::kInvalidArgument, "board manufactured: later than 24 bits of minutes since 1996 can say"};
    }
    AreaBuilder area("board");
    area.out().u8(b->language).u24(b->manufactured);
    if (auto done = place(3, build_area(area,
                                        {{"manufacturer", &b->manufacturer},
                                         {"product", &b->product},
                                         {"serial", &b->serial},
                                         {"part number", &b->part_number},
                                         {"FRU file id", &b->fru_file_id}},
                                        b->custom));
        !done) {
      return done.error();
    }
  }
  if (const auto& p = inventory.product) {
    AreaBuilder area("product");
    area.out().u8(p->language);
    if (auto done = place(4, build_area(area,
                                        {{"manufacturer", &p->manufacturer},
                                         {"name", &p->name},
                                         {"part number", &p->part_number},
                                         {"version", &p->version},
                                         {"serial", &p->serial},
                                         {"asset tag", &p->asset_tag},
                                         {"FRU file id", &p->fru_file_id}},
                                        p->custom));
        !done) {
      return done.error();
    }
  }
  header[7] = checksum(ByteView(header).first(7));
  Bytes out(header.begin(), header.end());
  out.insert(out.end(), areas.begin(), areas.end());
  if (out.size() > size_max) {
    return Error{ErrorCode::kLimit, "FRU inventory: " + std::to_string(out.size()) + " bytes, there is room for " +
                                        std::to_string(size_max)};
  }
  return out;
}

Result<FruInventory> parse_fru(ByteView inventory) {
  if (inventory.size() < kHeaderBytes) {
    return corrupt(0, "the common header has 8 bytes, here are " + std::to_string(inventory.size()));
  }
  if ((inventory[0] & 0x0f) != kFormat) {
    return corrupt(0, "format version " + std::to_string(inventory[0] & 0x0f) + " is not 1");
  }
  if (checksum(inventory.first(kHeaderBytes)) != 0) return corrupt(7, "common header checksum is wrong");
  FruInventory out;
  out.internal_use = inventory[1] != 0;
  if (inventory[2] != 0) {
    AreaReader area(inventory, inventory[2] * size_t{8}, "chassis area");
    if (auto done = area.open(1); !done) return done.error();
    FruChassis& c = out.chassis.emplace();
    c.type = area.u8();
    if (auto done = area.fields({&c.part_number, &c.serial}, c.custom, 0); !done) return done.error();
  }
  if (inventory[3] != 0) {
    AreaReader area(inventory, inventory[3] * size_t{8}, "board area");
    if (auto done = area.open(4); !done) return done.error();
    FruBoard& b = out.board.emplace();
    b.language = area.u8();
    b.manufactured = area.u8();
    b.manufactured |= static_cast<uint32_t>(area.u8()) << 8;
    b.manufactured |= static_cast<uint32_t>(area.u8()) << 16;
    if (auto done = area.fields({&b.manufacturer, &b.product, &b.serial, &b.part_number, &b.fru_file_id}, b.custom,
                                b.language);
        !done) {
      return done.error();
    }
  }
  if (inventory[4] != 0) {
    AreaReader area(inventory, inventory[4] * size_t{8}, "product area");
    if (auto done = area.open(1); !done) return done.error();
    FruProduct& p = out.product.emplace();
    p.language = area.u8();
    if (auto done = area.fields(
            {&p.manufacturer, &p.name, &p.part_number, &p.version, &p.serial, &p.asset_tag, &p.fru_file_id}, p.custom,
            p.language);
        !done) {
      return done.error();
    }
  }
  if (inventory[5] != 0) {
    if (auto done = parse_multirecords(inventory, inventory[5] * size_t{8}, out.records); !done) return done.error();
  }
  return out;
}

std::string fru_date_text(uint32_t minutes) {
  if (minutes == 0) return "";
  constexpr uint32_t k1996 = 820454400;  // 1996-01-01 00:00 UTC
  return sel_time_text(k1996 + minutes * 60).substr(0, 16);
}

}  // namespace bmcpair::ipmi
