// Bus specs, one form everywhere (design.md §2), and how they become register ports.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::bus {

// in-process:CONFIG.yaml#bmc/interface   grpc:TARGET#bmc/interface   vfio-user:SOCKET[?spacing=4]
// qtest:SOCKET@0xe4[?kind=bt]
// "#bmc/interface" may be left out, whole or in part, where there is only one.
struct BusSpec {
  std::string scheme;             // "in-process", "grpc", "vfio-user", "qtest"
  std::string target;             // file, gRPC target or socket path
  std::string path;               // after '#', may be empty
  std::optional<uint16_t> base;   // after '@' (qtest only)
  std::vector<std::pair<std::string, std::string>> options;  // after '?', in order
  std::string text;               // as it was written
};

// Errors: kInvalidArgument, naming the part that is wrong and the forms there are.
Result<BusSpec> parse_bus_spec(std::string_view text);
// Comma separated, at least one.
Result<std::vector<BusSpec>> parse_bus_specs(std::string_view text);

struct OpenOptions {
  std::string who;                // names this host to others, e.g. "host_driver[1234]"
  std::string tls_ca;             // PEM files; empty: no TLS
  std::string tls_certificate;
  std::string tls_key;
  // gRPC alone. How long the first attachment and an answer may take before the BMC's daemon counts as lost.
  Duration attach_timeout = std::chrono::seconds(10);
  Duration answer_timeout = std::chrono::seconds(10);
  // Once lost, the link stays down.
  bool one_attachment = false;
  // Set: the port comes back at once, its link down, and attaches to an interface of this kind, and to no other, as soon
  // as that is possible; link().reason says what is in the way meanwhile.
  std::optional<registers::InterfaceKind> kind;
};

using OpenFunction = std::function<Result<std::unique_ptr<registers::RegisterPort>>(const BusSpec&, const OpenOptions&)>;

// A program that may link both sides adds "in-process" (integration/pair); the rest is built in.
void register_scheme(std::string scheme, OpenFunction open);

// Errors: kInvalidArgument (unknown scheme or option: says which there are), kNotFound, kBusy, kUnavailable.
Result<std::unique_ptr<registers::RegisterPort>> open_bus(const BusSpec& spec, const OpenOptions& options);

}  // namespace bmcpair::bus
