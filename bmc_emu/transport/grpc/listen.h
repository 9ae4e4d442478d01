// Where a server listens: addresses as people write them, and unix sockets put in place safely.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "proto/base/result.h"

namespace bmcpair::transport {

struct ListenAddress {
  bool is_unix = false;
  std::string path;  // unix
  std::string host;  // TCP, without brackets; "127.0.0.1" when it was left out
  uint16_t port = 0;

  std::string to_string() const;  // "unix:PATH", "HOST:PORT", "[V6]:PORT"
};

// Errors: kInvalidArgument, says what was expected.
Result<ListenAddress> parse_listen_address(std::string_view text);

// A unix socket's place. The server binds inside a fresh directory that only we may enter; publish() sets mode 0600 and
// renames it over `path`, so there is no instant at which others can connect and a dead server's socket is replaced in
// one step. The destructor removes it, if it is still ours.
class SocketPlace {
 public:
  // Makes the parent directory (0700) if it is missing. Errors: kBusy (a live server, or something that is no socket),
  // kInvalidArgument (too long for a socket address), kIo.
  static Result<std::unique_ptr<SocketPlace>> prepare(const std::string& path);
  ~SocketPlace();
  SocketPlace(const SocketPlace&) = delete;
  SocketPlace& operator=(const SocketPlace&) = delete;

  const std::string& bind_path() const { return bind_path_; }
  Status publish();

 private:
  SocketPlace() = default;
  std::string path_;
  std::string directory_;
  std::string bind_path_;
  uint64_t inode_ = 0;
  uint64_t device_ = 0;
  bool published_ = false;
};

}  // namespace bmcpair::transport
