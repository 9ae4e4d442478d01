// A Linux guest under QEMU (TCG, no KVM): an unmodified Debian kernel whose own IPMI driver drives our registers.
//
//   TemporaryFolder folder;
//   Daemon daemon(folder, folder / "bmc.yaml");                      // serves ${RUN}/bt.sock
//   GuestOptions options;
//   options.devices = {GuestDevice::vfio_user(folder / "bt.sock")};
//   Guest guest(folder, options);                                    // returns when the guest takes commands
//   auto ran = guest.run("ipmitool mc info");                        // {status, out, err}
//   auto counters = guest.counters();                                // ipmi_si's own, e.g. counters.at("hosed_count")
//   guest.qmp("system_reset");
//   guest.wait_ready();                                              // booted again
//
// What a guest needs is fetched by scripts/guest-assets; where it is missing, guest_assets() throws a sentence that
// says so. Everything waits with a deadline and throws std::runtime_error, with the ends of the logs in it, when that
// has passed or QEMU has ended. run() and qmp() may be called from different threads. The destructor kills QEMU; so does
// the end of the thread that made the Guest, and of its process.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration {

// Debian 12's own, or the newest of trixie-backports (its message handler is the one rewritten in 6.16).
enum class GuestKernel { kDebian12, kNewest };

struct GuestAssets {
  std::string qemu;  // an executable file
  std::string kernel;
  std::string initramfs;
  std::string release;  // uname -r
};
// From $BMCPAIR_GUEST_CACHE or its default. Throws when something is missing.
GuestAssets guest_assets(GuestKernel kernel = GuestKernel::kDebian12);

// An IPMI device of the guest's.
struct GuestDevice {
  // A PCI device that a vfio-user server, already listening, serves.
  static GuestDevice vfio_user(std::string socket);
  // isa-ipmi-bt or isa-ipmi-kcs with ipmi-bmc-extern on our VM protocol. `address`: a unix socket's path, or HOST:PORT.
  static GuestDevice vm(std::string kind, std::string address, int irq = 5);
  // QEMU's own isa-ipmi-bt or isa-ipmi-kcs with its own BMC, for comparisons.
  static GuestDevice qemu_own(std::string kind, int irq = 5);

  enum class Face { kVfioUser, kVmProtocol, kQemuOwn };
  Face face = Face::kVfioUser;
  std::string kind;  // "bt" or "kcs"; vfio-user devices say it themselves
  std::string address;
  int irq = 5;          // 0: the guest polls; vfio-user devices have what their server says
  int reconnect_s = 1;  // VM protocol: how long QEMU waits before it connects again
  std::string id;       // QMP's; "ipmi0", "ipmi1"... by order when empty
};

struct GuestOptions {
  std::vector<GuestDevice> devices;
  std::string machine = "pc";  // or "q35"
  int cpus = 1;
  int memory_mb = 256;
  GuestKernel kernel = GuestKernel::kDebian12;
  std::string qemu;    // another QEMU's executable than the fetched one
  std::string append;  // more of the kernel's command line, e.g. "ipmi_si.unload_when_empty=0"
  // What is loaded before the guest is ready, by commas; "none": nothing.
  std::string modules = "ipmi_msghandler,ipmi_devintf,ipmi_si";
  // More files of the guest: where there, which of ours, executable as it is here. Programs must be static ones, or use
  // the C library of Debian 12 only.
  std::vector<std::pair<std::string, std::string>> files;
  std::vector<std::string> qemu_arguments;
  bool reboots = false;         // false: a reboot, also after a panic, ends QEMU
  int msg_timeout_ms = 30'000;  // vfio-user: how long QEMU waits for the server (its default is 5000)
  bool wait_ready = true;       // false: the constructor returns when QEMU runs; call wait_ready()
  std::chrono::seconds boot_limit{150};
};

struct Ran {
  int status;  // the command's; 143 or 137 when it was ended by its time limit
  std::string out;
  std::string err;
};

class Guest {
 public:
  // Logs and sockets are files of `folder`: console.log. One guest a folder.
  Guest(const TemporaryFolder& folder, GuestOptions options);
  Guest(std::string folder, GuestOptions options);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Runs a line of shell in the guest: at most 2000 bytes; its output at most a few 100 kB (a serial port carries it).
  // For something that goes on, end it with '&' and send its output to a file.
  Ran run(const std::string& command, std::chrono::seconds limit = std::chrono::seconds(60));
  // The same; throws when the status is not 0. Returns standard output.
  std::string must_run(const std::string& command, std::chrono::seconds limit = std::chrono::seconds(60));
  // After a reboot or reset: until the guest takes commands again.
  void wait_ready(std::chrono::seconds limit = std::chrono::seconds(150));

  // ipmi_si's counters of /dev/ipmiN, and "interrupts_enabled"; `nr_msgs` and others that are not numbers are left out.
  std::map<std::string, int64_t> counters(int number = 0);
  std::string dmesg();

  // A QMP command: its "return". Throws on a QMP error, with its text.
  nlohmann::json qmp(const std::string& command);
  nlohmann::json qmp(const std::string& command, const nlohmann::json& arguments);
  // The next event of that name, which is taken out; nothing else is. False when `limit` passes or QEMU has ended
  // before.
  bool wait_event(const std::string& name, std::chrono::seconds limit = kPatience);
  bool wait_event(const std::string& name, nlohmann::json* data, std::chrono::seconds limit = kPatience);
  // device_add and device_del over QMP; del waits until the guest has let go.
  void add_device(const GuestDevice& device);
  void remove_device(const std::string& id, std::chrono::seconds limit = kPatience);

  Process& qemu();
  // QEMU's exit status, 128 + signal; -1 when it still runs after `limit`.
  int wait_end(std::chrono::seconds limit = kPatience);
  std::string console();  // all that came out of the first serial port
  // The ends of the console's and of QEMU's logs, for a failed test.
  std::string logs();
  const std::vector<std::string>& command_line() const;
  std::string release() const;  // the kernel's, as the assets say

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The command line of QEMU without what Guest adds for itself (serial ports, QMP).
std::vector<std::string> guest_command_line(const GuestOptions& options, const GuestAssets& assets,
                                            const std::string& initramfs);

// Appends files to a copy of an initramfs: `to` is what QEMU gets. Each pair: path in the guest, file of ours.
void make_initramfs(const std::string& base, const std::vector<std::pair<std::string, std::string>>& files,
                    const std::string& to);

}  // namespace bmcpair::integration
