#include "bmc_emu/transport/grpc/listen.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/address.h"
#include "proto/base/hex.h"

namespace bmcpair::transport {
namespace {

std::string why() { return std::strerror(errno); }

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status make_directory(const std::string& directory) {
  struct stat st;
  if (::stat(directory.c_str(), &st) == 0) {
    if (S_ISDIR(st.st_mode)) return {};
    return Error{ErrorCode::kIo, directory + ": not a directory"};
  }
  // Only the last part: a longer missing path is more likely a mistake.
  if (::mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return Error{ErrorCode::kIo, "cannot make directory " + directory + ": " + why()};
}

// Whether somebody accepts connections there.
bool is_live(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;
  bool live = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN;
  ::close(fd);
  return live;
}

}  // namespace

std::string ListenAddress::to_string() const {
  if (is_unix) return "unix:" + path;
  bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<ListenAddress> parse_listen_address(std::string_view text) {
  auto bad = [&](const std::string& what) {
    return Error{ErrorCode::kInvalidArgument, "listen address '" + std::string(text.substr(0, 200)) + "': " + what +
                                                  "; expected unix:PATH, HOST:PORT or :PORT (127.0.0.1)"};
  };
  for (char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return Error{ErrorCode::kInvalidArgument, "listen address has a control character in it"};
  std::string address = canonical_address(text);
  ListenAddress out;
  if (address.starts_with("unix:")) {
    out.is_unix = true;
    out.path = address.substr(5);
    if (out.path.starts_with("//")) out.path.erase(0, 2);  // unix:///path
    if (out.path.empty() || out.path.back() == '/') return bad("no socket path");
    if (out.path.size() >= sizeof(sockaddr_un::sun_path))
      return bad("the path has " + std::to_string(out.path.size()) + " bytes, a socket's has at most " +
                 std::to_string(sizeof(sockaddr_un::sun_path) - 1));
    return out;
  }
  size_t colon = address.rfind(':');
  if (colon == std::string::npos) return bad("no port");
  std::string port = address.substr(colon + 1);
  out.host = address.substr(0, colon);
  if (out.host.starts_with("[") && out.host.ends_with("]")) {
    out.host = out.host.substr(1, out.host.size() - 2);
  } else if (out.host.find(':') != std::string::npos) {
    return bad("an IPv6 address goes in brackets");
  }
  auto number = parse_number(port, 65535);
  if (!number) return bad("port '" + port + "' is not 0 to 65535");
  if (out.host.empty() || out.host.find_first_of("/ []") != std::string::npos) return bad("no host");
  out.port = static_cast<uint16_t>(*number);
  return out;
}

Result<std::unique_ptr<SocketPlace>> SocketPlace::prepare(const std::string& path) {
  const std::string parent = parent_of(path);
  if (Status s = make_directory(parent); !s.ok()) return s.error();
  struct stat st;
  if (::lstat(path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) return Error{ErrorCode::kBusy, path + ": there already, and no socket: not replaced"};
    if (is_live(path)) return Error{ErrorCode::kBusy, path + ": another server listens there"};
  } else if (errno != ENOENT) {
    return Error{ErrorCode::kIo, path + ": " + why()};
  }
  std::unique_ptr<SocketPlace> place(new SocketPlace);
  place->path_ = path;
  std::string directory = parent + "/.bXXXXXX";
  if (directory.size() + 2 >= sizeof(sockaddr_un::sun_path))
    return Error{ErrorCode::kInvalidArgument, path + ": directory name too long for a socket address"};
  if (!::mkdtemp(directory.data())) return Error{ErrorCode::kIo, "cannot write to " + parent + ": " + why()};
  place->directory_ = directory;
  place->bind_path_ = directory + "/s";
  return place;
}

Status SocketPlace::publish() {
  struct stat st;
  if (::chmod(bind_path_.c_str(), 0600) != 0 || ::lstat(bind_path_.c_str(), &st) != 0)
    return Error{ErrorCode::kIo, bind_path_ + ": " + why()};
  if (::rename(bind_path_.c_str(), path_.c_str()) != 0)
    return Error{ErrorCode::kIo, path_ + ": " + why()};
  inode_ = st.st_ino;
  device_ = st.st_dev;
  published_ = true;
  ::rmdir(directory_.c_str());
  return {};
}

SocketPlace::~SocketPlace() {
  struct stat st;
  if (published_ && ::lstat(path_.c_str(), &st) == 0 && st.st_ino == inode_ && st.st_dev == device_)
    ::unlink(path_.c_str());
  if (!published_ && !directory_.empty()) {
    ::unlink(bind_path_.c_str());
    ::rmdir(directory_.c_str());
  }
}

}  // namespace bmcpair::transport
