// Canonical JSON, RFC 8785 (JCS): the bytes under every hash and signature of the protocol.
//
// Members sorted by the UTF-16 code units of their names, numbers as ECMAScript's Number::toString,
// the shortest string escapes, no white space. Total: every Value has canonical bytes.
#pragma once

#include <string>
#include <string_view>

#include "writ/protocol/json.h"

namespace writ::json {

std::string CanonicalBytes(const Value& value);
void AppendCanonical(const Value& value, std::string& out);
// The object without one top-level member (how `signatures` is left out); other values as they are.
std::string CanonicalBytesWithout(const Value& value, std::string_view member);

// ECMAScript Number::toString(10) of a finite double; "0" for both zeros.
void AppendNumber(double number, std::string& out);
// A JSON string literal with its quotation marks, shortest escapes (RFC 8785 section 3.2.2.2).
void AppendQuoted(std::string_view utf8, std::string& out);

// True where name a stands before name b: order of UTF-16 code units of two well-formed UTF-8
// texts.
bool NameLess(std::string_view a, std::string_view b);

}  // namespace writ::json
