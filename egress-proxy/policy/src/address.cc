#include "writ/egress/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace writ::egress {
namespace {

// Strict dotted quad: four decimal parts, no leading zero, no sign, no space.
std::optional<IpAddress> ParseV4(std::string_view text) {
  IpAddress address;
  std::size_t at = 0;
  for (int part = 0; part < 4; ++part) {
    std::size_t end = part < 3 ? text.find('.', at) : text.size();
    if (end == std::string_view::npos || end == at || end - at > 3) return std::nullopt;
    unsigned value = 0;
    for (std::size_t i = at; i < end; ++i) {
      if (text[i] < '0' || text[i] > '9') return std::nullopt;
      value = value * 10 + static_cast<unsigned>(text[i] - '0');
    }
    if (value > 255 || (end - at > 1 && text[at] == '0')) return std::nullopt;
    address.bytes[static_cast<std::size_t>(part)] = static_cast<std::uint8_t>(value);
    at = end + 1;
  }
  return address;
}

std::optional<IpAddress> ParseV6(std::string_view text) {
  if (text.size() < 2 || text.size() >= INET6_ADDRSTRLEN) return std::nullopt;
  for (char c : text) {
    bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (!hex && c != ':' && c != '.') return std::nullopt;
  }
  char terminated[INET6_ADDRSTRLEN] = {};
  std::memcpy(terminated, text.data(), text.size());
  IpAddress address;
  address.family = IpAddress::Family::kV6;
  if (::inet_pton(AF_INET6, terminated, address.bytes.data()) != 1) return std::nullopt;
  return address;
}

struct Range {
  const char* cidr;
  AddressClass address_class;
};

// IANA special-purpose registries, most specific first: the first match decides.
constexpr Range kV4Ranges[] = {
    {"255.255.255.255/32", AddressClass::kBroadcast},
    {"169.254.169.254/32", AddressClass::kMetadata},  // EC2, GCE, Azure and many more
    {"169.254.170.2/32", AddressClass::kMetadata},    // ECS task credentials
    {"169.254.170.23/32", AddressClass::kMetadata},   // EKS pod identity
    {"100.100.100.200/32", AddressClass::kMetadata},  // Alibaba Cloud
    {"168.63.129.16/32", AddressClass::kMetadata},    // Azure wire server, in public space
    {"192.0.0.192/32", AddressClass::kMetadata},      // Oracle Cloud
    {"0.0.0.0/32", AddressClass::kUnspecified},
    {"0.0.0.0/8", AddressClass::kThisNetwork},
    {"10.0.0.0/8", AddressClass::kPrivate},
    {"100.64.0.0/10", AddressClass::kCarrierGradeNat},
    {"127.0.0.0/8", AddressClass::kLoopback},
    {"169.254.0.0/16", AddressClass::kLinkLocal},
    {"172.16.0.0/12", AddressClass::kPrivate},
    {"192.0.0.0/24", AddressClass::kReserved},
    {"192.0.2.0/24", AddressClass::kDocumentation},
    {"192.31.196.0/24", AddressClass::kReserved},  // AS112
    {"192.52.193.0/24", AddressClass::kReserved},  // AMT
    {"192.88.99.0/24", AddressClass::k6to4},
    {"192.168.0.0/16", AddressClass::kPrivate},
    {"192.175.48.0/24", AddressClass::kReserved},  // AS112
    {"198.18.0.0/15", AddressClass::kBenchmarking},
    {"198.51.100.0/24", AddressClass::kDocumentation},
    {"203.0.113.0/24", AddressClass::kDocumentation},
    {"224.0.0.0/4", AddressClass::kMulticast},
    {"240.0.0.0/4", AddressClass::kReserved},
};
constexpr Range kV6Ranges[] = {
    {"::/128", AddressClass::kUnspecified},
    {"::1/128", AddressClass::kLoopback},
    {"::ffff:0:0/96", AddressClass::kV4Mapped},
    {"::ffff:0:0:0/96", AddressClass::kV4Mapped},  // SIIT, RFC 2765
    {"::/96", AddressClass::kV4Compatible},
    {"64:ff9b::/96", AddressClass::kNat64},
    {"64:ff9b:1::/48", AddressClass::kNat64},
    {"2001::/32", AddressClass::kTeredo},
    {"2001:2::/48", AddressClass::kBenchmarking},
    {"2001:db8::/32", AddressClass::kDocumentation},
    {"2001::/23", AddressClass::kReserved},  // IETF protocol assignments, ORCHID
    {"2002::/16", AddressClass::k6to4},
    {"2620:4f:8000::/48", AddressClass::kReserved},  // AS112
    {"3fff::/20", AddressClass::kDocumentation},
    {"fd00:ec2::254/128", AddressClass::kMetadata},  // EC2
    {"fd00:ec2::23/128", AddressClass::kMetadata},   // EKS pod identity
    {"fd20:ce::254/128", AddressClass::kMetadata},   // GCE
    {"fc00::/7", AddressClass::kUniqueLocal},
    {"fe80::/10", AddressClass::kLinkLocal},
    {"fec0::/10", AddressClass::kSiteLocal},
    {"ff00::/8", AddressClass::kMulticast},
};

struct Compiled {
  Cidr range;
  AddressClass address_class;
};

template <std::size_t N>
std::array<Compiled, N> Compile(const Range (&ranges)[N]) {
  std::array<Compiled, N> out{};
  for (std::size_t i = 0; i < N; ++i) {
    // A range of this file that does not parse is a bug: value() aborts at first use.
    out[i] = {Cidr::Parse(ranges[i].cidr).value(), ranges[i].address_class};
  }
  return out;
}

}  // namespace

