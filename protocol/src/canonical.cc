#include "writ/protocol/canonical.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

namespace writ::json {
namespace {

// The rank of a UTF-8 byte such that byte order becomes UTF-16 code unit order: four-byte sequences
// are surrogate pairs (from 0xD800 on) and stand before U+E000..U+FFFF, whose lead bytes are 0xEE
// and 0xEF.
unsigned Rank(unsigned char byte) {
  if (byte < 0xEE) return byte;
  return byte >= 0xF0 ? byte - 2u : byte + 7u;
}

}  // namespace

bool NameLess(std::string_view a, std::string_view b) {
  const std::size_t common = std::min(a.size(), b.size());
  for (std::size_t i = 0; i < common; ++i) {
    if (a[i] != b[i])
      return Rank(static_cast<unsigned char>(a[i])) < Rank(static_cast<unsigned char>(b[i]));
  }
  return a.size() < b.size();
}

void AppendQuoted(std::string_view text, std::string& out) {
  out.push_back('"');
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(plain, i - plain));
    plain = i + 1;
    switch (c) {
      case '"':
        out.append("\\\"");
        break;
      case '\\':
        out.append("\\\\");
        break;
      case '\b':
        out.append("\\b");
        break;
      case '\f':
        out.append("\\f");
        break;
      case '\n':
        out.append("\\n");
        break;
      case '\r':
        out.append("\\r");
        break;
      case '\t':
        out.append("\\t");
        break;
      default:
        out.append("\\u00");
        out.push_back("0123456789abcdef"[c >> 4]);
        out.push_back("0123456789abcdef"[c & 15]);
    }
  }
  out.append(text.substr(plain));
  out.push_back('"');
}

// ECMA-262 Number::toString, over the shortest digits that read back as the same double.
void AppendNumber(double number, std::string& out) {
  if (number == 0) {
    out.push_back('0');
    return;
  }
  char text[40];
  const auto written =
      std::to_chars(text, text + sizeof(text), number, std::chars_format::scientific);
  const char* at = text;
  if (*at == '-') {
    out.push_back('-');
    ++at;
  }
  // "d.ddde[+-]xx": collect the digits, read the exponent.
  char digits[24];
  int count = 0;
  for (; *at != 'e'; ++at)
    if (*at != '.') digits[count++] = *at;
  int exponent = 0;
  std::from_chars(at[1] == '+' ? at + 2 : at + 1, written.ptr, exponent);
  const int n = exponent + 1;  // the decimal point stands after n digits
  const auto append = [&](int from, int to) {
    out.append(digits + from, static_cast<std::size_t>(to - from));
  };
  const auto zeros = [&](int howmany) { out.append(static_cast<std::size_t>(howmany), '0'); };
  if (count <= n && n <= 21) {
    append(0, count);
    zeros(n - count);
  } else if (0 < n && n <= 21) {
    append(0, n);
    out.push_back('.');
    append(n, count);
  } else if (-6 < n && n <= 0) {
    out.append("0.");
    zeros(-n);
    append(0, count);
  } else {
    append(0, 1);
    if (count > 1) {
      out.push_back('.');
      append(1, count);
    }
    out.append(n - 1 < 0 ? "e-" : "e+");
    out.append(std::to_string(n - 1 < 0 ? 1 - n : n - 1));
  }
}

namespace {

void AppendSorted(const Object& object, std::string_view without, std::string& out) {
  std::vector<const Member*> members;
  members.reserve(object.size());
  for (const Member& member : object)
    if (without.empty() || member.name != without) members.push_back(&member);
  std::sort(members.begin(), members.end(),
            [](const Member* a, const Member* b) { return NameLess(a->name, b->name); });
  out.push_back('{');
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i != 0) out.push_back(',');
    AppendQuoted(members[i]->name, out);
    out.push_back(':');
    AppendCanonical(members[i]->value, out);
  }
  out.push_back('}');
}

// A scalar; false for containers.
bool AppendScalar(const Value& value, std::string& out) {
  if (value.is_null()) {
    out.append("null");
  } else if (const bool* b = value.if_bool()) {
    out.append(*b ? "true" : "false");
  } else if (const double* number = value.if_number()) {
    AppendNumber(*number, out);
  } else if (const std::string* text = value.if_string()) {
    AppendQuoted(*text, out);
  } else {
    return false;
  }
  return true;
}

// indent < 0: one line.
void AppendOrdered(const Value& value, int indent, std::string& out) {
  if (AppendScalar(value, out)) return;
  const auto line = [&](int level) {
    if (indent < 0) return;
    out.push_back('\n');
    out.append(2 * static_cast<std::size_t>(level), ' ');
  };
  const int inner = indent < 0 ? -1 : indent + 1;
  bool first = true;
  if (const Array* items = value.if_array()) {
    if (items->empty()) {
      out.append("[]");
      return;
    }
    out.push_back('[');
    for (const Value& item : *items) {
      if (!first) out.push_back(',');
      first = false;
      line(inner);
      AppendOrdered(item, inner, out);
    }
    line(indent);
    out.push_back(']');
    return;
  }
  if (value.object().empty()) {
    out.append("{}");
    return;
  }
  out.push_back('{');
  for (const Member& member : value.object()) {
    if (!first) out.push_back(',');
    first = false;
    line(inner);
    AppendQuoted(member.name, out);
    out.append(indent < 0 ? ":" : ": ");
    AppendOrdered(member.value, inner, out);
  }
  line(indent);
  out.push_back('}');
}

}  // namespace

void AppendCanonical(const Value& value, std::string& out) {
  if (AppendScalar(value, out)) return;
  if (const Object* object = value.if_object()) {
    AppendSorted(*object, {}, out);
    return;
  }
  out.push_back('[');
  bool first = true;
  for (const Value& item : value.array()) {
    if (!first) out.push_back(',');
    first = false;
    AppendCanonical(item, out);
  }
  out.push_back(']');
}

std::string CanonicalBytes(const Value& value) {
  std::string out;
  AppendCanonical(value, out);
  return out;
}

std::string CanonicalBytesWithout(const Value& value, std::string_view member) {
  const Object* object = value.if_object();
  if (object == nullptr) return CanonicalBytes(value);
  std::string out;
  AppendSorted(*object, member, out);
  return out;
}

std::string Write(const Value& value) {
  std::string out;
  AppendOrdered(value, -1, out);
  return out;
}

std::string WritePretty(const Value& value) {
  std::string out;
  AppendOrdered(value, 0, out);
  return out;
}

}  // namespace writ::json
