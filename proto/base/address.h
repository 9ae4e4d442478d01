// Where a bmc_emu listens and its clients look, when nobody says. Pure: the caller brings environment and user id.
#pragma once

#include <string>
#include <string_view>

namespace bmcpair {

// The daemon's socket: $XDG_RUNTIME_DIR/bmcpair/bmc_emu.sock; without that variable /run/bmcpair/bmc_emu.sock for
// root, /tmp/bmcpair-UID/bmc_emu.sock for others. The variable is null or empty when it is not set.
inline std::string default_socket_path(const char* xdg_runtime_dir, unsigned uid) {
  if (xdg_runtime_dir && xdg_runtime_dir[0] == '/') return std::string(xdg_runtime_dir) + "/bmcpair/bmc_emu.sock";
  if (uid == 0) return "/run/bmcpair/bmc_emu.sock";
  return "/tmp/bmcpair-" + std::to_string(uid) + "/bmc_emu.sock";
}

// What clients use: $BMCPAIR_ADDRESS, else the daemon's socket.
inline std::string default_address(const char* bmcpair_address, const char* xdg_runtime_dir, unsigned uid) {
  if (bmcpair_address && bmcpair_address[0]) return bmcpair_address;
  return "unix:" + default_socket_path(xdg_runtime_dir, uid);
}

// The short forms people type, as gRPC wants them: "/path" and "./path" are unix sockets, ":PORT" is 127.0.0.1.
inline std::string canonical_address(std::string_view text) {
  if (text.starts_with("/") || text.starts_with("./") || text.starts_with("../")) return "unix:" + std::string(text);
  if (text.starts_with(":")) return "127.0.0.1" + std::string(text);
  return std::string(text);
}

}  // namespace bmcpair
