#include <bmcpair/testing/virtual_bmc.h>

#include <fstream>
#include <mutex>
#include <ostream>
#include <sstream>
#include <thread>
#include <utility>

#include "integration/testing/backend.h"
#include "proto/base/hex.h"
#include "proto/ipmi/sel.h"

namespace bmcpair::testing {
namespace {

constexpr char kBuiltIn[] = R"(bmcs:
  - name: one
    interfaces:
      - kind: kcs
    sensors:
      - {name: Temp, type: temperature, initial: 30, thresholds: {upper_non_critical: 70, upper_critical: 80}}
    frus:
      - product: {manufacturer: Example Works, name: One, serial: "1"}
)";
// A predicate is asked again after so long: seldom enough for a machine that is busy, often enough for a person.
constexpr std::chrono::milliseconds kAskAgain{2};
constexpr size_t kFileBytesMax = 16u << 20;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw VirtualBmcError(path + ": cannot be read");
  std::string text;
  char part[65536];
  while (in.read(part, sizeof part) || in.gcount() > 0) {
    text.append(part, static_cast<size_t>(in.gcount()));
    if (text.size() > kFileBytesMax) throw VirtualBmcError(path + ": has more than 16 MB");
  }
  if (in.bad()) throw VirtualBmcError(path + ": cannot be read");
  return text;
}

template <class T>
T value_of(Result<T> result) {
  if (!result) throw VirtualBmcError(result.error().to_string());
  return *std::move(result);
}
void check(const Status& status) {
  if (!status) throw VirtualBmcError(status.error().to_string());
}

std::unique_ptr<Backend> start(const std::string& text, const std::string& path, const VirtualBmcOptions& options) {
  return value_of(options.where == VirtualBmcOptions::Where::kDaemon ? start_daemon(text, path, options)
                                                                     : start_in_process(text, path, options));
}

}  // namespace

Exchange make_exchange(std::string interface, ByteView request, ByteView response) {
  Exchange e;
  e.interface = std::move(interface);
  if (!request.empty()) {
    e.netfn = request[0] >> 2;
    e.lun = request[0] & 3;
  }
  if (request.size() > 1) e.cmd = request[1];
  if (request.size() > 2) e.data.assign(request.begin() + 2, request.end());
  // A fault may have cut the answer: one without a completion code is none.
  if (response.size() > 2) {
    e.completion_code = response[2];
    e.answer.assign(response.begin() + 3, response.end());
  }
  return e;
}

SelEntry make_sel_entry(uint16_t id, ByteView record) {
  SelEntry entry;
  entry.id = id;
  entry.record.assign(record.begin(), record.end());
  if (auto decoded = ipmi::decode_sel_record(record)) entry.text = ipmi::sel_line(*decoded, nullptr);
  return entry;
}

std::string to_string(const Exchange& e) {
  const Bytes head = {static_cast<uint8_t>(e.netfn << 2 | e.lun), e.cmd};
  std::string out = e.interface + ": " + to_hex(head) + (e.data.empty() ? "" : " " + to_hex(e.data)) + " -> ";
  if (!e.completion_code) out += "no answer";
  else out += to_hex(ByteView(&*e.completion_code, 1)) + (e.answer.empty() ? "" : " " + to_hex(e.answer));
  for (size_t i = 0; i < e.faults.size(); ++i) out += (i == 0 ? "  (faults " : ", ") + std::to_string(e.faults[i]);
  return out + (e.faults.empty() ? "" : ")");
}
std::ostream& operator<<(std::ostream& out, const Exchange& exchange) { return out << to_string(exchange); }
std::ostream& operator<<(std::ostream& out, const Fault& f) {
  out << "fault " << f.id << (f.name.empty() ? "" : " '" + f.name + "'") << ": " << f.rule << ", fired " << f.fired
      << " of " << f.matched;
  if (f.remaining) out << ", " << *f.remaining << " left";
  return out << (f.over ? ", over" : "");
}
std::ostream& operator<<(std::ostream& out, const SelEntry& entry) { return out << entry.text; }

struct VirtualBmc::Impl {
  // In this order they are made, in the other one they end: a host before its BMC.
  Options options;
  std::unique_ptr<Backend> backend;
  std::mutex mutex;
  std::unique_ptr<Host> host;
  uint64_t traffic_from = 0;  // number of the first request that traffic() tells of

  struct Since {
    std::vector<Exchange> exchanges;
    uint64_t left_out = 0;
    uint64_t end = 0;
  };
  Since since() {
    Traffic all = value_of(backend->traffic());
    Since out;
    out.end = all.left_out + all.kept.size();
    std::lock_guard<std::mutex> lock(mutex);
    if (all.left_out > traffic_from) out.left_out = all.left_out - traffic_from;
    const uint64_t skip = traffic_from > all.left_out ? traffic_from - all.left_out : 0;
    for (size_t i = skip; i < all.kept.size(); ++i) out.exchanges.push_back(std::move(all.kept[i]));
    return out;
  }
};

