// Book-keeping of the client's DMA windows. The device does no DMA, so an entry is a range and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace bmcpair::vfio_bridge {

class DmaTable {
 public:
  explicit DmaTable(size_t maps_max) : maps_max_(maps_max) {}

  // 0, or an errno: EINVAL (empty, or past the end of the address space), EEXIST (over an existing map), ENOSPC.
  int map(uint64_t address, uint64_t size);
  // 0, or ENOENT unless exactly this range was mapped.
  int unmap(uint64_t address, uint64_t size);
  void clear() { maps_.clear(); }
  size_t size() const { return maps_.size(); }

 private:
  std::map<uint64_t, uint64_t> maps_;  // address to size
  size_t maps_max_;
};

}  // namespace bmcpair::vfio_bridge
