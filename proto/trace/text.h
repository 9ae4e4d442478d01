// Texts of anybody's making inside JSON and XML.
#pragma once

#include <string>
#include <string_view>

namespace bmcpair::trace {

// UTF-8 without control characters: what is neither is "?".
std::string clean_utf8(std::string_view text);
std::string json_string(std::string_view text);  // quotes included
std::string xml_text(std::string_view text);
// At most so many characters, "…" in place of the rest.
std::string shortened(std::string_view clean, size_t characters_max);
size_t characters_of(std::string_view clean);

}  // namespace bmcpair::trace
