// What the specification calls sensor types, units, states and entities (IPMI 2.0 tables 42-1, 42-2, 42-3, 43-13,
// 43-15).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bmcpair::ipmi {

// "Temperature"; "OEM" from C0h; "reserved" for what is not in table 42-3.
std::string_view sensor_type_name(uint8_t sensor_type);
// "degrees C"; empty for 0 (unspecified) and what is not in table 43-15.
std::string_view unit_name(uint8_t unit);
// "processor"; "entity" for what is not in table 43-13.
std::string_view entity_name(uint8_t entity_id);
// "lower non-critical", by Threshold.
std::string_view threshold_name(uint8_t threshold);
// What an offset of an event/reading type means: "upper critical going high", "state asserted", "power supply failure
// detected". Empty when the specification does not say.
std::string_view offset_name(uint8_t event_reading_type, uint8_t sensor_type, uint8_t offset);
// Threshold comparison status (§35.14 byte 3) in one word as tools print it: "ok", "nc", "cr", "nr".
std::string_view threshold_status_name(uint8_t comparison_bits);
// Asserted states of a discrete sensor, joined with ", "; unknown ones as "state 9".
std::string states_text(uint8_t event_reading_type, uint8_t sensor_type, uint16_t states);

}  // namespace bmcpair::ipmi
