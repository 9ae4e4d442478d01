#include "integration/clients/site.h"

#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "host_driver/device_node/preload_library.h"

namespace bmcpair::integration {
namespace {

std::string trimmed(const std::string& s) {
  const size_t first = s.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

Site::Site(const std::string& config_path, std::vector<std::string> paths, std::vector<std::string> serve_arguments) {
  daemon_ = std::make_unique<Daemon>(folder_, config_path);
  std::string buses;
  for (const std::string& path : paths) buses += (buses.empty() ? "" : ",") + daemon_->bus(path);
  argv_ = {program("host_driver"), "--bus", buses, "--timeout", "60"};
  argv_.insert(argv_.end(), serve_arguments.begin(), serve_arguments.end());
  argv_.insert(argv_.end(), {"serve", "--socket", socket_});
  serve();
}

void Site::serve() {
  server_ = std::make_unique<Process>(argv_);
  if (!server_->wait_for_output("serving\n")) throw std::runtime_error("host_driver serve: " + server_->out() + server_->err());
}

std::vector<std::string> Site::environment_of(const std::string& socket) {
  const auto preload = device_node::preload_value();
  if (!preload) throw std::runtime_error(preload.error().message);
  return {"LD_PRELOAD=" + *preload, std::string(device_node::kSocketVariable) + "=" + socket, "LC_ALL=C", "TZ=UTC"};
}

Finished Site::run(std::vector<std::string> argv) const { return integration::run(std::move(argv), environment()); }

std::unique_ptr<Process> Site::start(std::vector<std::string> argv) const {
  return std::make_unique<Process>(std::move(argv), environment());
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

std::map<std::string, std::string> fields(const std::string& text, char separator) {
  std::map<std::string, std::string> out;
  for (const std::string& line : lines(text)) {
    const size_t at = line.find(separator);
    if (at != std::string::npos) out.emplace(trimmed(line.substr(0, at)), trimmed(line.substr(at + 1)));
  }
  return out;
}

std::vector<std::string> cells(const std::string& line, char separator) {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string cell; std::getline(in, cell, separator);) out.push_back(trimmed(cell));
  return out;
}

std::optional<double> number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str()) return std::nullopt;
  return value;
}

}  // namespace bmcpair::integration
