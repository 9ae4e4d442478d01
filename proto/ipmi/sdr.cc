#include "proto/ipmi/sdr.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "proto/ipmi/cursor.h"
#include "proto/ipmi/sensor_names.h"
#include "proto/ipmi/type_length.h"

namespace bmcpair::ipmi {
namespace {

constexpr size_t kRecordsMax = 65535;

int sign_extend(unsigned value, unsigned bits) {
  unsigned sign = 1u << (bits - 1);
  return static_cast<int>((value & ((1u << bits) - 1)) ^ sign) - static_cast<int>(sign);
}

Error bad(uint8_t type, size_t offset, const std::string& what) {
  return Error{ErrorCode::kProtocol, "SDR of type " + to_hex(Bytes{type}) + "h, byte " + std::to_string(offset) + ": " + what};
}

void put_header(Writer& out, uint16_t id, uint8_t type, size_t body) {
  out.u16(id).u8(kSdrVersion).u8(type).u8(static_cast<uint8_t>(body));
}

// An ID string in 8-bit ASCII (§43.15): what cannot be said in Latin-1 becomes '?'.
Bytes id_string(std::string_view name) {
  Bytes text;
  if (auto latin = encode_string(StringCoding::kEightBit, name)) {
    text = *latin;
  } else {
    for (char c : name) text.push_back(static_cast<uint8_t>(c) < 0x80 ? static_cast<uint8_t>(c) : '?');
  }
  if (text.size() > kSdrNameMax) text.resize(kSdrNameMax);
  return text;
}

void put_id_string(Writer& out, const Bytes& text) {
  out.u8(static_cast<uint8_t>(0xc0 | text.size())).bytes(text);
}

// Reads the ID string at the reader's place.
Result<std::string> get_id_string(Reader& in, uint8_t type, size_t offset) {
  if (in.remaining() == 0) return bad(type, offset, "the record ends before its ID string");
  uint8_t code = in.u8();
  size_t length = code & 0x1f;
  if (length > in.remaining()) {
    return bad(type, offset, "the ID string says " + std::to_string(length) + " bytes and " +
                                 std::to_string(in.remaining()) + " are left");
  }
  ByteView text = in.take(length);
  auto coding = static_cast<StringCoding>(code >> 6);
  // 00b is Unicode here (§43.15), and in the wild often plain ASCII with a missing type.
  std::string name = decode_string(coding == StringCoding::kBinary ? StringCoding::kEightBit : coding, text);
  name.erase(std::find(name.begin(), name.end(), '\0'), name.end());
  return name;
}

}  // namespace

Result<SdrHeader> decode_sdr_header(ByteView record) {
  if (record.size() < kSdrHeaderBytes) {
    return Error{ErrorCode::kProtocol, "an SDR header has 5 bytes, here are " + std::to_string(record.size())};
  }
  Reader in(record);
  SdrHeader header;
  header.id = in.u16();
  header.version = in.u8();
  header.type = in.u8();
  header.length = in.u8();
  return header;
}

std::array<uint8_t, 6> encode_factors(const SdrFactors& f) {
  auto m = static_cast<unsigned>(f.m) & 0x3ff;
  auto b = static_cast<unsigned>(f.b) & 0x3ff;
  unsigned accuracy = f.accuracy & 0x3ffu;
  return {static_cast<uint8_t>(m),
          static_cast<uint8_t>((m >> 8) << 6 | (f.tolerance & 0x3f)),
          static_cast<uint8_t>(b),
          static_cast<uint8_t>((b >> 8) << 6 | (accuracy & 0x3f)),
          static_cast<uint8_t>((accuracy >> 6) << 4 | (f.accuracy_exponent & 3) << 2 | (f.direction & 3)),
          static_cast<uint8_t>((f.r_exponent & 15) << 4 | (f.b_exponent & 15))};
}

SdrFactors decode_factors(uint8_t linearization, ByteView six) {
  SdrFactors f;
  f.linearization = linearization;
  if (six.size() < 6) return f;
  f.m = static_cast<int16_t>(sign_extend(six[0] | (six[1] & 0xc0u) << 2, 10));
  f.tolerance = six[1] & 0x3f;
  f.b = static_cast<int16_t>(sign_extend(six[2] | (six[3] & 0xc0u) << 2, 10));
  f.accuracy = static_cast<uint16_t>((six[3] & 0x3f) | (six[4] & 0xf0) << 2);
  f.accuracy_exponent = six[4] >> 2 & 3;
  f.direction = six[4] & 3;
  f.r_exponent = static_cast<int8_t>(sign_extend(six[5] >> 4, 4));
  f.b_exponent = static_cast<int8_t>(sign_extend(six[5] & 15, 4));
  return f;
}

Bytes encode(const SdrSensor& s) {
  Bytes name = id_string(s.name);
  size_t fixed = s.record_type == kSdrFull ? 43 : s.record_type == kSdrCompact ? 27 : 12;
  Writer out;
  put_header(out, s.record_id, s.record_type, fixed + name.size());
  out.u8(s.owner_id).u8(s.owner_lun).u8(s.number).u8(s.entity_id).u8(s.entity_instance);
  if (s.record_type == kSdrEventOnly) {
    out.u8(s.sensor_type).u8(s.event_reading_type).u16(s.sharing).u8(0).u8(s.oem);
    put_id_string(out, name);
    return out.finish();
  }
  out.u8(s.initialization).u8(s.capabilities).u8(s.sensor_type).u8(s.event_reading_type);
  out.u16(s.assertion_mask).u16(s.deassertion_mask).u16(s.reading_mask);
  out.u8(s.units1).u8(s.base_unit).u8(s.modifier_unit);
  if (s.record_type == kSdrFull) {
    out.u8(s.factors.linearization).bytes(encode_factors(s.factors));
    out.u8(s.analog_flags).u8(s.nominal).u8(s.normal_max).u8(s.normal_min).u8(s.sensor_max).u8(s.sensor_min);
    for (size_t i = s.thresholds.size(); i-- > 3;) out.u8(s.thresholds[i]);  // UNR, UC, UNC
    out.u8(s.thresholds[kLnr]).u8(s.thresholds[kLc]).u8(s.thresholds[kLnc]);
    out.u8(s.positive_hysteresis).u8(s.negative_hysteresis).u16(0);
  } else {
    out.u16(s.sharing).u8(s.positive_hysteresis).u8(s.negative_hysteresis).u24(0);
  }
  out.u8(s.oem);
  put_id_string(out, name);
  return out.finish();
}

Bytes encode(const SdrFruLocator& l) {
  Bytes name = id_string(l.name);
  Writer out;
  put_header(out, l.record_id, kSdrFruLocator, 11 + name.size());
  out.u8(l.access_address).u8(l.fru_id).u8(l.access).u8(l.channel).u8(0);
  out.u8(l.device_type).u8(l.device_type_modifier).u8(l.entity_id).u8(l.entity_instance).u8(l.oem);
  put_id_string(out, name);
  return out.finish();
}

Bytes encode(const SdrMcLocator& l) {
  Bytes name = id_string(l.name);
  Writer out;
  put_header(out, l.record_id, kSdrMcLocator, 11 + name.size());
  out.u8(l.address).u8(l.channel).u8(l.notification).u8(l.capabilities).u24(0);
  out.u8(l.entity_id).u8(l.entity_instance).u8(l.oem);
  put_id_string(out, name);
  return out.finish();
}

namespace {

Result<SdrRecord> decode_sensor(Reader in, const SdrHeader& header) {
  SdrSensor s;
  s.record_id = header.id;
  s.record_type = header.type;
  size_t fixed = header.type == kSdrFull ? 42 : header.type == kSdrCompact ? 26 : 11;
  if (in.remaining() < fixed) return bad(header.type, kSdrHeaderBytes + in.remaining(), "the record is too short");
  s.owner_id = in.u8();
  s.owner_lun = in.u8();
  s.number = in.u8();
  s.entity_id = in.u8();
  s.entity_instance = in.u8();
  if (header.type == kSdrEventOnly) {
    s.sensor_type = in.u8();
    s.event_reading_type = in.u8();
    s.sharing = in.u16();
    in.u8();
    s.oem = in.u8();
  } else {
    s.initialization = in.u8();
    s.capabilities = in.u8();
    s.sensor_type = in.u8();
    s.event_reading_type = in.u8();
    s.assertion_mask = in.u16();
    s.deassertion_mask = in.u16();
    s.reading_mask = in.u16();
    s.units1 = in.u8();
    s.base_unit = in.u8();
    s.modifier_unit = in.u8();
    if (header.type == kSdrFull) {
      uint8_t linearization = in.u8() & 0x7f;
      s.factors = decode_factors(linearization, in.take(6));
      s.analog_flags = in.u8();
      s.nominal = in.u8();
      s.normal_max = in.u8();
      s.normal_min = in.u8();
      s.sensor_max = in.u8();
      s.sensor_min = in.u8();
      for (uint8_t t : {kUnr, kUc, kUnc, kLnr, kLc, kLnc}) s.thresholds[t] = in.u8();
      s.positive_hysteresis = in.u8();
      s.negative_hysteresis = in.u8();
      in.u16();
    } else {
      s.sharing = in.u16();
      s.positive_hysteresis = in.u8();
      s.negative_hysteresis = in.u8();
      in.u24();
    }
    s.oem = in.u8();
  }
  auto name = get_id_string(in, header.type, kSdrHeaderBytes + fixed);
  if (!name) return name.error();
  s.name = std::move(*name);
  return SdrRecord(std::move(s));
}

Result<SdrRecord> decode_fru_locator(Reader in, const SdrHeader& header) {
  SdrFruLocator l;
  l.record_id = header.id;
  if (in.remaining() < 10) return bad(header.type, kSdrHeaderBytes + in.remaining(), "the record is too short");
  l.access_address = in.u8();
  l.fru_id = in.u8();
  l.access = in.u8();
  l.channel = in.u8();
  in.u8();
  l.device_type = in.u8();
  l.device_type_modifier = in.u8();
  l.entity_id = in.u8();
  l.entity_instance = in.u8();
  l.oem = in.u8();
  auto name = get_id_string(in, header.type, kSdrHeaderBytes + 10);
  if (!name) return name.error();
  l.name = std::move(*name);
  return SdrRecord(std::move(l));
}

Result<SdrRecord> decode_mc_locator(Reader in, const SdrHeader& header) {
  SdrMcLocator l;
  l.record_id = header.id;
  if (in.remaining() < 10) return bad(header.type, kSdrHeaderBytes + in.remaining(), "the record is too short");
  l.address = in.u8();
  l.channel = in.u8();
  l.notification = in.u8();
  l.capabilities = in.u8();
  in.u24();
  l.entity_id = in.u8();
  l.entity_instance = in.u8();
  l.oem = in.u8();
  auto name = get_id_string(in, header.type, kSdrHeaderBytes + 10);
  if (!name) return name.error();
  l.name = std::move(*name);
  return SdrRecord(std::move(l));
}

}  // namespace

Result<SdrRecord> decode_sdr(ByteView record) {
  auto header = decode_sdr_header(record);
  if (!header) return header.error();
  ByteView body = record.subspan(kSdrHeaderBytes);
  if (body.size() != header->length) {
    return bad(header->type, 4, "the header says " + std::to_string(header->length) + " bytes follow, " +
                                    std::to_string(body.size()) + " do");
  }
  Reader in(body);
  switch (header->type) {
    case kSdrFull:
    case kSdrCompact:
    case kSdrEventOnly: return decode_sensor(in, *header);
    case kSdrFruLocator: return decode_fru_locator(in, *header);
    case kSdrMcLocator: return decode_mc_locator(in, *header);
    default: return SdrRecord(SdrOther{header->id, header->type, Bytes(body.begin(), body.end())});
  }
}

Result<std::vector<Bytes>> parse_sdr_dump(ByteView dump) {
  std::vector<Bytes> records;
  size_t offset = 0;
  while (offset < dump.size()) {
    auto fail = [&](const std::string& what) {
      return Error{ErrorCode::kCorrupt, "SDR dump, byte " + std::to_string(offset) + " (record " +
                                            std::to_string(records.size() + 1) + "): " + what};
    };
    ByteView rest = dump.subspan(offset);
    if (rest.size() < kSdrHeaderBytes) {
      return fail("a record header has 5 bytes, " + std::to_string(rest.size()) + " are left");
    }
    size_t size = kSdrHeaderBytes + rest[4];
    if (rest[3] == 0) return fail("record type 00h does not exist");
    if (size > rest.size()) {
      return fail("the record says " + std::to_string(size) + " bytes, " + std::to_string(rest.size()) + " are left");
    }
    if (records.size() == kRecordsMax) {
      return Error{ErrorCode::kLimit, "SDR dump, byte " + std::to_string(offset) + ": more than 65535 records"};
    }
    Bytes record(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(size));
    if (auto decoded = decode_sdr(record); !decoded) return fail(decoded.error().message);
    records.push_back(std::move(record));
    offset += size;
  }
  return records;
}

int sdr_raw_to_int(AnalogFormat format, uint8_t raw) {
  switch (format) {
    case AnalogFormat::kOnesComplement: return raw & 0x80 ? -static_cast<int>(static_cast<uint8_t>(~raw)) : raw;
    case AnalogFormat::kTwosComplement: return static_cast<int8_t>(raw);
    default: return raw;
  }
}

uint8_t sdr_int_to_raw(AnalogFormat format, int value) {
  value = std::clamp(value, sdr_raw_min(format), sdr_raw_max(format));
  if (format == AnalogFormat::kOnesComplement && value < 0) return static_cast<uint8_t>(~(-value));
  return static_cast<uint8_t>(value);
}

std::optional<double> sdr_convert(const SdrFactors& f, AnalogFormat format, uint8_t raw) {
  double x = (f.m * static_cast<double>(sdr_raw_to_int(format, raw)) + f.b * std::pow(10.0, f.b_exponent)) *
             std::pow(10.0, f.r_exponent);
  double y = 0;
  switch (f.linearization) {  // §43.1 byte 24
    case 0x00: y = x; break;
    case 0x01: y = std::log(x); break;
    case 0x02: y = std::log10(x); break;
    case 0x03: y = std::log2(x); break;
    case 0x04: y = std::exp(x); break;
    case 0x05: y = std::pow(10.0, x); break;
    case 0x06: y = std::exp2(x); break;
    case 0x07:
      if (x == 0) return std::nullopt;
      y = 1 / x;
      break;
    case 0x08: y = x * x; break;
    case 0x09: y = x * x * x; break;
    case 0x0a: y = x < 0 ? std::nan("") : std::sqrt(x); break;
    case 0x0b: y = std::cbrt(x); break;
    default: return std::nullopt;
  }
  if (!std::isfinite(y)) return std::nullopt;
  return y;
}

std::optional<double> sdr_convert(const SdrSensor& sensor, uint8_t raw) {
  if (!sensor.has_value()) return std::nullopt;
  return sdr_convert(sensor.factors, sensor.format(), raw);
}

double sdr_convert_counts(const SdrFactors& f, double counts) {
  return std::abs(f.m * counts * std::pow(10.0, f.r_exponent));
}

uint8_t sdr_unconvert(const SdrFactors& f, AnalogFormat format, double value) {
  double raw = (value * std::pow(10.0, -f.r_exponent) - f.b * std::pow(10.0, f.b_exponent)) / f.m;
  if (!(raw > sdr_raw_min(format))) raw = sdr_raw_min(format);  // NaN too
  if (raw > sdr_raw_max(format)) raw = sdr_raw_max(format);
  return sdr_int_to_raw(format, static_cast<int>(std::lround(raw)));
}

std::string sdr_unit_text(const SdrSensor& s) {
  static constexpr std::string_view kRates[] = {"", "/us", "/ms", "/s", "/minute", "/hour", "/day", ""};
  std::string out = s.units1 & 1 ? "%" : "";
  auto base = unit_name(s.base_unit);
  if (!base.empty()) {
    if (!out.empty()) out += ' ';
    out += base;
  }
  auto use = s.units1 >> 1 & 3;
  if (auto modifier = unit_name(s.modifier_unit); (use == 1 || use == 2) && !modifier.empty()) {
    out += use == 1 ? '/' : '*';
    out += modifier;
  }
  out += kRates[s.units1 >> 3 & 7];
  return out;
}

std::string sdr_value_text(const SdrFactors& f, double value) {
  // One count is M x 10^r: digits below it say nothing.
  int digits = 3;
  if (f.linearization == 0) {
    double step = std::abs(f.m) * std::pow(10.0, f.r_exponent);
    digits = step <= 0 || step >= 1 ? 0 : std::min(6, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
    if (std::abs(value - std::round(value)) > 1e-6 && digits == 0) digits = 1;
  }
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace bmcpair::ipmi
