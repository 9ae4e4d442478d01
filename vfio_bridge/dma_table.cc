#include "vfio_bridge/dma_table.h"

#include <cerrno>
#include <iterator>

namespace bmcpair::vfio_bridge {

int DmaTable::map(uint64_t address, uint64_t size) {
  if (size == 0 || address + (size - 1) < address) return EINVAL;
  uint64_t last = address + (size - 1);
  auto after = maps_.upper_bound(address);
  if (after != maps_.end() && after->first <= last) return EEXIST;
  if (after != maps_.begin()) {
    auto before = std::prev(after);
    if (before->first + (before->second - 1) >= address) return EEXIST;
  }
  if (maps_.size() >= maps_max_) return ENOSPC;
  maps_.emplace(address, size);
  return 0;
}

int DmaTable::unmap(uint64_t address, uint64_t size) {
  auto it = maps_.find(address);
  if (it == maps_.end() || it->second != size) return ENOENT;
  maps_.erase(it);
  return 0;
}

}  // namespace bmcpair::vfio_bridge
