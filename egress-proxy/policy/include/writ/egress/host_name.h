// HostName: a host as everything after the parser sees it - normalised once (L21).
//
// Accepted: a DNS name of letters, digits, hyphens and underscores (made lower case, one trailing
// dot removed, every "xn--" label valid IDNA 2008), a canonical dotted-quad IPv4 address, or an
// IPv6 address in brackets. What two readers could take differently is refused, never repaired:
// percent signs, NUL, CR, LF, white space, non-ASCII text (write the "xn--" form), empty labels,
// IPv4 in octal, hexadecimal, short or single-number spelling, zones, bare IPv6.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/egress/address.h"

namespace writ::egress {

class HostName {
 public:
  // Error kind kInvalid; codes: host.empty, host.too_long, host.label_too_long, host.empty_label,
  // host.control, host.white_space, host.percent, host.non_ascii, host.bad_character,
  // host.hyphen_edge, host.punycode_invalid, host.numeric, host.bracket, host.zone,
  // host.bare_ipv6. Messages never repeat the input.
  static Result<HostName> Normalise(std::string_view raw);

  // A name in lower case without a trailing dot, or an address (IPv6 without brackets).
  const std::string& text() const { return text_; }
  bool is_literal() const { return literal_.has_value(); }
  const std::optional<IpAddress>& literal() const { return literal_; }
  // As it stands in a URL or Host header: IPv6 in brackets.
  std::string ForAuthority() const;

  bool operator==(const HostName& other) const { return text_ == other.text_; }

 private:
  HostName(std::string text, std::optional<IpAddress> literal)
      : text_(std::move(text)), literal_(literal) {}
  std::string text_;
  std::optional<IpAddress> literal_;
};

// Outside text made fit for an event or a message: printable ASCII kept, everything else as %XX,
// cut at `limit` bytes with "..." at the end. Never a normal form; never compared.
std::string PrintableHost(std::string_view raw, std::size_t limit = 255);

}  // namespace writ::egress
