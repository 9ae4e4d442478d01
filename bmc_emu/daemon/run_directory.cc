#include "bmc_emu/daemon/run_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "proto/base/address.h"

namespace bmcpair::daemon {

std::string default_run_directory() {
  std::string socket = default_socket_path(std::getenv("XDG_RUNTIME_DIR"), ::getuid());
  return socket.substr(0, socket.rfind('/'));
}

Status make_private_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error{ErrorCode::kIo, "cannot make the directory " + path + ": " + std::strerror(errno)};
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return Error{ErrorCode::kIo, "cannot look at the directory " + path + ": " + std::strerror(errno)};
  }
  // A link that somebody else put there would lead our sockets elsewhere; one of our own may.
  bool ours = info.st_uid == ::geteuid() || info.st_uid == 0;
  if (S_ISLNK(info.st_mode) && ours && ::stat(path.c_str(), &info) != 0) {
    return Error{ErrorCode::kIo, "cannot look at the directory " + path + ": " + std::strerror(errno)};
  }
  if (!S_ISDIR(info.st_mode)) return Error{ErrorCode::kIo, path + " is not a directory"};
  ours = ours && (info.st_uid == ::geteuid() || info.st_uid == 0);
  if (!ours) return Error{ErrorCode::kPermission, "the directory " + path + " belongs to somebody else"};
  bool sticky = (info.st_mode & S_ISVTX) != 0;
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !sticky) {
    return Error{ErrorCode::kPermission,
                 "others may write to the directory " + path + "; it must be private (mode 0700)"};
  }
  return {};
}

}  // namespace bmcpair::daemon
