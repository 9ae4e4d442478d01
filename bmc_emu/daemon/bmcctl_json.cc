#include "bmc_emu/daemon/bmcctl_json.h"

#include <algorithm>
#include <cctype>
#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <nlohmann/json.hpp>

#include "proto/base/hex.h"

namespace bmcpair::daemon {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using nlohmann::ordered_json;

// INTERFACE_KIND_KCS of enum InterfaceKind is "kcs": what is left after the enum's own name.
std::string enum_word(const google::protobuf::EnumValueDescriptor& value) {
  std::string prefix;
  for (char c : value.type()->name()) {
    if (std::isupper(static_cast<unsigned char>(c)) && !prefix.empty()) prefix += '_';
    prefix += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  std::string word = value.name();
  if (word.starts_with(prefix + "_")) word.erase(0, prefix.size() + 1);
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  return word;
}

std::string text_of(const FieldDescriptor& field, const std::string& value) {
  if (field.type() != FieldDescriptor::TYPE_BYTES) return value;
  return to_hex({reinterpret_cast<const uint8_t*>(value.data()), value.size()}, "");
}

ordered_json one(const Message& m, const FieldDescriptor& f) {
  const auto& r = *m.GetReflection();
  switch (f.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: return r.GetInt32(m, &f);
    case FieldDescriptor::CPPTYPE_INT64: return r.GetInt64(m, &f);
    case FieldDescriptor::CPPTYPE_UINT32: return r.GetUInt32(m, &f);
    case FieldDescriptor::CPPTYPE_UINT64: return r.GetUInt64(m, &f);
    case FieldDescriptor::CPPTYPE_DOUBLE: return r.GetDouble(m, &f);
    case FieldDescriptor::CPPTYPE_FLOAT: return r.GetFloat(m, &f);
    case FieldDescriptor::CPPTYPE_BOOL: return r.GetBool(m, &f);
    case FieldDescriptor::CPPTYPE_ENUM: return enum_word(*r.GetEnum(m, &f));
    case FieldDescriptor::CPPTYPE_STRING: return text_of(f, r.GetString(m, &f));
    case FieldDescriptor::CPPTYPE_MESSAGE: return to_json(r.GetMessage(m, &f));
  }
  return nullptr;
}

ordered_json nth(const Message& m, const FieldDescriptor& f, int i) {
  const auto& r = *m.GetReflection();
  switch (f.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: return r.GetRepeatedInt32(m, &f, i);
    case FieldDescriptor::CPPTYPE_INT64: return r.GetRepeatedInt64(m, &f, i);
    case FieldDescriptor::CPPTYPE_UINT32: return r.GetRepeatedUInt32(m, &f, i);
    case FieldDescriptor::CPPTYPE_UINT64: return r.GetRepeatedUInt64(m, &f, i);
    case FieldDescriptor::CPPTYPE_DOUBLE: return r.GetRepeatedDouble(m, &f, i);
    case FieldDescriptor::CPPTYPE_FLOAT: return r.GetRepeatedFloat(m, &f, i);
    case FieldDescriptor::CPPTYPE_BOOL: return r.GetRepeatedBool(m, &f, i);
    case FieldDescriptor::CPPTYPE_ENUM: return enum_word(*r.GetRepeatedEnum(m, &f, i));
    case FieldDescriptor::CPPTYPE_STRING: return text_of(f, r.GetRepeatedString(m, &f, i));
    case FieldDescriptor::CPPTYPE_MESSAGE: return to_json(r.GetRepeatedMessage(m, &f, i));
  }
  return nullptr;
}

}  // namespace

ordered_json to_json(const Message& message) {
  ordered_json out = ordered_json::object();
  const auto& descriptor = *message.GetDescriptor();
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.is_repeated()) {
      ordered_json list = ordered_json::array();
      for (int n = 0; n < reflection.FieldSize(message, &field); ++n) list.push_back(nth(message, field, n));
      out[field.name()] = std::move(list);
    } else {
      out[field.name()] = one(message, field);
    }
  }
  return out;
}

}  // namespace bmcpair::daemon
