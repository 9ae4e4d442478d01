#include "host_driver/cli/session.h"

#include <cstdio>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::cli {

namespace {

// Lines of several interfaces must not mix.
void print_error_line(const std::string& line) { std::fputs((line + "\n").c_str(), stderr); }

class StderrTrace final : public state_machine::Trace {
 public:
  explicit StderrTrace(std::string prefix) : prefix_(std::move(prefix)) {}
  bool wanted() const override { return true; }
  void line(std::string text) override { print_error_line(prefix_ + text); }

 private:
  std::string prefix_;
};

// "demo/bt" where the bus spec says so much; distinct among the buses.
std::string recorded_name(const bus::BusSpec& spec, size_t index) {
  return (spec.path.empty() ? spec.scheme : spec.path) + (index == 0 ? "" : "#" + std::to_string(index + 1));
}

Result<std::unique_ptr<registers::RegisterPort>> open_recorded(const bus::BusSpec& spec, const bus::OpenOptions& open,
                                                               const std::shared_ptr<Recording>& recording,
                                                               const std::string& name) {
  auto port = bus::open_bus(spec, open);
  if (!port.ok() || !recording) return port;
  return recording->record(name, *std::move(port));
}

}  // namespace

Session::Session(std::vector<bus::BusSpec> specs, SessionOptions options) : options_(std::move(options)) {
  host::MessageHandlerOptions handler_options;
  handler_options.profile = options_.profile;
  if (options_.log) handler_options.log = [](std::string line) { print_error_line("message handler: " + line); };
  message_handler_ = std::make_unique<host::MessageHandler>(std::move(handler_options));
  driver_ = std::make_unique<host::Driver>(*message_handler_);
  for (bus::BusSpec& spec : specs) {
    Interface interface;
    interface.recorded_name = recorded_name(spec, interfaces_.size());
    interface.spec = std::move(spec);
    interface.busy = std::make_shared<std::atomic<bool>>(false);
    interfaces_.push_back(std::move(interface));
  }
  for (size_t i = 0; i < interfaces_.size() && !options_.on_demand; ++i) start(i);
}

void Session::start(size_t i) {
  Interface& interface = interfaces_[i];
  host::SystemInterfaceOptions si;
  si.profile = options_.profile;
  si.address_source = interface.spec.scheme;
  si.description = interface.spec.text;
  si.use_interrupt = options_.use_interrupt;
  if (options_.trace) si.trace = std::make_shared<StderrTrace>(interfaces_.size() > 1 ? interface.spec.text + " " : "");
  if (options_.recording) si.trace = options_.recording->record(interface.recorded_name, std::move(si.trace));
  if (options_.log) si.log = [text = interface.spec.text](std::string line) { print_error_line(text + ": " + line); };
  interface.id = driver_->add_interface(
      host::Driver::OpenPort([spec = interface.spec, open = options_.open, recording = options_.recording,
                              name = interface.recorded_name, busy = interface.busy] {
        auto port = open_recorded(spec, open, recording, name);
        *busy = !port.ok() && port.error().code == ErrorCode::kBusy;
        return port;
      }),
      std::move(si));
}

void Session::stop(size_t i) {
  Interface& interface = interfaces_[i];
  if (interface.id >= 0) (void)driver_->remove(interface.id);
  interface.id = -1;
}

Result<std::unique_ptr<registers::RegisterPort>> Session::open_port(size_t i) {
  const Interface& interface = interfaces_[i];
  return open_recorded(interface.spec, options_.open, options_.recording, interface.recorded_name);
}

Session::~Session() {
  for (Interface& interface : interfaces_) interface.user.reset();
  driver_.reset();
}

Status Session::open(size_t i, host::UserHandlers handlers) {
  Interface& interface = interfaces_[i];
  auto number = driver_->wait_until_up(interface.id, rt::now() + options_.timeout);
  if (!number.ok()) return number.error();
  auto user = message_handler_->create_user(*number, std::move(handlers));
  if (!user.ok()) return user.error();
  interface.number = *number;
  interface.user = std::move(*user);
  return {};
}

Result<int> Session::registered_number(size_t i, Instant deadline) {
  const int id = interfaces_[i].id;
  auto known = driver_->describe(id);
  if (known.ok() && known->number >= 0) return known->number;
  auto number = driver_->wait_until_up(id, deadline);
  if (number.ok()) return number;
  // It may be down again already.
  known = driver_->describe(id);
  if (known.ok() && known->number >= 0) return known->number;
  if (*interfaces_[i].busy) return Error{ErrorCode::kBusy, number.error().message};
  return number.error();
}

RequestFunction Session::request_function(size_t i) {
  return [this, user = interfaces_[i].user.get()](const ipmi::Request& request) -> Result<ipmi::Response> {
    host::Address address = options_.target;
    std::visit(
        [&](auto& a) {
          if constexpr (requires { a.lun; }) a.lun = request.lun;
        },
        address);
    auto message = host::call(*user, address, request, rt::now() + options_.timeout);
    if (!message.ok()) return message.error();
    if (message->data.empty()) return Error{ErrorCode::kProtocol, "an answer without a completion code"};
    return ipmi::Response{static_cast<ipmi::CompletionCode>(message->data[0]), Bytes(message->data.begin() + 1, message->data.end())};
  };
}

Result<host::DriverInterface> Session::describe(size_t i) const { return driver_->describe(interfaces_[i].id); }

}  // namespace bmcpair::cli
