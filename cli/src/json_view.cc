#include "json_view.h"

namespace writ::cli {

const json::Value& At(const json::Value& value, std::initializer_list<std::string_view> path) {
  static const json::Value null;
  const json::Value* at = &value;
  for (std::string_view name : path) {
    at = at->Find(name);
    if (at == nullptr) return null;
  }
  return *at;
}

std::string Text(const json::Value& value) {
  if (const std::string* text = value.if_string()) return *text;
  return value.is_null() ? "" : json::Write(value);
}

const json::Array& Items(const json::Value& value) {
  static const json::Array none;
  const json::Array* items = value.if_array();
  return items != nullptr ? *items : none;
}

}  // namespace writ::cli
