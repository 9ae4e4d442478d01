// Names that the programs, the server and the preloaded library agree on. No code, for the library has no C++ runtime.
#pragma once

namespace bmcpair::port_io {

// The environment variable that names the server's unix socket. Unset: the library changes nothing.
inline constexpr char kSocketVariable[] = "BMCPAIR_PORTS_SOCKET";
inline constexpr char kPreloadLibrary[] = "libbmcpair_ports.so";

}  // namespace bmcpair::port_io
