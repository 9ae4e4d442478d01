// SDR, SEL and FRU bytes from a peer or a file: read or refused with an offset, and what was read can be shown.
#include <cstdlib>
#include <string>

#include "proto/ipmi/fru.h"
#include "proto/ipmi/sdr.h"
#include "proto/ipmi/sel.h"
#include "proto/ipmi/sensor_names.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bmcpair;
  if (size == 0) return 0;
  const ByteView bytes(data + 1, size - 1);
  switch (data[0] % 4) {
    case 0: {
      auto record = ipmi::decode_sdr(bytes);
      if (!record.ok()) {
        if (record.error().message.empty()) std::abort();
        break;
      }
      if (const auto* sensor = std::get_if<ipmi::SdrSensor>(&*record)) {
        ipmi::sdr_unit_text(*sensor);
        for (unsigned raw = 0; raw < 256; raw += 51) {
          if (auto value = ipmi::sdr_convert(*sensor, static_cast<uint8_t>(raw))) ipmi::sdr_value_text(sensor->factors, *value);
        }
        // What is encoded is read back as it was.
        auto again = ipmi::decode_sdr(ipmi::encode(*sensor));
        if (!again.ok()) std::abort();
      }
      break;
    }
    case 1: {
      auto records = ipmi::parse_sdr_dump(bytes);
      if (records.ok()) {
        size_t total = 0;
        for (const Bytes& record : *records) total += record.size();
        if (total > bytes.size()) std::abort();
      }
      break;
    }
    case 2: {
      if (auto inventory = ipmi::parse_fru(bytes); inventory.ok() && inventory->board) {
        ipmi::fru_date_text(inventory->board->manufactured);
      }
      break;
    }
    case 3: {
      auto record = ipmi::decode_sel_record(bytes);
      if (record.ok()) {
        ipmi::sel_line(*record, nullptr);
        ipmi::SdrSensor sensor;
        sensor.event_reading_type = record->event_type();
        ipmi::sel_line(*record, &sensor);
      }
      break;
    }
  }
  return 0;
}
