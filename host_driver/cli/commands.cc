#include "host_driver/cli/commands.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "proto/ipmi/cursor.h"
#include "proto/ipmi/fru.h"
#include "proto/ipmi/sel.h"
#include "proto/ipmi/sensor_names.h"

namespace bmcpair::cli {

using nlohmann::ordered_json;

Report::Report() : json(std::make_unique<ordered_json>(ordered_json::object())) {}
Report::~Report() = default;
Report::Report(Report&&) noexcept = default;
Report& Report::operator=(Report&&) noexcept = default;

namespace {

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[512];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

std::string hex2(unsigned value) { return format("0x%02x", value); }

// A text that JSON can hold: bytes that are not ASCII are a peer's and need not be UTF-8.
std::string printable(const std::string& text) {
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += format("\\x%02x", byte);
    }
  }
  return out;
}

struct Line {
  const char* key;
  std::string value;
};

std::string lines(const std::vector<Line>& rows) {
  std::string out;
  for (const Line& row : rows) {
    if (!row.value.empty()) out += format("%-22s: ", row.key) + row.value + "\n";
  }
  return out;
}

const char* const kSupport[] = {"sensor device",   "SDR repository", "SEL device",      "FRU inventory",
                                "IPMB receiver",   "IPMB generator", "bridge",          "chassis device"};

}  // namespace

Result<Report> report_info(const RequestFunction& send) {
  auto id = get_device_id(send);
  if (!id.ok()) return id.error();
  auto device_guid = get_guid(send, false);
  if (!device_guid.ok()) return device_guid.error();
  auto system_guid = get_guid(send, true);
  if (!system_guid.ok()) return system_guid.error();
  auto self_test = send({ipmi::kNetFnApp, 0, 0x04, {}});
  if (!self_test.ok()) return self_test.error();

  std::string support;
  auto support_json = ordered_json::array();
  for (unsigned bit = 0; bit < 8; ++bit) {
    if (!(id->additional_support & 1u << bit)) continue;
    support += (support.empty() ? "" : ", ") + std::string(kSupport[bit]);
    support_json.push_back(kSupport[bit]);
  }
  std::string test;
  if (self_test->cc == ipmi::CompletionCode::kOk && self_test->data.size() >= 2) {
    test = self_test->data[0] == 0x55   ? "passed"
           : self_test->data[0] == 0x56 ? "not implemented"
           : self_test->data[0] == 0x57 ? "corrupted or inaccessible data, " + hex2(self_test->data[1])
                                        : "failed, " + hex2(self_test->data[0]) + " " + hex2(self_test->data[1]);
  }
  Report report;
  auto& json = *report.json;
  json["device_id"] = id->device_id;
  json["device_revision"] = id->device_revision;
  json["available"] = id->available;
  json["firmware"] = id->firmware_text();
  json["ipmi_version"] = id->ipmi_text();
  json["manufacturer_id"] = id->manufacturer_id;
  json["product_id"] = id->product_id;
  json["provides_device_sdrs"] = id->provides_sdrs;
  json["support"] = support_json;
  if (id->aux_firmware) json["aux_firmware"] = to_hex(*id->aux_firmware);
  if (*device_guid) json["device_guid"] = guid_text(**device_guid);
  if (*system_guid) json["system_guid"] = guid_text(**system_guid);
  if (!test.empty()) json["self_test"] = test;
  report.text = lines({{"Device ID", hex2(id->device_id)},
                       {"Device revision", std::to_string(id->device_revision)},
                       {"Device available", id->available ? "yes" : "no, update or initialisation under way"},
                       {"Firmware", id->firmware_text()},
                       {"IPMI version", id->ipmi_text()},
                       {"Manufacturer ID", format("%u (0x%05x)", id->manufacturer_id, id->manufacturer_id)},
                       {"Product ID", format("%u (0x%04x)", id->product_id, id->product_id)},
                       {"Provides device SDRs", id->provides_sdrs ? "yes" : "no"},
                       {"Additional support", support},
                       {"Aux firmware", id->aux_firmware ? to_hex(*id->aux_firmware) : ""},
                       {"Device GUID", *device_guid ? guid_text(**device_guid) : ""},
                       {"System GUID", *system_guid ? guid_text(**system_guid) : ""},
                       {"Self test", test}});
  return report;
}

