// Reading shown JSON: what is not there, or of another type, reads as nothing. For screens;
// whatever decides parses into a strict type instead.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "writ/protocol/json.h"

namespace writ::cli {

// The member below `path`; null where one on the way is missing. Borrowed from `value`.
const json::Value& At(const json::Value& value, std::initializer_list<std::string_view> path);

// A string as it is, null as nothing, anything else as its JSON.
std::string Text(const json::Value& value);

// The items of an array; none for anything else. Borrowed from `value`.
const json::Array& Items(const json::Value& value);

}  // namespace writ::cli
