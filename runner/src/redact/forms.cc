// The forms in which programs print a value.
#include <string.h>

#include <algorithm>
#include <functional>
#include <string>

#include "writ/base/encoding.h"
#include "writ/runner/redactor.h"

namespace writ::runner {
namespace {

constexpr char kLower[] = "0123456789abcdef";
constexpr char kUpper[] = "0123456789ABCDEF";

bool IsAlnum(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string Hex(std::string_view value, const char* digits) {
  std::string out;
  out.reserve(value.size() * 2);
  for (unsigned char c : value) {
    out += digits[c >> 4];
    out += digits[c & 15];
  }
  return out;
}

// Percent-encoding; `keep` says which bytes stay as they are beside letters and digits.
std::string Percent(std::string_view value, const char* digits, std::string_view keep, char space) {
  std::string out;
  out.reserve(value.size() * 3);
  for (unsigned char c : value) {
    if (c == ' ' && space != '\0') {
      out += space;
    } else if (IsAlnum(c) || keep.find(static_cast<char>(c)) != std::string_view::npos) {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += digits[c >> 4];
      out += digits[c & 15];
    }
  }
  return out;
}

std::string PercentEvery(std::string_view value, const char* digits) {
  std::string out;
  out.reserve(value.size() * 3);
  for (unsigned char c : value) {
    out += '%';
    out += digits[c >> 4];
    out += digits[c & 15];
  }
  return out;
}

struct JsonStyle {
  bool slash = false;         // "/" as "\/"
  bool ascii = false;         // everything above 0x7e as \uXXXX
  bool html = false;          // < > & ' as \u00XX (Go, some templating engines)
  bool short_escapes = true;  // \n, \t, ... rather than \u000a
  const char* digits = kLower;
};

void AppendUnit(std::string& out, unsigned unit, const char* digits) {
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += digits[(unit >> shift) & 15];
}

// The code point at `i`, with its length; 0 length where the bytes are not UTF-8.
std::pair<unsigned, std::size_t> CodePoint(std::string_view s, std::size_t i) {
  auto at = [&](std::size_t k) { return static_cast<unsigned char>(s[k]); };
  unsigned char lead = at(i);
  std::size_t length = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (length == 0 || lead >= 0xf5 || i + length > s.size()) return {0, 0};
  unsigned point = lead & (0xffu >> (length + 1));
  for (std::size_t k = 1; k < length; ++k) {
    if ((at(i + k) & 0xc0) != 0x80) return {0, 0};
    point = point << 6 | (at(i + k) & 0x3f);
  }
  return {point, length};
}

std::string Json(std::string_view value, const JsonStyle& style) {
  std::string out;
  out.reserve(value.size() * 2);
  for (std::size_t i = 0; i < value.size(); ++i) {
    auto c = static_cast<unsigned char>(value[i]);
    const char* brief = nullptr;
    switch (c) {
      case '"':
        brief = "\\\"";
        break;
      case '\\':
        brief = "\\\\";
        break;
      case '/':
        brief = style.slash ? "\\/" : nullptr;
        break;
      case '\b':
        brief = style.short_escapes ? "\\b" : nullptr;
        break;
      case '\f':
        brief = style.short_escapes ? "\\f" : nullptr;
        break;
      case '\n':
        brief = style.short_escapes ? "\\n" : nullptr;
        break;
      case '\r':
        brief = style.short_escapes ? "\\r" : nullptr;
        break;
      case '\t':
        brief = style.short_escapes ? "\\t" : nullptr;
        break;
      default:
        break;
    }
    if (brief != nullptr) {
      out += brief;
    } else if (c < 0x20 || (style.html && (c == '<' || c == '>' || c == '&' || c == '\'')) ||
               (style.ascii && c == 0x7f)) {
      AppendUnit(out, c, style.digits);
    } else if (style.ascii && c >= 0x80) {
      auto [point, length] = CodePoint(value, i);
      if (length == 0) {
        out += static_cast<char>(c);
      } else {
        if (point >= 0x10000) {
          AppendUnit(out, 0xd800 + ((point - 0x10000) >> 10), style.digits);
          AppendUnit(out, 0xdc00 + ((point - 0x10000) & 0x3ff), style.digits);
        } else {
          AppendUnit(out, point, style.digits);
        }
        i += length - 1;
      }
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

// The characters of base64 that depend on the value alone when `skip` unknown bytes stand before it
// and unknown bytes follow.
std::string Base64Core(std::string_view value, std::size_t skip) {
  std::string padded(skip, '\0');
  padded += value;
  std::size_t whole = padded.size() * 8 / 6;  // characters fully determined by the bytes so far
  std::string text = Base64Encode(padded);
  std::size_t from = skip == 0 ? 0 : skip + 1;  // 1 byte reaches into 2 characters, 2 bytes into 3
  explicit_bzero(padded.data(), padded.size());
  std::string core = whole > from ? text.substr(from, whole - from) : std::string();
  explicit_bzero(text.data(), text.size());
  return core;
}

}  // namespace

std::vector<SecretForm> FormsOf(std::string_view value, std::size_t secret_index) {
  std::vector<SecretForm> forms;
  auto add_text = [&](std::string text) {
    bool known = text.size() < kMinSecretBytes ||
                 std::any_of(forms.begin(), forms.end(),
                             [&](const SecretForm& f) { return f.bytes.Reveal() == text; });
    if (known) {
      explicit_bzero(text.data(), text.size());
    } else {
      forms.push_back({secret_index, Secret::Consume(text)});
    }
  };
  if (value.empty()) return forms;
  add_text(std::string(value));
  for (std::size_t skip = 0; skip < 3; ++skip) {
    std::string core = Base64Core(value, skip);
    std::string url = core;
    std::replace(url.begin(), url.end(), '+', '-');
    std::replace(url.begin(), url.end(), '/', '_');
    add_text(std::move(core));
    add_text(std::move(url));
  }
  for (const char* digits : {kLower, kUpper}) {
    add_text(Hex(value, digits));
    add_text(PercentEvery(value, digits));
    add_text(Percent(value, digits, "-._~", '\0'));                  // RFC 3986
    add_text(Percent(value, digits, "-._~!'()*", '\0'));             // encodeURIComponent
    add_text(Percent(value, digits, "-._~!'()*;/?:@&=+$,#", '\0'));  // encodeURI
    add_text(Percent(value, digits, "-._~/", '\0'));                 // urllib.parse.quote
    add_text(Percent(value, digits, "-._*", '+'));                   // HTML forms
    add_text(Percent(value, digits, "-._~", '+'));                   // urllib.parse.quote_plus, Go
    add_text(Json(value, {.digits = digits}));
    add_text(Json(value, {.slash = true, .digits = digits}));
    add_text(Json(value, {.ascii = true, .digits = digits}));
    add_text(Json(value, {.slash = true, .ascii = true, .digits = digits}));
    add_text(Json(value, {.html = true, .digits = digits}));
    add_text(Json(value, {.ascii = true, .html = true, .digits = digits}));
    add_text(Json(value, {.short_escapes = false, .digits = digits}));
  }
  std::string once = Json(value, {});
  add_text(Json(once, {}));
  explicit_bzero(once.data(), once.size());
  if (value.find('\n') != std::string_view::npos) {
    std::size_t from = 0;
    while (from < value.size()) {
      std::size_t to = std::min(value.find('\n', from), value.size());
      std::string_view line = value.substr(from, to - from);
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (line.size() >= kMinLineBytes) add_text(std::string(line));
      from = to + 1;
    }
  }
  return forms;
}

}  // namespace writ::runner
