#include "http/request_head.h"

#include <algorithm>
#include <array>

namespace writ::plane::http {
namespace {

Error Bad(std::string code, std::string message) {
  return Error{.kind = ErrorKind::kInvalid, .code = std::move(code), .message = std::move(message)};
}

bool IsTokenChar(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    int high = HexDigit(text[i + 1]);
    int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

Status ReadTarget(std::string_view target, const HeadLimits& limits, RequestHead& out) {
  if (target.size() > limits.max_target)
    return Bad("http.target_too_long", "the request target is too long");
  bool visible =
      std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (target.empty() || target.front() != '/' || !visible ||
      target.find('#') != std::string_view::npos) {
    return Bad("http.target", "the request target must be an absolute path of visible ASCII");
  }
  std::size_t mark = target.find('?');
  out.path = target.substr(0, mark);
  if (mark == std::string_view::npos) return {};
  std::string_view query = target.substr(mark + 1);
  while (!query.empty()) {
    std::size_t end = query.find('&');
    std::string_view pair = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view{} : query.substr(end + 1);
    if (pair.empty()) continue;
    std::size_t equals = pair.find('=');
    auto name = PercentDecode(pair.substr(0, equals));
    auto value = equals == std::string_view::npos ? std::optional<std::string>("")
                                                  : PercentDecode(pair.substr(equals + 1));
    if (!name || !value) return Bad("http.target", "the query has a broken percent escape");
    if (!out.query.emplace(std::move(*name), std::move(*value)).second) {
      return Bad("http.target", "the query names a parameter twice");
    }
  }
  return {};
}

Status ReadFraming(std::string_view name, std::string_view value, RequestHead& out) {
  if (name == "content-length") {
    bool digits =
        !value.empty() && value.size() <= 18 &&
        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return Bad("http.framing", "Content-Length must be one decimal number");
    std::uint64_t length = 0;
    for (char c : value) length = length * 10 + static_cast<std::uint64_t>(c - '0');
    out.content_length = length;
  } else if (name == "transfer-encoding") {
    if (Lower(value) != "chunked") return Bad("http.framing", "Transfer-Encoding must be chunked");
    out.chunked = true;
  } else if (name == "content-encoding") {
    if (Lower(value) != "identity") return Bad("http.encoding", "bodies must not be encoded");
  } else if (name == "expect") {
    if (Lower(value) != "100-continue")
      return Bad("http.expectation", "this expectation is not known");
    out.expect_continue = true;
  }
  return {};
}

}  // namespace

Result<RequestHead> ParseRequestHead(std::string_view head, const HeadLimits& limits) {
  RequestHead out;
  std::size_t line_end = head.find("\r\n");
  if (line_end == std::string_view::npos || !head.ends_with("\r\n\r\n")) {
    return Bad("http.request_line", "the request head is not complete");
  }
  std::string_view line = head.substr(0, line_end);
  std::size_t first = line.find(' ');
  std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || !IsToken(line.substr(0, first)) ||
      first > 16 || line.find(' ', first + 1) != last) {
    return Bad("http.request_line", "the request line must be METHOD TARGET VERSION");
  }
  out.method = line.substr(0, first);
  std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1") {
    if (version.starts_with("HTTP/")) return Bad("http.version", "only HTTP/1.1 is spoken here");
    return Bad("http.request_line", "the request line must be METHOD TARGET VERSION");
  }
  WRIT_TRY(ReadTarget(line.substr(first + 1, last - first - 1), limits, out));

  static constexpr std::array<std::string_view, 8> kOnce = {
      "host",   "content-length", "transfer-encoding", "authorization",
      "expect", "content-type",   "content-encoding",  "connection"};
  std::array<bool, kOnce.size()> seen{};
  std::size_t count = 0;
  std::string_view rest = head.substr(line_end + 2);
  while (rest != "\r\n") {
    std::size_t end = rest.find("\r\n");
    std::string_view header = rest.substr(0, end);
    rest = rest.substr(end + 2);
    if (header.empty()) return Bad("http.header", "bytes follow the empty line of the head");
    if (++count > limits.max_headers)
      return Bad("http.too_many_headers", "the request has too many headers");
    std::size_t colon = header.find(':');
    // No white space before the colon, no folded lines: both fail the token.
    if (colon == std::string_view::npos || !IsToken(header.substr(0, colon))) {
      return Bad("http.header", "a header line is not NAME: VALUE");
    }
    std::string name = Lower(header.substr(0, colon));
    std::string_view value = Trim(header.substr(colon + 1));
    for (char c : value) {
      if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) {
        return Bad("http.header", "a header's value has a control character");
      }
    }
    auto once = std::find(kOnce.begin(), kOnce.end(), name);
    if (once != kOnce.end()) {
      bool& before = seen[static_cast<std::size_t>(once - kOnce.begin())];
      if (before) return Bad("http.duplicate_header", "the header " + name + " is there twice");
      before = true;
    }
    WRIT_TRY(ReadFraming(name, value, out));
    if (name == "authorization") out.authorization = value;
    if (name == "connection") out.close = Lower(value).find("close") != std::string::npos;
  }
  if (!seen[0]) return Bad("http.host", "the header host is missing");
  if (out.chunked && out.content_length) {
    return Bad("http.framing", "Content-Length and Transfer-Encoding are both there");
  }
  return out;
}

std::string RequestHead::Canonical() const {
  std::string out = HasBody() || method == "POST" ? "POST" : method == "HEAD" ? "HEAD" : "GET";
  out += " /x HTTP/1.1\r\nHost: x\r\n";
  if (chunked) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (HasBody() || method == "POST") {
    out += "Content-Length: " + std::to_string(content_length.value_or(0)) + "\r\n";
  }
  if (expect_continue && HasBody()) out += "Expect: 100-continue\r\n";
  if (close) out += "Connection: close\r\n";
  return out + "\r\n";
}

int StatusOf(const Error& error) {
  if (error.code == "http.too_many_headers" || error.code == "http.head_too_large") return 431;
  if (error.code == "http.target_too_long") return 414;
  if (error.code == "http.version") return 505;
  if (error.code == "http.expectation") return 417;
  if (error.code == "http.encoding") return 415;
  return 400;
}

}  // namespace writ::plane::http
