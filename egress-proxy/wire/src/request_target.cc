#include "writ/egress/request_target.h"

#include "header_rules.h"

namespace writ::egress {

std::variant<AuthorityParts, HttpRefusal> ParseAuthority(std::string_view text) {
  if (text.find('@') != std::string_view::npos) return HttpRefusal{"target.user_info", 400};
  for (char c : text) {
    if (c == '/' || c == '?' || c == '#' || c == '\\' || c <= 0x20 || c >= 0x7f)
      return HttpRefusal{"target.authority", 400};
  }
  std::size_t host_end;
  if (!text.empty() && text.front() == '[') {
    std::size_t close = text.find(']');
    if (close == std::string_view::npos) return HttpRefusal{"target.authority", 400};
    host_end = close + 1;
    if (host_end < text.size() && text[host_end] != ':')
      return HttpRefusal{"target.authority", 400};
  } else {
    host_end = std::min(text.find(':'), text.size());
  }
  AuthorityParts parts;
  parts.host = text.substr(0, host_end);
  if (parts.host.empty()) return HttpRefusal{"target.empty_host", 400};
  if (host_end < text.size()) {
    std::string_view digits = text.substr(host_end + 1);
    auto port = ParseDecimal(digits);
    if (!port || *port == 0 || *port > 65535 || digits.front() == '0')
      return HttpRefusal{"target.port", 400};
    parts.port = static_cast<std::uint16_t>(*port);
  }
  return parts;
}

std::variant<AbsoluteTarget, HttpRefusal> ParseAbsoluteTarget(std::string_view target) {
  if (target.empty() || target.front() == '/' || target == "*")
    return HttpRefusal{"target.not_absolute", 400};
  std::size_t scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos) return HttpRefusal{"target.not_absolute", 400};
  if (!EqualsIgnoreCase(target.substr(0, scheme_end), "http"))
    return HttpRefusal{"target.scheme", 400};
  if (target.find('#') != std::string_view::npos) return HttpRefusal{"target.fragment", 400};
  std::string_view rest = target.substr(scheme_end + 3);
  std::size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
  auto authority = ParseAuthority(rest.substr(0, authority_end));
  if (const auto* refused = std::get_if<HttpRefusal>(&authority)) return *refused;
  std::string_view path = rest.substr(authority_end);
  // A backslash is a slash to some readers.
  if (path.find('\\') != std::string_view::npos) return HttpRefusal{"http.target", 400};
  AbsoluteTarget out{std::move(std::get<AuthorityParts>(authority)), std::string(path)};
  if (out.path_and_query.empty() || out.path_and_query.front() == '?')
    out.path_and_query.insert(0, "/");
  return out;
}

std::variant<AuthorityParts, HttpRefusal> ParseConnectTarget(std::string_view target) {
  auto authority = ParseAuthority(target);
  if (const auto* parts = std::get_if<AuthorityParts>(&authority); parts != nullptr && !parts->port)
    return HttpRefusal{"target.port", 400};
  return authority;
}

}  // namespace writ::egress
