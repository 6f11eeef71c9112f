// The strict reader of HTTP/1 heads (RFC 9110, RFC 9112; L29). Pure: bytes in, value or refusal
// out.
//
// What two parsers could read differently is refused with a code; nothing is repaired. Codes:
//   http.bare_lf http.bare_cr http.nul http.leading_empty_line http.head_too_long
//   http.too_many_headers http.request_line http.method http.target http.version http.obs_fold
//   http.header_name http.space_before_colon http.header_value http.content_length
//   http.conflicting_length http.length_with_encoding http.transfer_encoding http.encoding_in_1_0
//   http.host_missing http.host_twice http.connection http.status_line http.status
// Text of a refusal is never part of its message (L10).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace writ::egress {

struct HeadLimits {
  std::size_t bytes = 64 * 1024;
  std::size_t headers = 128;
};

struct HttpRefusal {
  std::string_view code;  // one of the above; static storage
  int status = 400;       // what a client is answered: 400, 431, 501, 505
};

// Finds the end of a head in a stream, byte for byte as it arrives. Refuses a bare LF or CR, NUL,
// an empty first line and an oversize head as soon as they are seen.
class HeadScanner {
 public:
  explicit HeadScanner(HeadLimits limits) : limits_(limits) {}
  struct NeedMore {};
  struct Complete {
    std::size_t bytes;  // length of the head, its final empty line included
  };
  // `all`: everything received so far of this head; it only ever grows between calls.
  std::variant<NeedMore, Complete, HttpRefusal> Scan(std::string_view all);

 private:
  HeadLimits limits_;
  std::size_t scanned_ = 0;
  std::size_t line_start_ = 0;
};

struct HeaderField {
  std::string name;   // as sent
  std::string value;  // outer spaces and tabs removed
};

// How a message's body is delimited.
struct BodyFraming {
  enum class Kind : std::uint8_t { kNone, kLength, kChunked, kUntilClose };
  Kind kind = Kind::kNone;
  std::uint64_t length = 0;
};

struct RequestHead {
  std::string method;
  std::string target;  // visible ASCII, no fragment
  int minor_version = 1;
  std::vector<HeaderField> headers;
  BodyFraming body;
  std::string host;  // the Host header's value; empty where HTTP/1.0 sent none
  bool keep_alive = true;
  bool expects_continue = false;
};

struct ResponseHead {
  int minor_version = 1;
  int status = 0;
  std::string reason;
  std::vector<HeaderField> headers;
  BodyFraming body;
};

// `head`: exactly what the scanner found complete.
std::variant<RequestHead, HttpRefusal> ParseRequestHead(std::string_view head, HeadLimits limits);
// `request_method` decides whether a body follows (HEAD has none).
std::variant<ResponseHead, HttpRefusal> ParseResponseHead(std::string_view head, HeadLimits limits,
                                                          std::string_view request_method);

// The first value of a header by name, ASCII case ignored; nullptr where there is none.
const std::string* FindHeader(const std::vector<HeaderField>& headers, std::string_view name);
bool EqualsIgnoreCase(std::string_view a, std::string_view b);
bool IsToken(std::string_view text);  // RFC 9110 section 5.6.2

// The header fields that may pass a proxy: without the hop-by-hop ones, those that Connection
// names, proxy credentials, Host, Content-Length and every framing field (the sender writes its
// own).
std::vector<HeaderField> EndToEndHeaders(const std::vector<HeaderField>& headers);

}  // namespace writ::egress