Result<Report> report_raw(const RequestFunction& send, uint8_t netfn, uint8_t lun, uint8_t cmd, const Bytes& data) {
  ipmi::Request request{netfn, lun, cmd, data};
  auto response = send(request);
  if (!response.ok()) return response.error();
  Report report;
  auto& json = *report.json;
  json["request"] = to_hex(ipmi::encode(request));
  json["completion_code"] = static_cast<unsigned>(response->cc);
  json["meaning"] = std::string(to_string(response->cc));
  json["data"] = to_hex(response->data);
  // What came, byte for byte: NetFn/LUN, Cmd, completion code, data.
  report.text = to_hex(ipmi::encode(request, *response)) + "\n";
  if (response->cc != ipmi::CompletionCode::kOk) {
    report.text += "completion code " + hex2(static_cast<unsigned>(response->cc)) + ": " + std::string(to_string(response->cc)) + "\n";
    report.exit_status = 4;
  }
  return report;
}

std::vector<ipmi::SdrSensor> sensors_of(const std::vector<Bytes>& records) {
  std::vector<ipmi::SdrSensor> out;
  for (const Bytes& record : records) {
    auto decoded = ipmi::decode_sdr(record);
    if (!decoded.ok()) continue;
    if (const auto* sensor = std::get_if<ipmi::SdrSensor>(&*decoded)) {
      // One compact or event-only record can stand for several sensors (§43.2 byte 24); only full records cannot.
      unsigned shared = sensor->record_type == ipmi::kSdrFull ? 1 : std::max(1u, sensor->sharing & 0x0fu);
      for (unsigned i = 0; i < shared; ++i) {
        ipmi::SdrSensor one = *sensor;
        one.number = static_cast<uint8_t>(sensor->number + i);
        out.push_back(std::move(one));
      }
    }
  }
  return out;
}

const ipmi::SdrSensor* find_sensor(const std::vector<ipmi::SdrSensor>& sensors, uint8_t number, uint8_t owner) {
  auto found = std::find_if(sensors.begin(), sensors.end(), [&](const ipmi::SdrSensor& sensor) {
    return sensor.number == number && sensor.owner_id == owner;
  });
  return found == sensors.end() ? nullptr : &*found;
}

