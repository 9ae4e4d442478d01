// A machine with nothing of ours on it, and nobody of privilege: namespaces of its own, a root in memory with Debian's
// /usr read-only and our programs in /opt/bmcpair, a /dev of four devices, no capability and no way to new ones. No
// container engine. It and all that runs in it are gone with the program that was started in it.
#pragma once

#include <string>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration::clients {

class CleanRoot {
 public:
  // What is in `shared` is also in the root, as /shared: the way from one machine to another.
  explicit CleanRoot(const TemporaryFolder& shared);
  // Starts a program there. HOME is /home, which can be written, as /tmp and /shared can; and nothing else can.
  // User 0 has the name of root and no capability either.
  std::vector<std::string> in(const std::vector<std::string>& argv, unsigned uid = 1000) const;
  // With neither root nor its help: a user namespace of a user like any other, where the kernel allows that; by root's
  // privilege, given up before the program starts, where it does not.
  static bool without_any_privilege();

  static constexpr const char* kPrograms = "/opt/bmcpair/bin";
  static constexpr const char* kLibrary = "/opt/bmcpair/lib/bmcpair/libbmcpair_ipmi.so";

 private:
  std::string shared_;
};

}  // namespace bmcpair::integration::clients
