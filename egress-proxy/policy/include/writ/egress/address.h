// IpAddress, Cidr and AddressClass: what an address is, and whether a job may reach it (L22).
//
// Pure values: no sockets, no resolver. Every special range is denied unless an operator's grant
// names a range that covers the address; embedding forms (v4-mapped, NAT64, 6to4, Teredo ...) are
// classes of their own and are never looked through.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace writ::egress {

struct IpAddress {
  enum class Family : std::uint8_t { kV4, kV6 };
  Family family = Family::kV4;
  std::array<std::uint8_t, 16> bytes{};  // network order; an IPv4 address is in the first four

  auto operator<=>(const IpAddress&) const = default;

  // Canonical dotted quad (no leading zeros, four decimal parts) or RFC 4291 text without brackets
  // and without a zone. Everything else is nullopt.
  static std::optional<IpAddress> Parse(std::string_view text);
  static IpAddress V4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d);
  std::string ToString() const;  // RFC 5952 for IPv6, no brackets
  int bits() const { return family == Family::kV4 ? 32 : 128; }
};

// A range of addresses. Bits after the prefix are zero.
struct Cidr {
  IpAddress base;
  int prefix_bits = 0;

  auto operator<=>(const Cidr&) const = default;

  // "10.0.0.0/8", "fd00::/8", or an address alone (all bits). Host bits that are set are refused:
  // what was meant would be a guess.
  static std::optional<Cidr> Parse(std::string_view text);
  bool Contains(const IpAddress& address) const;  // false across families
  std::string ToString() const;
};

enum class AddressClass : std::uint8_t {
  kPublic,
  kUnspecified,
  kThisNetwork,  // 0.0.0.0/8
  kLoopback,
  kPrivate,          // RFC 1918
  kCarrierGradeNat,  // 100.64.0.0/10
  kLinkLocal,
  kMetadata,  // instance metadata services, wherever they are
  kMulticast,
  kBroadcast,
  kReserved,  // 240.0.0.0/4, IETF protocol blocks, IPv6 outside 2000::/3
  kDocumentation,
  kBenchmarking,
  kV4Mapped,      // ::ffff:0:0/96
  kV4Compatible,  // ::/96
  kNat64,         // 64:ff9b::/96, 64:ff9b:1::/48
  k6to4,          // 2002::/16 and its relay anycast 192.88.99.0/24
  kTeredo,        // 2001::/32
  kUniqueLocal,   // fc00::/7
  kSiteLocal,     // fec0::/10
};

AddressClass Classify(const IpAddress& address);
// Stable words for events and messages: "loopback", "carrier-grade-nat", ...
std::string_view AddressClassName(AddressClass address_class);

}  // namespace writ::egress
