// Where the preloaded library is.
#pragma once

#include <string>
#include <string_view>

#include "host_driver/device_node/names.h"
#include "proto/base/result.h"

namespace bmcpair::device_node {

// The file `name` in <bin>/../lib/bmcpair, <bin> being the folder of the running program: so it is in a build tree and where
// it is installed. kNotFound says where it was looked for.
Result<std::string> find_library(std::string_view name = kPreloadLibrary);
// What LD_PRELOAD is to hold for it: with a 32 bit build of it beside, a path with $LIB in it, which the loader of each
// program makes the right one of.
Result<std::string> preload_value();

}  // namespace bmcpair::device_node
