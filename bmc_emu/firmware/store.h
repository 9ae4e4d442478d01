// What the firmware needs kept over a restart. storage/ keeps it in SQLite; MemoryStore forgets.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/result.h"

namespace bmcpair::firmware {

// Tables of small blobs by number. One Batch is applied whole or not at all, and is on stable storage
// before commit returns: what the firmware acknowledges after it is never lost.
struct Batch {
  struct Put {
    std::string table;
    uint32_t key;
    Bytes value;
  };
  std::vector<std::string> clear_tables;                   // first
  std::vector<std::pair<std::string, uint32_t>> erase;     // then
  std::vector<Put> put;                                    // then
  bool empty() const { return clear_tables.empty() && erase.empty() && put.empty(); }
};

class Store {
 public:
  virtual ~Store() = default;
  // Keys ascending. Errors: kIo, kCorrupt.
  virtual Result<std::vector<std::pair<uint32_t, Bytes>>> load(std::string_view table) = 0;
  virtual Status commit(const Batch& batch) = 0;
};

class MemoryStore : public Store {
 public:
  Result<std::vector<std::pair<uint32_t, Bytes>>> load(std::string_view table) override;
  Status commit(const Batch& batch) override;

 private:
  std::map<std::string, std::map<uint32_t, Bytes>, std::less<>> tables_;
};

}  // namespace bmcpair::firmware
