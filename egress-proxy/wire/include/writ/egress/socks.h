// SOCKS5 (RFC 1928) with its user name and password (RFC 1929). Pure.
//
// Each reader looks at the bytes that have come so far and takes one message from their front;
// nothing is read past it. CONNECT alone is known: BIND and UDP ASSOCIATE are refused, as a proxy
// that decides by name and first flight has no use for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace writ::egress {

inline constexpr char kSocksVersion = 5;

enum class SocksMethod : std::uint8_t { kNone = 0x00, kPassword = 0x02, kUnacceptable = 0xff };

enum class SocksStatus : std::uint8_t {
  kSucceeded = 0x00,
  kFailed = 0x01,
  kNotAllowed = 0x02,  // by the rules
  kHostUnreachable = 0x04,
  kRefused = 0x05,  // the upstream did not take the connection
  kExpired = 0x06,
  kCommand = 0x07,      // not supported
  kAddressType = 0x08,  // not supported
};

struct SocksGreeting {
  bool offers_none = false;
  bool offers_password = false;
};
struct SocksCredentials {
  std::string name;
  std::string password;
};
struct SocksRequest {
  std::string host;     // a name as sent, not normalised; empty where it is an address
  std::string address;  // 4 or 16 bytes, network order
  std::uint16_t port = 0;
};

struct SocksNeedMore {};
// Codes: socks.version, socks.no_methods, socks.command, socks.reserved, socks.address_type,
// socks.empty_host, socks.port, socks.credentials.
struct SocksRefusal {
  std::string_view code;
  SocksStatus status = SocksStatus::kFailed;
};
template <typename T>
struct SocksMessage {
  T value;
  std::size_t bytes = 0;  // of the front that it is
};
template <typename T>
using SocksRead = std::variant<SocksNeedMore, SocksMessage<T>, SocksRefusal>;

SocksRead<SocksGreeting> ReadSocksGreeting(std::string_view in);
SocksRead<SocksCredentials> ReadSocksCredentials(std::string_view in);
SocksRead<SocksRequest> ReadSocksRequest(std::string_view in);

std::string SocksMethodReply(SocksMethod method);
std::string SocksCredentialsReply(bool good);
// The bound address is not told: it is nobody's business in a session.
std::string SocksReply(SocksStatus status);

}  // namespace writ::egress
