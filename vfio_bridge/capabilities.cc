#include "vfio_bridge/capabilities.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace bmcpair::vfio_bridge {
namespace {

using Json = nlohmann::json;

Error malformed(const std::string& what) { return Error{ErrorCode::kProtocol, "VERSION: " + what}; }

// An optional whole number of at least `least`.
Result<std::optional<uint64_t>> number(const Json& object, const char* name, uint64_t least) {
  auto it = object.find(name);
  if (it == object.end()) return std::optional<uint64_t>();
  if (!it->is_number_unsigned() || it->get<uint64_t>() < least) {
    return malformed("capabilities." + std::string(name) + " is not a whole number of at least " +
                     std::to_string(least));
  }
  return std::optional<uint64_t>(it->get<uint64_t>());
}

Result<std::optional<bool>> boolean(const Json& object, const char* name) {
  auto it = object.find(name);
  if (it == object.end()) return std::optional<bool>();
  if (!it->is_boolean()) return malformed("'" + std::string(name) + "' is not true or false");
  return std::optional<bool>(it->get<bool>());
}

}  // namespace

Result<Agreement> negotiate(const vfio_user::Version& proposed) {
  if (proposed.major != vfio_user::kVersionMajor) {
    return Error{ErrorCode::kNotSupported, "VERSION: major version " + std::to_string(proposed.major) +
                                               " is proposed, only " + std::to_string(vfio_user::kVersionMajor) +
                                               " is spoken here"};
  }
  Agreement a;
  a.reply.major = vfio_user::kVersionMajor;
  a.reply.minor = std::min(proposed.minor, vfio_user::kVersionMinor);
  if (!proposed.json) return a;

  // A depth bound first: the parser keeps its own stack, but there is no reason to build what nobody asked for.
  constexpr int kDepthMax = 16;
  Json root = Json::parse(
      *proposed.json, [](int depth, Json::parse_event_t, Json&) { return depth <= kDepthMax; },
      /*allow_exceptions=*/false);
  if (root.is_discarded()) return malformed("version data is not JSON");
  if (!root.is_object()) return malformed("version data is not a JSON object");
  Json reply = Json::object();
  if (auto it = root.find("capabilities"); it != root.end()) {
    if (!it->is_object()) return malformed("'capabilities' is not an object");
    const Json& caps = *it;
    Json& ours = reply["capabilities"] = Json::object();
    // The reply's capabilities must be a subset of those proposed.
    auto fds = number(caps, "max_msg_fds", 0);
    if (!fds) return fds.error();
    if (*fds) ours["max_msg_fds"] = kDescriptorsMax;
    auto xfer = number(caps, "max_data_xfer_size", 1);
    if (!xfer) return xfer.error();
    if (*xfer) {
      a.data_bytes_max = static_cast<uint32_t>(std::min<uint64_t>(**xfer, kDataBytesMax));
      ours["max_data_xfer_size"] = kDataBytesMax;
    }
    auto maps = number(caps, "max_dma_maps", 0);
    if (!maps) return maps.error();
    if (*maps) {
      a.dma_maps_max = static_cast<uint32_t>(std::min<uint64_t>(**maps, kDmaMapsMax));
      ours["max_dma_maps"] = a.dma_maps_max;
    }
    auto pages = number(caps, "pgsizes", 1);
    if (!pages) return pages.error();
    if (*pages) ours["pgsizes"] = kPageSizes;
    auto multiple = boolean(caps, "write_multiple");
    if (!multiple) return multiple.error();
    if (*multiple && **multiple) {
      a.write_multiple = true;
      ours["write_multiple"] = true;
    }
    // twin_socket is left out: this device sends no commands. But what is said of it must make sense.
    if (auto twin = caps.find("twin_socket"); twin != caps.end()) {
      if (!twin->is_object()) return malformed("capabilities.twin_socket is not an object");
      if (auto supported = boolean(*twin, "supported"); !supported) return supported.error();
    }
  }
  a.reply.json = reply.dump();
  return a;
}

}  // namespace bmcpair::vfio_bridge