Result<Report> report_sdr(const RequestFunction& send) {
  auto records = read_sdr_repository(send, {});
  if (!records.ok()) return records.error();
  Report report;
  auto list = ordered_json::array();
  for (const Bytes& record : *records) {
    auto decoded = ipmi::decode_sdr(record);
    ordered_json entry;
    std::string line;
    if (!decoded.ok()) {
      entry = {{"error", decoded.error().message}, {"bytes", to_hex(record)}};
      line = "????  " + decoded.error().message;
    } else if (const auto* sensor = std::get_if<ipmi::SdrSensor>(&*decoded)) {
      const char* kind = sensor->record_type == ipmi::kSdrFull      ? "full sensor"
                         : sensor->record_type == ipmi::kSdrCompact ? "compact sensor"
                                                                    : "event-only sensor";
      std::string type(ipmi::sensor_type_name(sensor->sensor_type));
      entry = {{"id", sensor->record_id}, {"record", kind}, {"name", printable(sensor->name)}, {"number", sensor->number},
               {"owner", sensor->owner_id}, {"lun", sensor->owner_lun & 3}, {"type", type},
               {"entity", std::string(ipmi::entity_name(sensor->entity_id))}, {"entity_instance", sensor->entity_instance}};
      line = format("%04x  %-17s  %-16s  #%02x  %s, %s %u", sensor->record_id, kind, printable(sensor->name).c_str(), sensor->number,
                    type.c_str(), std::string(ipmi::entity_name(sensor->entity_id)).c_str(), sensor->entity_instance);
    } else if (const auto* fru = std::get_if<ipmi::SdrFruLocator>(&*decoded)) {
      entry = {{"id", fru->record_id}, {"record", "FRU locator"}, {"name", printable(fru->name)}, {"fru_id", fru->fru_id},
               {"logical", fru->logical()}};
      line = format("%04x  %-17s  %-16s  FRU %u", fru->record_id, "FRU locator", printable(fru->name).c_str(), fru->fru_id);
    } else if (const auto* mc = std::get_if<ipmi::SdrMcLocator>(&*decoded)) {
      entry = {{"id", mc->record_id}, {"record", "MC locator"}, {"name", printable(mc->name)}, {"address", mc->address}};
      line = format("%04x  %-17s  %-16s  IPMB %02xh", mc->record_id, "MC locator", printable(mc->name).c_str(), mc->address);
    } else if (const auto* other = std::get_if<ipmi::SdrOther>(&*decoded)) {
      entry = {{"id", other->record_id}, {"record", format("type %02xh", other->record_type)}, {"bytes", to_hex(record)}};
      line = format("%04x  type %02xh, %zu bytes", other->record_id, other->record_type, record.size());
    }
    list.push_back(std::move(entry));
    report.text += line + "\n";
  }
  if (list.empty()) report.text = "the SDR repository is empty\n";
  (*report.json)["records"] = std::move(list);
  return report;
}

Result<Report> report_sensors(const RequestFunction& send) {
  auto records = read_sdr_repository(send, {});
  if (!records.ok()) return records.error();
  Report report;
  auto list = ordered_json::array();
  for (const ipmi::SdrSensor& sensor : sensors_of(*records)) {
    if (sensor.record_type == ipmi::kSdrEventOnly) continue;  // it has no reading (§43.3)
    ordered_json entry{{"name", printable(sensor.name)}, {"number", sensor.number},
                       {"type", std::string(ipmi::sensor_type_name(sensor.sensor_type))}};
    std::string value, status;
    if (sensor.owner_id != 0x20) {
      // Another controller owns it; this BMC would answer for a different sensor of the same number.
      entry["owner"] = sensor.owner_id;
      value = "-";
      status = format("owned by %02xh", sensor.owner_id);
    } else {
      auto reading = get_sensor_reading(send, sensor.number, sensor.owner_lun & 3);
      if (!reading.ok()) return reading.error();
      if (!*reading) {
        value = "-";
        status = "not present";
        entry["present"] = false;
      } else if (!(*reading)->available) {
        value = "-";
        status = "no reading";
        entry["available"] = false;
      } else {
        entry["raw"] = (*reading)->raw;
        if (sensor.threshold()) {
          std::optional<double> number;
          if (sensor.has_value()) number = ipmi::sdr_convert(sensor, (*reading)->raw);
          std::string unit = ipmi::sdr_unit_text(sensor);
          if (number) {
            entry["value"] = *number;
            entry["unit"] = unit;
            value = ipmi::sdr_value_text(sensor.factors, *number) + " " + unit;
          } else {
            value = hex2((*reading)->raw);
          }
          status = ipmi::threshold_status_name(static_cast<uint8_t>((*reading)->states & 0x3f));
        } else {
          value = hex2((*reading)->states & 0x7fffu);
          status = ipmi::states_text(sensor.event_reading_type, sensor.sensor_type, (*reading)->states);
          entry["states"] = (*reading)->states & 0x7fff;
        }
        entry["status"] = status;
      }
    }
    report.text += format("%-16s | %-18s | %s", printable(sensor.name).c_str(), value.c_str(), status.empty() ? "ok" : status.c_str()) + "\n";
    list.push_back(std::move(entry));
  }
  if (list.empty()) report.text = "the SDR repository names no sensor\n";
  (*report.json)["sensors"] = std::move(list);
  return report;
}