VirtualBmc::VirtualBmc(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VirtualBmc::VirtualBmc(const Options& options) : VirtualBmc(from_yaml(kBuiltIn, options)) {}
VirtualBmc::VirtualBmc(VirtualBmc&&) noexcept = default;
VirtualBmc& VirtualBmc::operator=(VirtualBmc&&) noexcept = default;
VirtualBmc::~VirtualBmc() = default;

VirtualBmc VirtualBmc::from_yaml(const std::string& text, const Options& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->backend = start(text, {}, options);
  return VirtualBmc(std::move(impl));
}

VirtualBmc VirtualBmc::from_file(const std::string& path, const Options& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->backend = start(read_file(path), path, options);
  return VirtualBmc(std::move(impl));
}

const std::string& VirtualBmc::name() const { return impl_->backend->name(); }
std::vector<std::string> VirtualBmc::interfaces() const { return impl_->backend->interfaces(); }
std::string VirtualBmc::address() const { return impl_->backend->address(); }

std::string VirtualBmc::bus(const std::string& interface) const {
  const std::vector<std::string> all = impl_->backend->interfaces();
  std::string names;
  for (const std::string& one : all) {
    if (interface.empty() || one == interface) return impl_->backend->bus(one);
    names += (names.empty() ? "" : ", ") + one;
  }
  throw VirtualBmcError("BMC '" + name() + "' has " +
                        (all.empty() ? "no interface" : "no interface '" + interface + "', it has: " + names));
}

Host& VirtualBmc::host() {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  if (!impl_->host) impl_->host = std::make_unique<Host>(Host::connect(bus(), impl_->options.host));
  return *impl_->host;
}
Host VirtualBmc::connect(const std::string& interface, const HostOptions& options) {
  return Host::connect(bus(interface), options);
}
void VirtualBmc::disconnect() {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->host.reset();
}

std::vector<uint32_t> VirtualBmc::add_faults(const std::string& rules) {
  return value_of(impl_->backend->add_faults(rules, "rules"));
}
std::vector<uint32_t> VirtualBmc::add_faults_file(const std::string& path) {
  return value_of(impl_->backend->add_faults(read_file(path), path));
}
std::vector<Fault> VirtualBmc::faults() const { return value_of(impl_->backend->faults()); }

uint64_t VirtualBmc::fired(const std::string& name) const {
  uint64_t sum = 0;
  bool found = false;
  std::string names;
  for (const Fault& fault : faults()) {
    if (fault.name == name) {
      sum += fault.fired;
      found = true;
    }
    if (!fault.name.empty()) names += (names.empty() ? "" : ", ") + fault.name;
  }
  if (!found) {
    throw VirtualBmcError("no fault rule '" + name + "' is in force" +
                          (names.empty() ? "; none has a name" : "; those with a name: " + names));
  }
  return sum;
}
uint64_t VirtualBmc::fired(uint32_t id) const {
  for (const Fault& fault : faults()) {
    if (fault.id == id) return fault.fired;
  }
  throw VirtualBmcError("no fault rule has the id " + std::to_string(id));
}
void VirtualBmc::clear_fault(uint32_t id) { check(impl_->backend->clear_fault(id)); }
void VirtualBmc::clear_faults() { check(impl_->backend->clear_faults()); }

std::vector<Sensor> VirtualBmc::sensors() const { return value_of(impl_->backend->sensors()); }
Sensor VirtualBmc::sensor(const std::string& sensor) const { return value_of(impl_->backend->sensor(sensor)); }
void VirtualBmc::set_sensor(const std::string& sensor, double value) {
  check(impl_->backend->set_sensor(sensor, value));
}
void VirtualBmc::set_sensor_states(const std::string& sensor, uint16_t states) {
  check(impl_->backend->set_sensor_states(sensor, states));
}
void VirtualBmc::release_sensor(const std::string& sensor) { check(impl_->backend->release_sensor(sensor)); }

std::vector<SelEntry> VirtualBmc::sel() const { return value_of(impl_->backend->sel()); }
uint16_t VirtualBmc::add_sel(const Bytes& record) { return value_of(impl_->backend->add_sel(record)); }
void VirtualBmc::clear_sel() { check(impl_->backend->clear_sel()); }

bool VirtualBmc::power_on() const { return value_of(impl_->backend->power_on()); }
void VirtualBmc::power(Power action) { check(impl_->backend->power(action)); }
void VirtualBmc::reset(Reset kind) { check(impl_->backend->reset(kind)); }

std::vector<Exchange> VirtualBmc::traffic() const { return impl_->since().exchanges; }
void VirtualBmc::clear_traffic() {
  const uint64_t end = impl_->since().end;
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->traffic_from = end;
}
uint64_t VirtualBmc::traffic_left_out() const { return impl_->since().left_out; }

bool VirtualBmc::wait_for(const std::function<bool()>& predicate, std::chrono::milliseconds within) const {
  const auto deadline = std::chrono::steady_clock::now() + within;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kAskAgain);
  }
  return true;
}

}  // namespace bmcpair::testing
