#include "integration/clients/network.h"

#include <stdexcept>

namespace bmcpair::integration::clients {

namespace {
constexpr const char* kInterface = "cable";
constexpr const char* kClientAddress = "10.77.0.2";
constexpr const char* kNobodysMac = "02:00:00:00:00:99";
constexpr std::array<const char*, 2> kMacs = {"02:00:00:00:00:01", "02:00:00:00:00:02"};
}  // namespace

Network::Network() {
  for (auto& host : hosts_) {
    // The namespace lives as long as this program does: until it is killed, or its parent has died.
    host =
        std::make_unique<Process>(std::vector<std::string>{"setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh",
                                                           "-c", "ip link set lo up && echo made && exec sleep 600"});
    if (!host->wait_for_output("made")) {
      throw std::runtime_error("cannot make a network namespace (that needs root): " + host->err());
    }
  }
  ip(kBmc, {"link", "add", kInterface, "address", kMacs[kBmc], "type", "veth", "peer", "name", kInterface, "address",
            kMacs[kClient], "netns", std::to_string(hosts_[kClient]->pid())});
  for (Host host : {kBmc, kClient}) {
    ip(host, {"address", "add", std::string(host == kBmc ? kBmcAddress : kClientAddress) + "/30", "dev", kInterface});
    ip(host, {"link", "set", kInterface, "up"});
  }
}

std::vector<std::string> Network::in(Host host) const {
  return {"nsenter", "--net", "--target", std::to_string(hosts_[host]->pid())};
}

std::vector<std::string> Network::in(Host host, const std::vector<std::string>& argv) const {
  std::vector<std::string> out = in(host);
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

void Network::ip(Host host, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "ip");
  auto done = run(in(host, arguments));
  if (done.status == 0) return;
  std::string shown;
  for (const std::string& a : arguments) shown += a + " ";
  throw std::runtime_error(shown + "failed: " + done.err);
}

void Network::unplug() { ip(kClient, {"link", "set", kInterface, "down"}); }
void Network::plug() { ip(kClient, {"link", "set", kInterface, "up"}); }

// The other end takes no frame that is for another station.
void Network::swallow() {
  ip(kClient, {"neighbour", "replace", kBmcAddress, "lladdr", kNobodysMac, "nud", "permanent", "dev", kInterface});
}
void Network::pass() {
  ip(kClient, {"neighbour", "replace", kBmcAddress, "lladdr", kMacs[kBmc], "nud", "permanent", "dev", kInterface});
}

}  // namespace bmcpair::integration::clients