namespace {

ordered_json event_json(const ipmi::SelRecord& record, ByteView bytes, const ipmi::SdrSensor* sensor) {
  ordered_json entry{{"id", record.id}, {"type", record.type}};
  if (record.timestamped()) {
    entry["timestamp"] = record.timestamp;
    entry["time"] = ipmi::sel_time_text(record.timestamp);
  }
  if (record.system_event()) {
    entry["sensor_number"] = record.sensor_number;
    entry["sensor_type"] = std::string(ipmi::sensor_type_name(record.sensor_type));
    if (sensor) entry["sensor"] = printable(sensor->name);
    entry["event"] = ipmi::sel_event_text(record, sensor);
    entry["asserted"] = !record.deassertion();
  }
  entry["bytes"] = to_hex(bytes);
  return entry;
}

}  // namespace

Report report_event(ByteView record16, const std::vector<ipmi::SdrSensor>& sensors) {
  Report report;
  auto record = ipmi::decode_sel_record(record16);
  if (!record.ok()) {
    *report.json = {{"error", record.error().message}, {"bytes", to_hex(record16)}};
    report.text = "an event that cannot be read: " + record.error().message + ": " + to_hex(record16) + "\n";
    return report;
  }
  const ipmi::SdrSensor* sensor = find_sensor(sensors, record->sensor_number, record->generator_low);
  *report.json = event_json(*record, record16, sensor);
  report.text = ipmi::sel_line(*record, sensor) + "\n";
  return report;
}

Result<Report> report_sel_list(const RequestFunction& send) {
  auto info = get_sel_info(send);
  if (!info.ok()) return info.error();
  auto records = read_sel(send);
  if (!records.ok()) return records.error();
  // Names make the log readable, but a log without its repository is still a log.
  std::vector<ipmi::SdrSensor> sensors;
  if (auto sdr = read_sdr_repository(send, {}); sdr.ok()) sensors = sensors_of(*sdr);
  Report report;
  auto list = ordered_json::array();
  for (const Bytes& record : *records) {
    Report one = report_event(record, sensors);
    report.text += one.text;
    list.push_back(std::move(*one.json));
  }
  if (records->empty()) report.text = "the SEL is empty\n";
  if (info->overflow) report.text += "the SEL has overflowed: entries were dropped\n";
  (*report.json)["entries"] = std::move(list);
  (*report.json)["free_bytes"] = info->free_bytes;
  (*report.json)["overflow"] = info->overflow;
  return report;
}

Result<Report> report_sel_clear(const RequestFunction& send) {
  if (auto cleared = clear_sel(send); !cleared.ok()) return cleared.error();
  Report report;
  (*report.json)["cleared"] = true;
  report.text = "the SEL is cleared\n";
  return report;
}

Result<Report> report_sel_add(const RequestFunction& send, const Bytes& record16) {
  if (record16.size() != ipmi::kSelRecordBytes) {
    return Error{ErrorCode::kInvalidArgument, "sel add: a record has 16 bytes, these are " + std::to_string(record16.size())};
  }
  auto id = add_sel(send, record16);
  if (!id.ok()) return id.error();
  Report report;
  (*report.json)["id"] = *id;
  report.text = format("added as record %04xh\n", *id);
  return report;
}

