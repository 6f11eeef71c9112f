#include "writ/egress/host_name.h"

#include <idn2.h>

#include <memory>

namespace writ::egress {
namespace {

constexpr std::size_t kMaxName = 253;  // RFC 1035 without the root's dot
constexpr std::size_t kMaxLabel = 63;

Error Refused(const char* code, const char* message, const char* hint = "") {
  return Error{ErrorKind::kInvalid, code, message, hint};
}

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsHex(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f');
}

// The WHATWG rule for "this wants to be an IPv4 address": the last label is a number in any base.
bool EndsInNumber(std::string_view lower) {
  std::size_t dot = lower.rfind('.');
  std::string_view last = dot == std::string_view::npos ? lower : lower.substr(dot + 1);
  if (last.empty()) return false;
  bool digits = true;
  for (char c : last) digits = digits && IsDigit(c);
  if (digits) return true;
  if (last.size() < 2 || last[0] != '0' || last[1] != 'x') return false;
  for (char c : last.substr(2))
    if (!IsHex(c)) return false;
  return true;
}

// An "xn--" label is taken only where it decodes to valid IDNA 2008 text that encodes to the same
// label.
bool IsCanonicalALabel(const std::string& label) {
  char* unicode_raw = nullptr;
  if (idn2_to_unicode_8z8z(label.c_str(), &unicode_raw, IDN2_NONTRANSITIONAL) != IDN2_OK)
    return false;
  std::unique_ptr<char, decltype(&idn2_free)> unicode(unicode_raw, &idn2_free);
  if (label == unicode.get()) return false;
  char* ascii_raw = nullptr;
  if (idn2_to_ascii_8z(unicode.get(), &ascii_raw, IDN2_NONTRANSITIONAL) != IDN2_OK) return false;
  std::unique_ptr<char, decltype(&idn2_free)> ascii(ascii_raw, &idn2_free);
  return label == ascii.get();
}

Status CheckCharacters(std::string_view raw) {
  for (char c : raw) {
    auto u = static_cast<unsigned char>(c);
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f')
      return Refused("host.white_space", "the host holds white space or a line break");
    if (u < 0x20 || u == 0x7f) return Refused("host.control", "the host holds a control character");
    if (u >= 0x80)
      return Refused("host.non_ascii", "the host is not ASCII", "Write the name in its xn-- form.");
    if (c == '%') return Refused("host.percent", "the host holds a percent sign");
  }
  return {};
}

}  // namespace

Result<HostName> HostName::Normalise(std::string_view raw) {
  if (raw.empty()) return Refused("host.empty", "the host is empty");
  if (raw.size() > kMaxName + 1)
    return Refused("host.too_long", "the host is longer than 253 bytes");
  if (raw.front() == '[') {
    if (raw.size() < 2 || raw.back() != ']')
      return Refused("host.bracket", "a bracket of the host is not closed");
    std::string_view inner = raw.substr(1, raw.size() - 2);
    if (inner.find('%') != std::string_view::npos)
      return Refused("host.zone", "an IPv6 address with a zone is not a host");
    auto address =
        inner.find(':') == std::string_view::npos ? std::nullopt : IpAddress::Parse(inner);
    if (!address) return Refused("host.bracket", "the brackets do not hold an IPv6 address");
    return HostName(address->ToString(), address);
  }
  WRIT_TRY(CheckCharacters(raw));

  std::string text(raw);
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '[' || c == ']') return Refused("host.bracket", "a bracket stands inside the host");
    if (c == ':')
      return Refused("host.bare_ipv6", "an IPv6 address needs brackets", "Write [address].");
    bool fine = (c >= 'a' && c <= 'z') || IsDigit(c) || c == '-' || c == '_' || c == '.';
    if (!fine)
      return Refused("host.bad_character", "the host holds a character that no host name has");
  }
  if (text.back() == '.') text.pop_back();
  if (text.empty()) return Refused("host.empty_label", "the host has an empty label");
  if (text.size() > kMaxName) return Refused("host.too_long", "the host is longer than 253 bytes");

  if (EndsInNumber(text)) {
    // A trailing dot after an address would be a second spelling of it.
    auto address = raw.back() == '.' ? std::nullopt : IpAddress::Parse(text);
    if (!address)
      return Refused("host.numeric",
                     "the host looks like an IPv4 address but is not a plain dotted quad",
                     "Write four decimal numbers without leading zeros.");
    return HostName(text, address);
  }
  for (std::size_t start = 0; start <= text.size();) {
    std::size_t end = text.find('.', start);
    if (end == std::string::npos) end = text.size();
    std::string label = text.substr(start, end - start);
    if (label.empty()) return Refused("host.empty_label", "the host has an empty label");
    if (label.size() > kMaxLabel)
      return Refused("host.label_too_long", "a label of the host is longer than 63 bytes");
    if (label.front() == '-' || label.back() == '-')
      return Refused("host.hyphen_edge", "a label of the host begins or ends with a hyphen");
    if (label.starts_with("xn--") && !IsCanonicalALabel(label))
      return Refused("host.punycode_invalid", "a label of the host is not valid IDNA");
    start = end + 1;
  }
  return HostName(std::move(text), std::nullopt);
}

std::string HostName::ForAuthority() const {
  if (literal_ && literal_->family == IpAddress::Family::kV6) return "[" + text_ + "]";
  return text_;
}

std::string PrintableHost(std::string_view raw, std::size_t limit) {
  static constexpr char kHexDigits[] = "0123456789ABCDEF";
  std::string out;
  for (char c : raw) {
    auto u = static_cast<unsigned char>(c);
    bool plain = u > 0x20 && u < 0x7f && c != '%' && c != '"' && c != '\\';
    if (out.size() + (plain ? 1 : 3) > limit) return out + "...";
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kHexDigits[u >> 4];
      out += kHexDigits[u & 15];
    }
  }
  return out;
}

}  // namespace writ::egress
