// Protobuf messages as JSON for people and scripts: field names as in the .proto, bytes as hexadecimal digits, enums as
// their last word in lower case ("kcs"), every field present.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace google::protobuf {
class Message;
}

namespace bmcpair::daemon {

nlohmann::ordered_json to_json(const google::protobuf::Message& message);

}  // namespace bmcpair::daemon