Result<Report> report_fru(const RequestFunction& send, std::optional<uint8_t> id) {
  std::vector<std::pair<uint8_t, std::string>> frus;
  if (id) {
    frus.emplace_back(*id, "");
  } else {
    std::set<uint8_t> seen;
    auto records = read_sdr_repository(send, {});
    if (!records.ok()) return records.error();
    for (const Bytes& record : *records) {
      auto decoded = ipmi::decode_sdr(record);
      if (!decoded.ok()) continue;
      const auto* fru = std::get_if<ipmi::SdrFruLocator>(&*decoded);
      if (fru && fru->logical() && fru->access_address == 0x20 && seen.insert(fru->fru_id).second) {
        frus.emplace_back(fru->fru_id, fru->name);
      }
    }
    if (!seen.count(0)) frus.insert(frus.begin(), {0, ""});  // FRU 0 is the controller's own (§38)
  }
  Report report;
  auto list = ordered_json::array();
  for (const auto& [fru_id, name] : frus) {
    auto bytes = read_fru(send, fru_id);
    if (!bytes.ok()) {
      if (frus.size() == 1) return bytes.error();
      report.text += format("FRU %u%s%s: ", fru_id, name.empty() ? "" : ", ", printable(name).c_str()) + bytes.error().message + "\n";
      list.push_back({{"id", fru_id}, {"error", bytes.error().message}});
      continue;
    }
    ordered_json entry{{"id", fru_id}};
    if (!name.empty()) entry["name"] = printable(name);
    entry["size"] = bytes->size();
    report.text += format("FRU %u%s%s, %zu bytes\n", fru_id, name.empty() ? "" : ", ", printable(name).c_str(), bytes->size());
    auto inventory = ipmi::parse_fru(*bytes);
    if (!inventory.ok()) {
      entry["error"] = inventory.error().message;
      report.text += "  not readable: " + inventory.error().message + "\n";
      list.push_back(std::move(entry));
      continue;
    }
    auto row = [&](ordered_json& json, const char* area, const char* key, const char* label, const std::string& value) {
      if (value.empty()) return;
      json[key] = printable(value);
      report.text += format("  %-8s %-14s: ", area, label) + printable(value) + "\n";
    };
    auto custom = [&](ordered_json& json, const char* area, const std::vector<std::string>& values) {
      for (const std::string& value : values) {
        json["custom"].push_back(printable(value));
        report.text += format("  %-8s %-14s: ", area, "custom") + printable(value) + "\n";
      }
    };
    if (inventory->chassis) {
      ordered_json json{{"type", inventory->chassis->type}};
      row(json, "chassis", "part_number", "part number", inventory->chassis->part_number);
      row(json, "chassis", "serial", "serial", inventory->chassis->serial);
      custom(json, "chassis", inventory->chassis->custom);
      entry["chassis"] = std::move(json);
    }
    if (inventory->board) {
      ordered_json json = ordered_json::object();
      row(json, "board", "manufactured", "manufactured", ipmi::fru_date_text(inventory->board->manufactured));
      row(json, "board", "manufacturer", "manufacturer", inventory->board->manufacturer);
      row(json, "board", "product", "product", inventory->board->product);
      row(json, "board", "serial", "serial", inventory->board->serial);
      row(json, "board", "part_number", "part number", inventory->board->part_number);
      custom(json, "board", inventory->board->custom);
      entry["board"] = std::move(json);
    }
    if (inventory->product) {
      ordered_json json = ordered_json::object();
      row(json, "product", "manufacturer", "manufacturer", inventory->product->manufacturer);
      row(json, "product", "name", "name", inventory->product->name);
      row(json, "product", "part_number", "part number", inventory->product->part_number);
      row(json, "product", "version", "version", inventory->product->version);
      row(json, "product", "serial", "serial", inventory->product->serial);
      row(json, "product", "asset_tag", "asset tag", inventory->product->asset_tag);
      custom(json, "product", inventory->product->custom);
      entry["product"] = std::move(json);
    }
    if (!inventory->records.empty()) {
      entry["multi_records"] = inventory->records.size();
      report.text += format("  %zu MultiRecords\n", inventory->records.size());
    }
    list.push_back(std::move(entry));
  }
  (*report.json)["frus"] = std::move(list);
  return report;
}

}  // namespace bmcpair::cli
