// bmcpair_guest_bench: register accesses and Get Device ID in a Linux guest, on our vfio-user and VM protocol faces, on QEMU's own
// BMC and on OpenIPMI's ipmi_sim, in one run (docs/benchmarks.md "In a guest").
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "integration/guest_bench/bare_server.h"
#include "integration/qemu/guest.h"
#include "integration/system/process.h"

namespace bmcpair::guest_bench {
namespace {

using integration::Daemon;
using integration::Guest;
using integration::GuestDevice;
using integration::GuestOptions;
using integration::Process;
using integration::TemporaryFolder;
using nlohmann::json;

constexpr int kTurns = 7;
constexpr double kVfioUserGoal = 1.1;

struct Options {
  long transactions = 3000;
  long accesses = 20000;
  std::string json_file;
  std::string bare_socket;
};

struct Transactions {
  std::string name;
  double per_second = 0, p50_us = 0, p99_us = 0;
  std::string note;
};

struct Accesses {
  std::string name;
  double mean_us = 0, floor_us = 0, ratio = 0;
};

void say(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.size() % 2 ? v[v.size() / 2] : (v[v.size() / 2 - 1] + v[v.size() / 2]) / 2;
}

GuestOptions bench_guest(std::vector<GuestDevice> devices) {
  GuestOptions options;
  options.devices = std::move(devices);
  options.files = {{"/bin/probe", integration::program("guest_probe")}};
  return options;
}

// No configured latency: the figures are the faces' own.
std::string bmc_yaml(const std::string& kind, const std::string& face) {
  return "bmcs:\n  - name: one\n    interfaces:\n      - {kind: " + kind + ", latency: {access: 0us, response: 0us}, " + face + "}\n";
}

Transactions transactions(Guest& guest, const std::string& name, const Options& options, std::string note) {
  guest.must_run("probe ipmi /dev/ipmi0 100");  // the driver's first requests are its own
  json j = json::parse(guest.must_run("probe ipmi /dev/ipmi0 " + std::to_string(options.transactions), std::chrono::seconds(300)));
  const json& t = j.at("transaction");
  return {name, 1e9 / t.at("mean_ns").get<double>(), t.at("p50_ns").get<double>() / 1e3, t.at("p99_ns").get<double>() / 1e3,
          std::move(note)};
}

// Our register access and a bare server's by turns in one guest; the ratio is the median of the turns'.
std::vector<Accesses> registers(const std::string& kind, const Options& options) {
  TemporaryFolder folder;
  integration::write_file(folder / "bmc.yaml", bmc_yaml(kind, "vfio_user: {socket: \"${RUN}/one.sock\"}"));
  Daemon daemon(folder, folder / "bmc.yaml");
  Process bare({integration::program("bmcpair_guest_bench"), "--bare-server", folder / "bare.sock"});
  if (!bare.wait_for_output("ready")) throw std::runtime_error("the bare server does not start: " + bare.err());
  GuestOptions guest_options = bench_guest({GuestDevice::vfio_user(folder / "one.sock"), GuestDevice::vfio_user(folder / "bare.sock")});
  guest_options.modules = "none";
  Guest guest(folder, guest_options);
  auto port_of = [&](const std::string& device) {
    return guest.must_run("for d in /sys/bus/pci/devices/*; do [ $(cat $d/device) = " + device +
                          " ] && echo 1 >$d/enable && head -n 1 $d/resource | cut -d' ' -f1; done | tr -d '\\n'");
  };
  std::string ours = port_of("0x1112"), floor = port_of("0x11ff");
  if (ours.empty() || floor.empty()) throw std::runtime_error("a device is missing in the guest\n" + guest.logs());
  std::vector<double> read, read_floor, read_ratio, write, write_floor, write_ratio;
  for (int turn = 0; turn < kTurns; ++turn) {
    auto probe = [&](const std::string& port) {
      return json::parse(guest.must_run("probe ports " + port + " " + std::to_string(options.accesses), std::chrono::seconds(300)));
    };
    bool ours_first = turn % 2 == 0;
    json first = probe(ours_first ? ours : floor), second = probe(ours_first ? floor : ours);
    const json &a = ours_first ? first : second, &b = ours_first ? second : first;
    auto mean = [](const json& j, const char* what) {
      return (j.at(what).at("mean_ns").get<double>() - j.at("clock").at("mean_ns").get<double>()) / 1e3;
    };
    read.push_back(mean(a, "read")), read_floor.push_back(mean(b, "read")), read_ratio.push_back(read.back() / read_floor.back());
    write.push_back(mean(a, "write")), write_floor.push_back(mean(b, "write")), write_ratio.push_back(write.back() / write_floor.back());
  }
  return {{"vfio-user " + kind + ": in", median(read), median(read_floor), median(read_ratio)},
          {"vfio-user " + kind + ": out", median(write), median(write_floor), median(write_ratio)}};
}

Transactions ours(const std::string& kind, bool vfio_user, const Options& options) {
  TemporaryFolder folder;
  integration::write_file(folder / "bmc.yaml", bmc_yaml(kind, vfio_user ? "vfio_user: {socket: \"${RUN}/one.sock\"}"
                                                                       : "vm: {listen: \"unix:${RUN}/one.sock\"}"));
  Daemon daemon(folder, folder / "bmc.yaml");
  Guest guest(folder, bench_guest({vfio_user ? GuestDevice::vfio_user(folder / "one.sock") : GuestDevice::vm(kind, folder / "one.sock")}));
  auto before = guest.counters();
  Transactions t = transactions(guest, std::string(vfio_user ? "vfio-user" : "VM protocol") + " " + kind, options, "");
  auto after = guest.counters();
  double each = static_cast<double>(after.at("interrupts") - before.at("interrupts")) / static_cast<double>(options.transactions + 100);
  char note[64];
  std::snprintf(note, sizeof note, "%.2f interrupts each", each);
  t.note = note;
  return t;
}

Transactions qemu_own(const std::string& kind, const Options& options) {
  TemporaryFolder folder;
  Guest guest(folder, bench_guest({GuestDevice::qemu_own(kind)}));
  return transactions(guest, "ipmi-bmc-sim " + kind, options, "QEMU's own, no other process");
}

// OpenIPMI's simulator behind the same QEMU device as our VM protocol.
Transactions ipmi_sim(const std::string& kind, int port, const Options& options) {
  TemporaryFolder folder;
  integration::write_file(folder / "lan.conf",
                          "name \"bench\"\nset_working_mc 0x20\n  serial 15 127.0.0.1 " + std::to_string(port) + " codec VM\n");
  integration::write_file(folder / "sim.emu",
                          "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n");
  Process sim({"ipmi_sim", "-n", "-c", folder / "lan.conf", "-f", folder / "sim.emu", "-s", folder / "state"});
  GuestDevice device = GuestDevice::vm(kind, "127.0.0.1:" + std::to_string(port));
  Guest guest(folder, bench_guest({device}));
  return transactions(guest, "ipmi_sim " + kind, options, "OpenIPMI's, on the same VM protocol");
}

void print(const std::vector<Accesses>& accesses, const std::vector<Transactions>& all) {
  std::printf("\n%-22s | %9s | %9s | %5s | note\n", "register access", "mean", "floor", "ratio");
  std::printf("-----------------------|-----------|-----------|-------|-----\n");
  for (const Accesses& a : accesses)
    std::printf("%-22s | %6.2f us | %6.2f us | %5.2f |%s\n", a.name.c_str(), a.mean_us, a.floor_us, a.ratio,
                a.ratio > kVfioUserGoal ? " MISSED: goal 1.1 x floor" : "");
  std::printf("\n%-22s | %9s | %9s | %9s | note\n", "Get Device ID", "/s", "p50", "p99");
  std::printf("-----------------------|-----------|-----------|-----------|-----\n");
  auto find = [&](const std::string& name) -> const Transactions* {
    for (const Transactions& t : all)
      if (t.name == name) return &t;
    return nullptr;
  };
  for (const Transactions& t : all) {
    std::string note = t.note;
    if (t.name.rfind("VM protocol ", 0) == 0) {
      if (const Transactions* sim = find("ipmi_sim " + t.name.substr(12))) {
        char text[64];
        std::snprintf(text, sizeof text, "%s%.2f x ipmi_sim%s", note.empty() ? "" : "; ", t.per_second / sim->per_second,
                      t.per_second < sim->per_second ? " MISSED: goal at least equal" : "");
        note += text;
      }
    }
    std::printf("%-22s | %9.0f | %6.0f us | %6.0f us | %s\n", t.name.c_str(), t.per_second, t.p50_us, t.p99_us, note.c_str());
  }
}

int run(const Options& options) {
  std::vector<Accesses> accesses;
  std::vector<Transactions> all;
  int port = 29020;
  for (const std::string kind : {"bt", "kcs"}) {
    say("registers of " + kind + " over vfio-user, beside a bare server");
    for (Accesses& a : registers(kind, options)) accesses.push_back(std::move(a));
    const std::vector<std::pair<std::string, std::function<Transactions()>>> measured = {
        {"vfio-user", [&] { return ours(kind, true, options); }},
        {"VM protocol", [&] { return ours(kind, false, options); }},
        {"ipmi_sim", [&] { return ipmi_sim(kind, port++, options); }},
        {"ipmi-bmc-sim", [&] { return qemu_own(kind, options); }},
    };
    for (const auto& [name, f] : measured) {
      say("transactions of " + kind + " on " + name);
      all.push_back(f());
    }
  }
  print(accesses, all);
  if (!options.json_file.empty()) {
    json j{{"registers", json::array()}, {"transactions", json::array()}};
    for (const Accesses& a : accesses)
      j["registers"].push_back({{"name", a.name}, {"mean_us", a.mean_us}, {"floor_us", a.floor_us}, {"ratio", a.ratio}});
    for (const Transactions& t : all)
      j["transactions"].push_back({{"name", t.name}, {"per_second", t.per_second}, {"p50_us", t.p50_us}, {"p99_us", t.p99_us}, {"note", t.note}});
    integration::write_file(options.json_file, j.dump(2) + "\n");
  }
  return 0;
}

}  // namespace
}  // namespace bmcpair::guest_bench

int main(int argc, char** argv) {
  bmcpair::guest_bench::Options options;
  CLI::App app("Register accesses and Get Device ID in a Linux guest, on every face, side by side.", "bmcpair_guest_bench");
  app.add_option("--transactions", options.transactions, "Get Device ID, so many each")->check(CLI::Range(10, 1000000))->capture_default_str();
  app.add_option("--accesses", options.accesses, "register accesses a turn")->check(CLI::Range(10, 1000000))->capture_default_str();
  app.add_option("--json", options.json_file, "the figures as JSON, too");
  app.add_option("--bare-server", options.bare_socket, "serve the floor's device on this socket, and nothing else");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!options.bare_socket.empty()) {
      auto status = bmcpair::guest_bench::serve_bare(options.bare_socket);
      if (status.ok()) return 0;
      std::fprintf(stderr, "bmcpair_guest_bench: %s\n", status.error().message.c_str());
      return 1;
    }
    return bmcpair::guest_bench::run(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bmcpair_guest_bench: %s\n", e.what());
    return 1;
  }
}
