#include "host_driver/cli/program.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace bmcpair::cli {
namespace {

constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;
constexpr size_t kHeadersMax = 512;

bool read_at(int fd, void* into, size_t size, uint64_t at) {
  return ::pread(fd, into, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size);
}

// Whether any of the file's program headers names a loader.
template <class Header, class Segment>
bool names_loader(int fd) {
  Header header;
  if (!read_at(fd, &header, sizeof header, 0)) return true;
  if (header.e_phentsize != sizeof(Segment)) return true;
  for (size_t i = 0; i < std::min<size_t>(header.e_phnum, kHeadersMax); ++i) {
    Segment segment;
    if (!read_at(fd, &segment, sizeof segment, header.e_phoff + i * sizeof segment)) return true;
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

// Whether the kernel starts it with rights of its own, which makes the loader forget LD_PRELOAD.
bool gains_rights(int fd, const struct stat& info) {
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return false;
  if ((info.st_mode & S_ISUID) && info.st_uid != ::geteuid()) return true;
  if ((info.st_mode & S_ISGID) && (info.st_mode & S_IXGRP) && info.st_gid != ::getegid()) return true;
  return ::geteuid() != 0 && ::fgetxattr(fd, "security.capability", nullptr, 0) > 0;
}

std::string why_deaf(const std::string& path, bool libraries_32) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";  // executable, but not readable: nobody knows
  struct stat info {};
  unsigned char ident[EI_NIDENT] = {};
  std::string out;
  if (::fstat(fd, &info) == 0 && gains_rights(fd, info)) {
    out = "is started with rights of its own (setuid, setgid or capabilities), so it ignores preloaded libraries; run it as its "
          "owner, or a copy of it without them";
  } else if (read_at(fd, ident, sizeof ident, 0) && std::memcmp(ident, ELFMAG, SELFMAG) == 0) {
    const bool is_32 = ident[EI_CLASS] == ELFCLASS32;
    if (!(is_32 ? names_loader<Elf32_Ehdr, Elf32_Phdr>(fd) : names_loader<Elf64_Ehdr, Elf64_Phdr>(fd))) {
      out = "is statically linked, so it ignores preloaded libraries; use a dynamically linked build (programs that it starts are "
            "not concerned)";
    } else if (is_32 && !libraries_32) {
      out = "is a 32 bit program, and the preloaded libraries here are for 64 bits; use its 64 bit build";
    }
  }
  ::close(fd);
  return out;
}

}  // namespace

Program find_program(const std::string& name, const char* path_variable, bool libraries_32) {
  Program out;
  auto look_at = [&](const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
      if (out.exit_status != kNotExecutable && errno != ENOENT && errno != ENOTDIR) {
        out.exit_status = kNotExecutable;
        out.why = path + ": " + std::strerror(errno);
      }
      return false;
    }
    if (S_ISDIR(info.st_mode) || ::access(path.c_str(), X_OK) != 0) {
      out.exit_status = kNotExecutable;
      out.why = path + (S_ISDIR(info.st_mode) ? ": is a directory, no program" : ": is not executable (chmod +x?)");
      return false;
    }
    out.path = path;
    return true;
  };
  bool found = false;
  if (name.find('/') != std::string::npos) {
    found = look_at(name);
    if (!found && out.exit_status == 0) out.why = name + ": no such file";
  } else if (!name.empty()) {
    const std::string paths = path_variable ? path_variable : "/bin:/usr/bin";
    for (size_t begin = 0; !found && begin <= paths.size();) {
      const size_t end = std::min(paths.find(':', begin), paths.size());
      const std::string folder = paths.substr(begin, end - begin);
      found = look_at((folder.empty() ? "." : folder) + "/" + name);
      begin = end + 1;
    }
    if (!found && out.exit_status == 0) out.why = name + ": no such program in PATH; is its package installed?";
  } else {
    out.why = "'': no program has this name";
  }
  if (!found) {
    if (out.exit_status == 0) out.exit_status = kNotFound;
    return out;
  }
  out.exit_status = 0;
  out.why.clear();
  out.deaf = why_deaf(out.path, libraries_32);
  return out;
}

}  // namespace bmcpair::cli
