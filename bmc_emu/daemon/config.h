// One YAML file to everything a daemon serves: its BMCs, and where it listens. The keys are data (config_keys.h);
// the JSON schema for editors (configs/bmcpair.schema.json) is written from the same table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bmc_emu/board/board.h"
#include "proto/base/result.h"

namespace bmcpair::daemon {

enum class BarKind : uint8_t { kIo, kMemory };

// One interface served to QEMU as a PCI device.
struct VfioUserConfig {
  std::string bmc;
  std::string interface;
  std::string socket;   // path; may hold ${RUN}, see expand_run_directory
  BarKind bar = BarKind::kIo;
  uint16_t spacing = 1;  // bytes between registers: 1, 4 or 16
};

// One interface served to QEMU's ipmi-bmc-extern, over the OpenIPMI VM protocol.
struct VmConfig {
  std::string bmc;
  std::string interface;
  std::string listen;  // "unix:PATH" (may hold ${RUN}) or "tcp:HOST:PORT"
};

struct TlsConfig {  // PEM files; all empty: no TLS
  std::string certificate;
  std::string key;
  std::string client_ca;  // not empty: clients must show a certificate signed by it (mutual TLS)
};

struct DaemonConfig {
  std::vector<board::BoardConfig> boards;  // in the file's order, counts expanded
  std::vector<VfioUserConfig> vfio_user;
  std::vector<VmConfig> vm;
  std::vector<std::string> listen;         // "unix:PATH" (may hold ${RUN}) or "HOST:PORT"; empty: the default socket
  TlsConfig tls;
  std::string state_directory;             // empty: nothing survives a restart
  unsigned threads = 0;                    // workers; 0: chosen from the machine
  std::string log_level = "info";          // trace, debug, info, warning, error
};

// What a file may ask for, whatever it says.
struct ConfigLimits {
  size_t text_bytes_max = 16u << 20;
  size_t nodes_max = 1'000'000;  // after aliases are expanded
  size_t depth_max = 24;
  size_t boards_max = 20'000;
  size_t mistakes_max = 20;      // reported at once
  size_t file_bytes_max = 1u << 20;  // of a file that the configuration names
};

// Errors: kInvalidArgument. The message has one line a mistake, each "FILE:LINE:COLUMN: KEY: what is wrong, what was
// expected". Files named inside are relative to the folder of file_name.
Result<DaemonConfig> parse_config(std::string_view text, const std::string& file_name, const ConfigLimits& limits = {});
// The same, of a file. Errors also: kNotFound, kIo.
Result<DaemonConfig> load_config(const std::string& path, const ConfigLimits& limits = {});

// "${RUN}" in a path becomes the run directory.
std::string expand_run_directory(std::string path, const std::string& run_directory);

// The JSON schema of the configuration (draft 2020-12), as configs/bmcpair.schema.json holds it.
std::string config_schema_json();

}  // namespace bmcpair::daemon
