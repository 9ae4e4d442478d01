#include "proto/ipmi/sel.h"

#include <cstdio>

#include "proto/ipmi/cursor.h"
#include "proto/ipmi/sensor_names.h"

namespace bmcpair::ipmi {

Result<SelRecord> decode_sel_record(ByteView record) {
  if (record.size() != kSelRecordBytes) {
    return Error{ErrorCode::kProtocol, "a SEL record has 16 bytes, here are " + std::to_string(record.size())};
  }
  Reader in(record);
  SelRecord r;
  r.id = in.u16();
  r.type = in.u8();
  if (!r.timestamped()) {
    auto rest = in.rest();
    r.oem.assign(rest.begin(), rest.end());
    return r;
  }
  r.timestamp = in.u32();
  if (r.type >= kSelOemTimestamped) {
    r.manufacturer_id = in.u24();
    auto rest = in.rest();
    r.oem.assign(rest.begin(), rest.end());
    return r;
  }
  r.generator_low = in.u8();
  r.generator_high = in.u8();
  r.evm_rev = in.u8();
  r.sensor_type = in.u8();
  r.sensor_number = in.u8();
  r.event_dir_type = in.u8();
  for (auto& b : r.data) b = in.u8();
  return r;
}

Bytes encode(const SelRecord& r) {
  Writer out;
  out.u16(r.id).u8(r.type);
  if (r.timestamped()) {
    out.u32(r.timestamp);
    if (r.type >= kSelOemTimestamped) {
      out.u24(r.manufacturer_id).bytes(r.oem);
    } else {
      out.u8(r.generator_low).u8(r.generator_high).u8(r.evm_rev).u8(r.sensor_type).u8(r.sensor_number);
      out.u8(r.event_dir_type).bytes(r.data);
    }
  } else {
    out.bytes(r.oem);
  }
  Bytes bytes = out.finish();
  bytes.resize(kSelRecordBytes, 0xff);
  return bytes;
}

std::string sel_time_text(uint32_t seconds) {
  char text[64];
  if (seconds == 0xffffffff) return "unspecified time";  // ch. 37
  if (seconds <= 0x20000000) {
    std::snprintf(text, sizeof text, "since initialization %u s", seconds);
    return text;
  }
  // Days to civil date, with years that begin in March so that the leap day comes last.
  uint32_t days = seconds / 86400 + 719468;  // since 0000-03-01
  uint32_t era = days / 146097;
  uint32_t day_of_era = days % 146097;
  uint32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  uint32_t month_from_march = (5 * day_of_year + 2) / 153;
  uint32_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  uint32_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  uint32_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);
  uint32_t second = seconds % 86400;
  std::snprintf(text, sizeof text, "%04u-%02u-%02u %02u:%02u:%02u", year, month, day, second / 3600, second / 60 % 60,
                second % 60);
  return text;
}

std::string sel_event_text(const SelRecord& r, const SdrSensor* sensor) {
  if (r.type >= kSelOemUntimestamped) return "OEM record " + to_hex(r.oem);
  if (r.type >= kSelOemTimestamped) {
    char text[64];
    std::snprintf(text, sizeof text, "OEM record of manufacturer %u: ", r.manufacturer_id);
    return text + to_hex(r.oem);
  }
  if (r.event_type() >= 0x70) return "OEM event " + to_hex(r.data);
  std::string text(offset_name(r.event_type(), r.sensor_type, r.offset()));
  if (text.empty()) text = "offset " + std::to_string(r.offset());
  if (r.event_type() == 0x01) {
    // Table 29-6: 01b in bits 7:6 and 5:4 of event data 1 says what bytes 2 and 3 are.
    bool reading = (r.data[0] >> 6) == 1;
    bool threshold = (r.data[0] >> 4 & 3) == 1;
    auto number = [&](uint8_t raw) {
      if (sensor != nullptr) {
        if (auto value = sdr_convert(*sensor, raw)) return sdr_value_text(sensor->factors, *value);
      }
      return "raw " + std::to_string(raw);
    };
    if (reading) text += ", reading " + number(r.data[1]);
    if (threshold) text += std::string(reading ? "" : ",") + " (threshold " + number(r.data[2]) + ")";
    if ((reading || threshold) && sensor != nullptr && sensor->has_value()) {
      if (auto unit = sdr_unit_text(*sensor); !unit.empty()) text += " " + unit;
    }
  } else if (r.data[1] != 0xff || r.data[2] != 0xff) {
    text += " (" + to_hex(ByteView(r.data).subspan(1)) + ")";
  }
  return text;
}

std::string sel_line(const SelRecord& r, const SdrSensor* sensor) {
  char head[16];
  std::snprintf(head, sizeof head, "%4x | ", r.id);
  std::string line = head + (r.timestamped() ? sel_time_text(r.timestamp) : std::string("no time")) + " | ";
  if (r.type >= kSelOemTimestamped) return line + sel_event_text(r, sensor);
  line += sensor_type_name(r.sensor_type);
  if (sensor != nullptr && !sensor->name.empty()) {
    line += " " + sensor->name;
  } else {
    line += " #" + to_hex(Bytes{r.sensor_number});
  }
  return line + " | " + sel_event_text(r, sensor) + (r.deassertion() ? " | deasserted" : " | asserted");
}

}  // namespace bmcpair::ipmi