std::optional<IpAddress> IpAddress::Parse(std::string_view text) {
  if (text.find(':') != std::string_view::npos) return ParseV6(text);
  return ParseV4(text);
}

IpAddress IpAddress::V4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  IpAddress address;
  address.bytes[0] = a;
  address.bytes[1] = b;
  address.bytes[2] = c;
  address.bytes[3] = d;
  return address;
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(family == Family::kV4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
  return text;
}

std::optional<Cidr> Cidr::Parse(std::string_view text) {
  std::size_t slash = text.find('/');
  auto base = IpAddress::Parse(text.substr(0, slash));
  if (!base) return std::nullopt;
  Cidr cidr{*base, base->bits()};
  if (slash != std::string_view::npos) {
    std::string_view digits = text.substr(slash + 1);
    if (digits.empty() || digits.size() > 3 || (digits.size() > 1 && digits[0] == '0'))
      return std::nullopt;
    auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), cidr.prefix_bits);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    if (digits[0] == '-' || cidr.prefix_bits > base->bits()) return std::nullopt;
  }
  for (int bit = cidr.prefix_bits; bit < base->bits(); ++bit) {
    if ((base->bytes[static_cast<std::size_t>(bit / 8)] & (0x80 >> (bit % 8))) != 0)
      return std::nullopt;
  }
  return cidr;
}

bool Cidr::Contains(const IpAddress& address) const {
  if (address.family != base.family) return false;
  auto whole = static_cast<std::size_t>(prefix_bits / 8);
  if (!std::equal(base.bytes.begin(), base.bytes.begin() + static_cast<std::ptrdiff_t>(whole),
                  address.bytes.begin()))
    return false;
  int rest = prefix_bits % 8;
  if (rest == 0) return true;
  int mask = 0xff & ~(0xff >> rest);
  return ((base.bytes[whole] ^ address.bytes[whole]) & mask) == 0;
}

std::string Cidr::ToString() const {
  return base.ToString() + "/" + std::to_string(prefix_bits);
}

AddressClass Classify(const IpAddress& address) {
  static const auto v4 = Compile(kV4Ranges);
  static const auto v6 = Compile(kV6Ranges);
  if (address.family == IpAddress::Family::kV4) {
    for (const Compiled& c : v4)
      if (c.range.Contains(address)) return c.address_class;
    return AddressClass::kPublic;
  }
  for (const Compiled& c : v6)
    if (c.range.Contains(address)) return c.address_class;
  // Only 2000::/3 is global unicast today; what IANA has not given out is nobody's business.
  return (address.bytes[0] & 0xe0) == 0x20 ? AddressClass::kPublic : AddressClass::kReserved;
}

std::string_view AddressClassName(AddressClass address_class) {
  switch (address_class) {
    case AddressClass::kPublic:
      return "public";
    case AddressClass::kUnspecified:
      return "unspecified";
    case AddressClass::kThisNetwork:
      return "this-network";
    case AddressClass::kLoopback:
      return "loopback";
    case AddressClass::kPrivate:
      return "private";
    case AddressClass::kCarrierGradeNat:
      return "carrier-grade-nat";
    case AddressClass::kLinkLocal:
      return "link-local";
    case AddressClass::kMetadata:
      return "metadata";
    case AddressClass::kMulticast:
      return "multicast";
    case AddressClass::kBroadcast:
      return "broadcast";
    case AddressClass::kReserved:
      return "reserved";
    case AddressClass::kDocumentation:
      return "documentation";
    case AddressClass::kBenchmarking:
      return "benchmarking";
    case AddressClass::kV4Mapped:
      return "v4-mapped";
    case AddressClass::kV4Compatible:
      return "v4-compatible";
    case AddressClass::kNat64:
      return "nat64";
    case AddressClass::k6to4:
      return "6to4";
    case AddressClass::kTeredo:
      return "teredo";
    case AddressClass::kUniqueLocal:
      return "unique-local";
    case AddressClass::kSiteLocal:
      return "site-local";
  }
  return "reserved";
}

}  // namespace writ::egress
