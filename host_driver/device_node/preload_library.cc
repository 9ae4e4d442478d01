#include "host_driver/device_node/preload_library.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace bmcpair::device_node {

Result<std::string> find_library(std::string_view name) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return Error{ErrorCode::kNotFound, "/proc/self/exe: " + error.message() + "; the library beside it cannot be found"};
  const std::filesystem::path path = self.parent_path().parent_path() / kLibraryFolder / name;
  if (::access(path.c_str(), R_OK) != 0) {
    return Error{ErrorCode::kNotFound, path.string() + ": " + std::strerror(errno) +
                                           "; it is built and installed with this program: is that complete?"};
  }
  return path.string();
}

Result<std::string> preload_value() {
  auto library = find_library();
  if (!library) return library;
  if (library->find_first_of(" :$") != std::string::npos) {
    return Error{ErrorCode::kNotSupported, *library + ": LD_PRELOAD cannot hold a path with a blank, ':' or '$'; install it elsewhere"};
  }
  // The loader of a 32 bit program would complain about the one for 64 bits: $LIB names a folder of each kind, the names being
  // Debian's.
  const std::filesystem::path folder = std::filesystem::path(*library).parent_path();
  if (::access("/lib/x86_64-linux-gnu/libc.so.6", F_OK) == 0 &&
      ::access((folder / "lib/i386-linux-gnu" / kPreloadLibrary).c_str(), R_OK) == 0 &&
      ::access((folder / "lib/x86_64-linux-gnu" / kPreloadLibrary).c_str(), R_OK) == 0) {
    return (folder / "$LIB" / kPreloadLibrary).string();
  }
  return library;
}

}  // namespace bmcpair::device_node
