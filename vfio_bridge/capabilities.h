// VERSION: what the two sides agree upon. The JSON lives here and nowhere else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/base/result.h"
#include "proto/vfio_user/message.h"

namespace bmcpair::vfio_bridge {

// Ours, and the bounds of everything a client may send.
constexpr uint32_t kDescriptorsMax = 8;        // in one message
constexpr uint32_t kDataBytesMax = 64 * 1024;  // count of one region access
constexpr uint32_t kDmaMapsMax = 4096;
constexpr uint64_t kPageSizes = 4096;
constexpr size_t kMessageBytesMax = vfio_user::kHeaderBytes + vfio_user::kRegionAccessBytes + kDataBytesMax;

struct Agreement {
  uint32_t data_bytes_max = kDataBytesMax;  // the smaller of both sides' max_data_xfer_size
  uint32_t dma_maps_max = kDmaMapsMax;
  bool write_multiple = false;
  vfio_user::Version reply;
};

// Errors: kNotSupported (another major version), kProtocol (JSON that is none, or whose members have the wrong type).
Result<Agreement> negotiate(const vfio_user::Version& proposed);

}  // namespace bmcpair::vfio_bridge
