#include "writ/egress/http_head.h"

#include <algorithm>
#include <array>

#include "header_rules.h"

namespace writ::egress {
namespace {

constexpr HttpRefusal kBareLf{"http.bare_lf", 400};
constexpr HttpRefusal kBareCr{"http.bare_cr", 400};
constexpr HttpRefusal kNul{"http.nul", 400};
constexpr HttpRefusal kEmptyFirstLine{"http.leading_empty_line", 400};
constexpr HttpRefusal kTooLong{"http.head_too_long", 431};
constexpr HttpRefusal kTooMany{"http.too_many_headers", 431};

// One line without its CRLF; the text after it. nullopt: no CRLF, which the scanner rules out.
std::optional<std::pair<std::string_view, std::string_view>> CutLine(std::string_view text) {
  std::size_t end = text.find("\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  return std::pair(text.substr(0, end), text.substr(end + 2));
}

std::optional<HttpRefusal> CheckLineEnds(std::string_view head) {
  for (std::size_t i = 0; i < head.size(); ++i) {
    if (head[i] == '\0') return kNul;
    if (head[i] == '\n' && (i == 0 || head[i - 1] != '\r')) return kBareLf;
    if (head[i] == '\r' && (i + 1 == head.size() || head[i + 1] != '\n')) return kBareCr;
  }
  return std::nullopt;
}

std::optional<int> ParseVersion(std::string_view text) {
  if (text == "HTTP/1.1") return 1;
  if (text == "HTTP/1.0") return 0;
  return std::nullopt;
}

std::optional<HttpRefusal> ParseHeaders(std::string_view rest, HeadLimits limits,
                                        std::vector<HeaderField>& out) {
  for (;;) {
    auto cut = CutLine(rest);
    if (!cut) return kBareLf;
    auto [line, after] = *cut;
    rest = after;
    if (line.empty()) break;
    if (out.size() == limits.headers) return kTooMany;
    auto field = ParseHeaderLine(line);
    if (const auto* refused = std::get_if<HttpRefusal>(&field)) return *refused;
    out.push_back(std::move(std::get<HeaderField>(field)));
  }
  // The scanner ends a head at its first empty line: more would be a second message.
  if (!rest.empty()) return HttpRefusal{"http.request_line", 400};
  return std::nullopt;
}

struct Framing {
  std::optional<std::uint64_t> length;
  bool chunked = false;
};

std::variant<Framing, HttpRefusal> ReadFraming(const std::vector<HeaderField>& headers,
                                               int minor_version) {
  Framing framing;
  bool encoded = false;
  for (const HeaderField& field : headers) {
    if (EqualsIgnoreCase(field.name, "Content-Length")) {
      // One value only: "4, 4" and a repeated header are two chances to disagree.
      if (framing.length) return HttpRefusal{"http.conflicting_length", 400};
      framing.length = ParseDecimal(field.value);
      if (!framing.length) return HttpRefusal{"http.content_length", 400};
    } else if (EqualsIgnoreCase(field.name, "Transfer-Encoding")) {
      if (encoded || !EqualsIgnoreCase(field.value, "chunked"))
        return HttpRefusal{"http.transfer_encoding", 501};
      encoded = true;
    }
  }
  if (encoded && framing.length) return HttpRefusal{"http.length_with_encoding", 400};
  if (encoded && minor_version == 0) return HttpRefusal{"http.encoding_in_1_0", 400};
  framing.chunked = encoded;
  return framing;
}

// Connection options must be tokens and may not name what delimits or addresses the message.
std::variant<std::vector<std::string>, HttpRefusal> ConnectionOptions(
    const std::vector<HeaderField>& headers) {
  static constexpr std::array<std::string_view, 8> kUntouchable = {"host",
                                                                   "content-length",
                                                                   "transfer-encoding",
                                                                   "content-type",
                                                                   "content-encoding",
                                                                   "authorization",
                                                                   "cookie",
                                                                   "expect"};
  std::vector<std::string> options;
  for (const HeaderField& field : headers) {
    if (!EqualsIgnoreCase(field.name, "Connection") &&
        !EqualsIgnoreCase(field.name, "Proxy-Connection"))
      continue;
    std::string_view rest = field.value;
    while (!rest.empty()) {
      std::size_t comma = rest.find(',');
      std::string_view option = TrimSpace(rest.substr(0, comma));
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
      if (option.empty()) continue;  // RFC 9110 section 5.6.1.2: empty list elements mean nothing
      if (!IsToken(option)) return HttpRefusal{"http.connection", 400};
      std::string lower = AsciiLower(option);
      if (std::find(kUntouchable.begin(), kUntouchable.end(), lower) != kUntouchable.end())
        return HttpRefusal{"http.connection", 400};
      options.push_back(std::move(lower));
    }
  }
  return options;
}

}  // namespace

std::variant<HeadScanner::NeedMore, HeadScanner::Complete, HttpRefusal> HeadScanner::Scan(
    std::string_view all) {
  for (; scanned_ < all.size(); ++scanned_) {
    if (scanned_ >= limits_.bytes) return kTooLong;
    char c = all[scanned_];
    if (c == '\0') return kNul;
    bool after_cr = scanned_ > 0 && all[scanned_ - 1] == '\r';
    if (c != '\n') {
      if (after_cr) return kBareCr;
      continue;
    }
    if (!after_cr) return kBareLf;
    if (scanned_ - line_start_ == 1) {
      if (line_start_ == 0) return kEmptyFirstLine;
      return Complete{++scanned_};
    }
    line_start_ = scanned_ + 1;
  }
  if (scanned_ >= limits_.bytes) return kTooLong;
  return NeedMore{};
}

std::variant<RequestHead, HttpRefusal> ParseRequestHead(std::string_view head, HeadLimits limits) {
  if (head.size() > limits.bytes) return kTooLong;
  if (auto refused = CheckLineEnds(head)) return *refused;
  auto cut = CutLine(head);
  if (!cut) return kBareLf;
  auto [line, rest] = *cut;
  if (line.empty()) return kEmptyFirstLine;

  // Exactly "method SP target SP version", single spaces.
  std::size_t first = line.find(' ');
  std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return HttpRefusal{"http.request_line", 400};
  RequestHead request;
  request.method = line.substr(0, first);
  request.target = line.substr(first + 1, last - first - 1);
  std::string_view version = line.substr(last + 1);
  if (request.method.size() > 32 || !IsToken(request.method) ||
      AsciiUpper(request.method) != request.method)
    return HttpRefusal{"http.method", 400};
  if (request.target.empty() || !IsVisibleAscii(request.target))
    return HttpRefusal{"http.target", 400};
  auto minor = ParseVersion(version);
  if (!minor) return HttpRefusal{"http.version", version.starts_with("HTTP/") ? 505 : 400};
  request.minor_version = *minor;

  if (auto refused = ParseHeaders(rest, limits, request.headers)) return *refused;
  auto framing = ReadFraming(request.headers, request.minor_version);
  if (const auto* refused = std::get_if<HttpRefusal>(&framing)) return *refused;
  const Framing& read = std::get<Framing>(framing);
  if (read.chunked) {
    request.body.kind = BodyFraming::Kind::kChunked;
  } else if (read.length.value_or(0) > 0) {
    request.body = {BodyFraming::Kind::kLength, *read.length};
  }

  bool host_seen = false;
  for (const HeaderField& field : request.headers) {
    if (EqualsIgnoreCase(field.name, "Host")) {
      if (host_seen) return HttpRefusal{"http.host_twice", 400};
      host_seen = true;
      request.host = field.value;
    }
  }
  if (request.minor_version == 1 && (!host_seen || request.host.empty()))
    return HttpRefusal{"http.host_missing", 400};

  auto options = ConnectionOptions(request.headers);
  if (const auto* refused = std::get_if<HttpRefusal>(&options)) return *refused;
  const auto& list = std::get<std::vector<std::string>>(options);
  auto has = [&](std::string_view what) {
    return std::find(list.begin(), list.end(), what) != list.end();
  };
  request.keep_alive = !has("close") && (request.minor_version == 1 || has("keep-alive"));
  for (const HeaderField& field : request.headers) {
    if (!EqualsIgnoreCase(field.name, "Expect")) continue;
    if (!EqualsIgnoreCase(field.value, "100-continue")) return HttpRefusal{"http.expect", 417};
    request.expects_continue = request.minor_version == 1;
  }
  return request;
}

std::variant<ResponseHead, HttpRefusal> ParseResponseHead(std::string_view head, HeadLimits limits,
                                                          std::string_view request_method) {
  if (head.size() > limits.bytes) return kTooLong;
  if (auto refused = CheckLineEnds(head)) return *refused;
  auto cut = CutLine(head);
  if (!cut) return kBareLf;
  auto [line, rest] = *cut;
  // "HTTP/1.x SP 3DIGIT [SP reason]".
  ResponseHead response;
  if (line.size() < 12 || line[8] != ' ') return HttpRefusal{"http.status_line", 502};
  auto minor = ParseVersion(line.substr(0, 8));
  if (!minor) return HttpRefusal{"http.version", 502};
  response.minor_version = *minor;
  auto status = ParseDecimal(line.substr(9, 3));
  if (!status || *status < 100 || *status > 599) return HttpRefusal{"http.status", 502};
  response.status = static_cast<int>(*status);
  if (line.size() > 12) {
    if (line[12] != ' ' || !IsFieldValue(line.substr(13)))
      return HttpRefusal{"http.status_line", 502};
    response.reason = line.substr(13);
  }
  if (auto refused = ParseHeaders(rest, limits, response.headers)) return *refused;
  auto framing = ReadFraming(response.headers, response.minor_version);
  if (const auto* refused = std::get_if<HttpRefusal>(&framing)) return *refused;
  if (auto options = ConnectionOptions(response.headers);
      const auto* refused = std::get_if<HttpRefusal>(&options))
    return *refused;
  const Framing& read = std::get<Framing>(framing);
  bool no_body = response.status < 200 || response.status == 204 || response.status == 304 ||
                 request_method == "HEAD";
  // RFC 9112 section 6.1: these carry no Transfer-Encoding, so one that does is not understood.
  if (read.chunked && (response.status < 200 || response.status == 204))
    return HttpRefusal{"http.transfer_encoding", 502};
  if (no_body) {
    response.body = {BodyFraming::Kind::kNone, read.length.value_or(0)};
  } else if (read.chunked) {
    response.body.kind = BodyFraming::Kind::kChunked;
  } else if (read.length) {
    response.body = {*read.length == 0 ? BodyFraming::Kind::kNone : BodyFraming::Kind::kLength,
                     *read.length};
  } else {
    response.body.kind = BodyFraming::Kind::kUntilClose;
  }
  return response;
}

const std::string* FindHeader(const std::vector<HeaderField>& headers, std::string_view name) {
  for (const HeaderField& field : headers)
    if (EqualsIgnoreCase(field.name, name)) return &field.value;
  return nullptr;
}

std::vector<HeaderField> EndToEndHeaders(const std::vector<HeaderField>& headers) {
  static constexpr std::array<std::string_view, 12> kDropped = {"connection",
                                                                "proxy-connection",
                                                                "keep-alive",
                                                                "proxy-authorization",
                                                                "proxy-authenticate",
                                                                "te",
                                                                "trailer",
                                                                "transfer-encoding",
                                                                "upgrade",
                                                                "host",
                                                                "content-length",
                                                                "proxy-authentication-info"};
  auto named = ConnectionOptions(headers);
  const auto* options = std::get_if<std::vector<std::string>>(&named);
  std::vector<HeaderField> out;
  for (const HeaderField& field : headers) {
    std::string lower = AsciiLower(field.name);
    if (std::find(kDropped.begin(), kDropped.end(), lower) != kDropped.end()) continue;
    if (options != nullptr && std::find(options->begin(), options->end(), lower) != options->end())
      continue;
    out.push_back(field);
  }
  return out;
}

}  // namespace writ::egress
