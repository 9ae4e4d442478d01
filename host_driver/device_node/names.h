// Names that the programs, the server and the preloaded library agree on. No code, for the library has no C++ runtime.
#pragma once

namespace bmcpair::device_node {

// The environment variable that names the server's unix socket. Unset: the library changes nothing.
inline constexpr char kSocketVariable[] = "BMCPAIR_IPMI_SOCKET";
// "1": the library does not say on standard error why an open failed.
inline constexpr char kQuietVariable[] = "BMCPAIR_IPMI_QUIET";
inline constexpr char kPreloadLibrary[] = "libbmcpair_ipmi.so";
// Where the programs' own libraries lie, beside the folder of the programs: <bin>/../lib/bmcpair.
inline constexpr char kLibraryFolder[] = "lib/bmcpair";

}  // namespace bmcpair::device_node
